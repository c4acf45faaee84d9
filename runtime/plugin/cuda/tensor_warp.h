// What a warp does in step for FP16 features: fetch matrices from shared memory, multiply them on the tensor cores,
// exchange values.
//
// On the host a `Held` array holds all 32 lanes of the warp, on the device the one of the thread.
#pragma once

#include "problem.h"

namespace defian {
namespace tensor {

constexpr int WARP_THREADS = 32;
#ifdef __CUDA_ARCH__
constexpr int HELD = 1;
#else
constexpr int HELD = WARP_THREADS;
#endif

template <class T>
struct Held {
    T of[HELD];
    DEFIAN_HD T& operator[](int slot) { return of[slot]; }
    DEFIAN_HD const T& operator[](int slot) const { return of[slot]; }
};

// The lane of a slot: the thread's own on the device, every one in turn on the host.
DEFIAN_HD unsigned int lane_of(int slot) {
#ifdef __CUDA_ARCH__
    return threadIdx.x % WARP_THREADS;
#else
    return static_cast<unsigned int>(slot);
#endif
}

#define DEFIAN_EACH_LANE(SLOT) DEFIAN_UNROLL for (int SLOT = 0; SLOT < HELD; ++SLOT)

// 16 bytes from global to shared memory, or zeros; asynchronous where the device can.
DEFIAN_HD void copy(Vector* to, const void* from, bool valid) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile(
        "{ .reg .u64 s; .reg .u32 d; cvta.to.shared.u64 s, %0; cvt.u32.u64 d, s;"
        " cp.async.cg.shared.global [d], [%1], 16, %2; }" ::"l"(to),
        "l"(from), "r"(valid ? 16 : 0));
#else
    Vector vector = {};
    if (valid) vector = load_vector(from);
    put(to, vector);
#endif
}

DEFIAN_HD void commit_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;");
#endif
}

// Until this thread's copies have arrived.
DEFIAN_HD void wait_for_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group 0;" ::: "memory");
#endif
}

// An address in shared memory: bytes from its start.
struct Address {
    unsigned int bytes;
};

DEFIAN_HD unsigned int shared_start(const Vector* base) {
#ifdef __CUDA_ARCH__
    unsigned int bytes;
    asm("{ .reg .u64 s; cvta.to.shared.u64 s, %1; cvt.u32.u64 %0, s; }" : "=r"(bytes) : "l"(base));
    return bytes;
#else
    static_cast<void>(base);
    return 0;
#endif
}

// The vector of shared memory with this index.
DEFIAN_HD Address address_of(unsigned int start, unsigned int vector) { return Address{start + vector * VECTOR_BYTES}; }

// COUNT matrices of 8 rows of 16 bytes; lane 8 i + r gives the address of row r of matrix i. A lane gets elements
// (row g, columns 2t and 2t + 1), or transposed (rows 2t and 2t + 1, column g), with g = lane / 4 and t = lane % 4.
template <int COUNT, bool TRANSPOSED>
DEFIAN_HD void load_matrices(const Vector* base, const Held<Address>& rows, int vectors, unsigned int (*out)[4]) {
#ifdef __CUDA_ARCH__
    const unsigned int from = rows[0].bytes + static_cast<unsigned int>(vectors * VECTOR_BYTES);
    unsigned int* to = out[0];
    if (COUNT == 4 && TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(from));
    } else if (COUNT == 2 && TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(to[0]), "=r"(to[1])
                     : "r"(from));
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(from));
    }
#else
    for (int lane = 0; lane < WARP_THREADS; ++lane) {
        for (int matrix = 0; matrix < COUNT; ++matrix) {
            unsigned int word = 0;
            for (int half = 0; half < 2; ++half) {
                const int row = TRANSPOSED ? lane % 4 * 2 + half : lane / 4;
                const int column = TRANSPOSED ? lane / 4 : lane % 4 * 2 + half;
                Half element;
                extract(base[rows[matrix * 8 + row].bytes / VECTOR_BYTES + vectors], column, element);
                word |= static_cast<unsigned int>(element.bits) << (16 * half);
            }
            out[lane][matrix] = word;
        }
    }
#endif
}

#ifndef __CUDA_ARCH__
// The half of the word where this column, or row, of a matrix lies.
inline float element_of(unsigned int word, int column) {
    return widen(Half{static_cast<unsigned short>(word >> (16 * (column % 2)))});
}

