// FP32 and FP16 elements: how they are loaded, taken out of vectors, widened and rounded.
//
// No CUDA header is included, so that NVRTC compiles this on a device that has no toolkit. The host branches
// serve the CPU kernel (export/plugin/cpu_kernel.cpp), which may define the hooks below before it includes this.
#pragma once

#include "hessian.h"

#ifndef __CUDACC__
#include <cstring>
#endif

#ifndef DEFIAN_ON_GLOBAL_LOAD  // called with (address, bytes) before each load of features or biases
#define DEFIAN_ON_GLOBAL_LOAD(address, bytes)
#endif
#ifndef DEFIAN_ON_SHARED_STORE  // called with (address, bytes) at each store to shared memory
#define DEFIAN_ON_SHARED_STORE(address, bytes)
#endif

namespace defian {

struct Half {
    unsigned short bits;
};

struct alignas(16) Vector {
    unsigned int word[4];
};

constexpr int VECTOR_BYTES = 16;
constexpr float HALF_MAX = 65504.0f;

template <class T>
DEFIAN_HD T load(const T* address) {
    DEFIAN_ON_GLOBAL_LOAD(address, sizeof(T));
    return *address;
}

DEFIAN_HD Vector load_vector(const void* address) {
    DEFIAN_ON_GLOBAL_LOAD(address, VECTOR_BYTES);
    Vector vector;
#ifdef __CUDA_ARCH__
    const uint4 loaded = __ldg(static_cast<const uint4*>(address));
    vector.word[0] = loaded.x;
    vector.word[1] = loaded.y;
    vector.word[2] = loaded.z;
    vector.word[3] = loaded.w;
#else
    memcpy(&vector, address, sizeof vector);
#endif
    return vector;
}

// The index-th of the 16 / sizeof(T) elements of a vector.
DEFIAN_HD void extract(const Vector& vector, int index, float& out) {
#ifdef __CUDA_ARCH__
    out = __uint_as_float(vector.word[index]);
#else
    memcpy(&out, &vector.word[index], sizeof out);
#endif
}

DEFIAN_HD void extract(const Vector& vector, int index, Half& out) {
    out.bits = static_cast<unsigned short>(vector.word[index / 2] >> (16 * (index % 2)));
}

template <class T>
DEFIAN_HD void put(T* address, const T& value) {
    DEFIAN_ON_SHARED_STORE(address, sizeof(T));
    *address = value;
}

DEFIAN_HD float widen(Half value) {
#ifdef __CUDA_ARCH__
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
#else
    // IEEE 754 binary16: subnormals are a multiple of 2^-24, everything else is moved to binary32's exponent.
    const unsigned int sign = (value.bits & 0x8000u) << 16;
    const unsigned int magnitude = value.bits & 0x7fffu;
    float wide = static_cast<float>(magnitude) * 5.9604644775390625e-8f;
    unsigned int bits = (magnitude << 13) + (magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u);
    if (magnitude < 0x0400u) memcpy(&bits, &wide, sizeof bits);
    bits |= sign;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
#endif
}

// Rounds once, to nearest even. FP16 saturates at +-65504 rather than become infinite; NaN stays NaN.
DEFIAN_HD void narrow(float value, Half& out) {
    if (value > HALF_MAX) value = HALF_MAX;
    if (value < -HALF_MAX) value = -HALF_MAX;
#ifdef __CUDA_ARCH__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(value));
#else
    unsigned int bits;
    memcpy(&bits, &value, sizeof bits);
    const unsigned int sign = (bits >> 16) & 0x8000u;
    const unsigned int magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        out.bits = static_cast<unsigned short>(sign | 0x7e00u);
    } else if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, rounded by adding 2^-1
        float small;
        memcpy(&small, &magnitude, sizeof small);
        small += 0.5f;
        memcpy(&bits, &small, sizeof bits);
        out.bits = static_cast<unsigned short>(sign | (bits - 0x3f000000u));
    } else {
        const unsigned int to_even = 0xfffu + ((magnitude >> 13) & 1u);
        out.bits = static_cast<unsigned short>(sign | ((magnitude - 0x38000000u + to_even) >> 13));
    }
#endif
}

}  // namespace defian