// sums += left (16 x 8, two words a lane) times right (8 x 8, one word a lane)
template <class Left, class Right>
void multiply_on_host(float (*sums)[4], Left left, Right right) {
    float rows[16][8], columns[8][8];
    for (int lane = 0; lane < WARP_THREADS; ++lane) {
        for (int half = 0; half < 2; ++half) {
            const int k = lane % 4 * 2 + half;
            rows[lane / 4][k] = element_of(left(lane, 0), k);
            rows[lane / 4 + 8][k] = element_of(left(lane, 1), k);
            columns[lane / 4][k] = element_of(right(lane), k);
        }
    }
    for (int lane = 0; lane < WARP_THREADS; ++lane) {
        for (int index = 0; index < 4; ++index) {
            const float* row = rows[lane / 4 + index / 2 * 8];
            const float* column = columns[lane % 4 * 2 + index % 2];
            for (int k = 0; k < 8; ++k) sums[lane][index] += row[k] * column[k];
        }
    }
}
#endif

// sums = start + left (16 x 16) times right (16 x 8): left as lanes' words {rows g, g + 8} x {columns 0-7, 8-15}.
DEFIAN_HD void multiply_16(float (*sums)[4], const unsigned int (*left)[4], const unsigned int (*right)[2],
                           const float (*start)[4]) {
#ifdef __CUDA_ARCH__
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9},"
        " {%10, %11, %12, %13};"
        : "=f"(sums[0][0]), "=f"(sums[0][1]), "=f"(sums[0][2]), "=f"(sums[0][3])
        : "r"(left[0][0]), "r"(left[0][1]), "r"(left[0][2]), "r"(left[0][3]), "r"(right[0][0]), "r"(right[0][1]),
          "f"(start[0][0]), "f"(start[0][1]), "f"(start[0][2]), "f"(start[0][3]));
#else
    float half[4];
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
        : "=f"(half[0]), "=f"(half[1]), "=f"(half[2]), "=f"(half[3])
        : "r"(left[0][0]), "r"(left[0][1]), "r"(right[0][0]), "f"(start[0][0]), "f"(start[0][1]), "f"(start[0][2]),
          "f"(start[0][3]));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
        : "=f"(sums[0][0]), "=f"(sums[0][1]), "=f"(sums[0][2]), "=f"(sums[0][3])
        : "r"(left[0][2]), "r"(left[0][3]), "r"(right[0][1]), "f"(half[0]), "f"(half[1]), "f"(half[2]), "f"(half[3]));
#endif
#else
    for (int lane = 0; lane < WARP_THREADS; ++lane) {
        for (int index = 0; index < 4; ++index) sums[lane][index] = start[lane][index];
    }
    for (int part = 0; part < 2; ++part) {
        multiply_on_host(
            sums, [&](int lane, int half) { return left[lane][2 * part + half]; },
            [&](int lane) { return right[lane][part]; });
    }
#endif
}

// sums += left (16 x 8) times right (8 x 8)
DEFIAN_HD void multiply_8(float (*sums)[4], const unsigned int (*left)[4], const unsigned int (*right)[1]) {
#ifdef __CUDA_ARCH__
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sums[0][0]), "+f"(sums[0][1]), "+f"(sums[0][2]), "+f"(sums[0][3])
        : "r"(left[0][0]), "r"(left[0][1]), "r"(right[0][0]));
#else
    multiply_on_host(
        sums, [&](int lane, int half) { return left[lane][half]; }, [&](int lane) { return right[lane][0]; });
#endif
}

// Loads do not move across it: fewer of them wait in registers.
DEFIAN_HD void pause() {
#ifdef __CUDA_ARCH__
    __syncwarp();
#endif
}

// The value of the lane whose number differs in the bits of `mask`.
DEFIAN_HD Held<float> exchange(const Held<float>& values, int mask) {
    Held<float> other;
#ifdef __CUDA_ARCH__
    other[0] = __shfl_xor_sync(0xffffffffu, values[0], mask);
#else
    for (int lane = 0; lane < WARP_THREADS; ++lane) other[lane] = values[lane ^ mask];
#endif
    return other;
}

}  // namespace tensor
}  // namespace defian
