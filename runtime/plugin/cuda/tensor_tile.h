// FP16 features: what one block does with a tile of 24 x 24 output pixels, all channels, three maps.
//
// The channels go by in chunks of 16. For each chunk the block stages the tile and its halo in shared memory (stage),
// waits, and each warp adds the chunk's roots to its registers (accumulate), waits again. After the last chunk the
// lanes put their parts of the sums where the chunk was (deposit), wait, and write the maps (write). Between two
// barriers a word of shared memory is either only written, by one thread, or only read. So there is no race.
//
// The trace fxx + fyy is linear: it is taken at the end from the sum of the features over the channels, itself a
// product with ones. Products are exact and sums FP32. A non-finite feature times a weight of zero is NaN, so a pixel
// that comes out as NaN is worked out again, tap by tap (again): only what the feature reaches then stays so.
//
// kernel.cu runs the phases as a CUDA kernel, export/plugin/cpu_kernel.cpp as loops over blocks, warps and threads.
#pragma once

#include "tensor_stage.h"

namespace defian {
namespace tensor {

struct alignas(VECTOR_BYTES) Parts {
    float of[4];
};

struct Sums {
    float of[HELD][DILATIONS * OCTETS];  // of the roots of a lane's two channels
    float total[HELD][4];                // of the features of four positions
};

static_assert(DILATIONS * TILE * TILE <= CHUNK_VECTORS, "the parts of the sums fit where a chunk was");

DEFIAN_HD float root(float square) {
#ifdef __CUDA_ARCH__
    float result;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(square));
    return result;
#else
    return std::sqrt(square);
#endif
}

// sum + sqrt(a^2 + b^2)
DEFIAN_HD float add_length(float sum, float a, float b) { return sum + root(b * b + a * a); }

DEFIAN_HD void read_weights(const Vector* from, int part, unsigned int (*to)[4]) {
    DEFIAN_EACH_LANE(slot) {
        const Vector words = from[part * WARP_THREADS + lane_of(slot)];
        DEFIAN_UNROLL
        for (int word = 0; word < 4; ++word) to[slot][word] = words.word[word];
    }
}

// sums of the roots, from the products of one block of eight pixels and one plane
DEFIAN_HD void add(const float (*product)[4], int octet, Sums& sums) {
    DEFIAN_EACH_LANE(slot) {
        const float* of = product[slot];
        sums.of[slot][octet] = add_length(add_length(sums.of[slot][octet], of[0], of[2]), of[1], of[3]);
    }
}

DEFIAN_HD void read_bias(const float* bias, int index, float (*start)[HELD][4]) {
    DEFIAN_UNROLL
    for (int plane = 0; plane < PLANES; ++plane) {
        DEFIAN_EACH_LANE(slot) {
            DEFIAN_UNROLL
            for (int word = 0; word < 4; ++word) {
                const unsigned int channel = plane * CHANNELS + lane_of(slot) % 4 * 2 + word % 2;
                start[plane][slot][word] = bias[(index * 2 + word / 2) * CHUNK_CHANNELS + channel];
            }
        }
    }
}

template <int DILATION>
DEFIAN_HD void accumulate_grid(const Memory& memory, unsigned int warp, Sums& sums) {
    const unsigned int start_of = shared_start(memory.chunk);
    const unsigned int first = first_y(DILATION, warp) * SPAN + first_x(warp) + (HALO - DILATION) * (SPAN + 1);
    Held<Address> four, two;  // 16 positions of both planes; the last 8 of both
    DEFIAN_EACH_LANE(slot) {
        const unsigned int lane = lane_of(slot);
        const unsigned int at = lane % 16, rest = 16 + lane % 8;
        four[slot] = address_of(start_of, first + lane / 16 * PLANE + (at / 6 * SPAN + at % 6) * DILATION);
        two[slot] = address_of(start_of, first + lane / 8 % 2 * PLANE + (rest / 6 * SPAN + rest % 6) * DILATION);
    }
    float start[PLANES][HELD][4];
    read_bias(memory.bias(), DILATION - 1, start);
    unsigned int left[HELD][4], last[HELD][4];
    read_weights(memory.weights(), 0, left);
    read_weights(memory.weights(), 1, last);
    DEFIAN_UNROLL
    for (int octet = 0; octet < OCTETS; ++octet) {
        const int offset = octet_y(DILATION, octet) * SPAN + octet_x(DILATION, octet);
        unsigned int a[HELD][4], b[HELD][4];
        load_matrices<4, true>(memory.chunk, four, offset, a);
        load_matrices<2, true>(memory.chunk, two, offset, b);
        DEFIAN_UNROLL
        for (int plane = 0; plane < PLANES; ++plane) {
            unsigned int right[HELD][2], rest[HELD][1];
            DEFIAN_EACH_LANE(slot) {
                right[slot][0] = a[slot][2 * plane];
                right[slot][1] = a[slot][2 * plane + 1];
                rest[slot][0] = b[slot][plane];
            }
            float product[HELD][4];
            multiply_16(product, left, right, start[plane]);
            multiply_8(product, last, rest);
            add(product, (DILATION - 1) * OCTETS + octet, sums);
        }
        if (octet % 3 == 2) pause();
    }
}

DEFIAN_HD void accumulate_rows(const Memory& memory, unsigned int warp, Sums& sums) {
    constexpr int DILATION = 2;
    const unsigned int start_of = shared_start(memory.chunk);
    const unsigned int first = first_y(DILATION, warp) * SPAN + first_x(warp) + (HALO - DILATION) * (SPAN + 1);
    Held<Address> rows;
    DEFIAN_EACH_LANE(slot) {
        const unsigned int lane = lane_of(slot);
        rows[slot] = address_of(start_of, first + lane / 8 * DILATION * SPAN + lane % 8);
    }
    float start[PLANES][HELD][4];
    read_bias(memory.bias(), DILATION - 1, start);
    unsigned int left[2][HELD][4];
    read_weights(memory.weights(), 2, left[0]);
    read_weights(memory.weights(), 3, left[1]);
    DEFIAN_UNROLL
    for (int strip = 0; strip < 3; ++strip) {
        DEFIAN_UNROLL
        for (int plane = 0; plane < PLANES; ++plane) {
            unsigned int window[2][HELD][4];  // eight rows, for three octets one below the other
            DEFIAN_UNROLL
            for (int part = 0; part < 2; ++part) {
                const int offset = plane * PLANE + octet_x(DILATION, strip) + part * 4 * DILATION * SPAN;
                load_matrices<4, true>(memory.chunk, rows, offset, window[part]);
            }
            DEFIAN_UNROLL
            for (int step = 0; step < 3; ++step) {
                unsigned int upper[HELD][2], lower[HELD][2];
                DEFIAN_EACH_LANE(slot) {
                    DEFIAN_UNROLL
                    for (int word = 0; word < 2; ++word) {
                        const int above = 2 * step + word, below = above + 2;
                        upper[slot][word] = window[above / 4][slot][above % 4];
                        lower[slot][word] = window[below / 4][slot][below % 4];
                    }
                }
                float half[HELD][4], product[HELD][4];
                multiply_16(half, left[0], upper, start[plane]);
                multiply_16(product, left[1], lower, half);
                add(product, (DILATION - 1) * OCTETS + step * 3 + strip, sums);
            }
            pause();
        }
    }
}

// Eight groups of 16 positions: the j-th product has its ones in column j, so the eight share one result.
DEFIAN_HD void accumulate_totals(const Memory& memory, unsigned int warp, Sums& sums) {
    Held<Address> rows;
    DEFIAN_EACH_LANE(slot) {
        const unsigned int lane = lane_of(slot);
        rows[slot] = address_of(shared_start(memory.chunk), warp * 8 * GROUP + lane / 16 * PLANE + lane % 16);
    }
    DEFIAN_UNROLL
    for (int group = 0; group < 8; ++group) {
        if (warp * 8 + group >= GROUPS) break;
        unsigned int left[HELD][4], ones[HELD][2];
        load_matrices<4, false>(memory.chunk, rows, group * GROUP, left);
        DEFIAN_EACH_LANE(slot) {
            const bool mine = lane_of(slot) / 4 == static_cast<unsigned int>(group);
            ones[slot][0] = ones[slot][1] = mine ? 0x3c003c00u : 0u;
        }
        multiply_16(sums.total, left, ones, sums.total);
    }
}

DEFIAN_HD void accumulate(const Memory& memory, unsigned int warp, Sums& sums) {
    accumulate_grid<1>(memory, warp, sums);
    pause();
    accumulate_rows(memory, warp, sums);
    pause();
    accumulate_grid<3>(memory, warp, sums);
    pause();
    accumulate_totals(memory, warp, sums);
}

// Each lane's part of its pixels' sums, where a chunk was, and the sums of the features.
DEFIAN_HD void deposit(const Memory& memory, unsigned int warp, const Sums& sums) {
    float* parts = reinterpret_cast<float*>(memory.chunk);
    DEFIAN_EACH_LANE(slot) {
        DEFIAN_UNROLL
        for (int index = 0; index < DILATIONS; ++index) {
            const int dilation = index + 1;
            const unsigned int y = first_y(dilation, warp) + pixel_y(dilation, lane_of(slot) / 4);
            const unsigned int x = first_x(warp) + pixel_x(dilation, lane_of(slot) / 4);
            float* to = parts + ((index * TILE + y) * TILE + x) * 4 + lane_of(slot) % 4;
            DEFIAN_UNROLL
            for (int octet = 0; octet < OCTETS; ++octet) {
                const int offset = (octet_y(dilation, octet) * TILE + octet_x(dilation, octet)) * 4;
                put(to + offset, sums.of[slot][index * OCTETS + octet]);
            }
        }
    }
    DEFIAN_EACH_LANE(slot) {
        DEFIAN_UNROLL
        for (int word = 0; word < 4; ++word) {
            const unsigned int lane = lane_of(slot);
            const unsigned int group = warp * 8 + lane % 4 * 2 + word % 2;
            const unsigned int place = group * GROUP + word / 2 * 8 + lane / 4;
            if (group < GROUPS) put(memory.total() + place, sums.total[slot][word]);
        }
    }
}

// One pixel of one map, tap by tap: twice the eigenvalue, over the channels.
template <Layout layout>
DEFIAN_HD float again(const Problem& problem, int image, int y, int x, int dilation) {
    const Half* features = static_cast<const Half*>(problem.features);
    const float* bias = problem.bias + (dilation - 1) * 3 * problem.channels;
    float sum = 0.0f;
    DEFIAN_UNROLL_BY(1)
    for (int channel = 0; channel < problem.channels; ++channel) {
        float tap[3][3];
        DEFIAN_UNROLL
        for (int place = 0; place < 9; ++place) {
            const int v = y + (place / 3 - 1) * dilation, u = x + (place % 3 - 1) * dilation;
            tap[place / 3][place % 3] = 0.0f;
            if (!inside(problem, v, u)) continue;
            const bool last = layout == Layout::channels_last;
            const long long plane = last ? image : static_cast<long long>(image) * problem.channels + channel;
            const long long at = (plane * problem.height + v) * problem.width + u;
            tap[place / 3][place % 3] = widen(load(features + (last ? at * problem.pitch + channel : at)));
        }
        const float twice = 2.0f * tap[1][1];
        const float fxx = (tap[1][0] + tap[1][2] - twice) + load(bias + channel);
        const float fyy = (tap[0][1] + tap[2][1] - twice) + load(bias + problem.channels + channel);
        const float cross = (tap[0][0] - tap[0][2]) - (tap[2][0] - tap[2][2]);
        const float fxy = cross + load(bias + 2 * problem.channels + channel);
        sum += doubled_eigenvalue(fxx, fyy, fxy);
    }
    return sum;
}

// Two neighbouring pixels of the three maps.
template <Layout layout>
DEFIAN_HD void write(const Problem& problem, const Tile& tile, int thread, const Memory& memory) {
    const Parts* parts = reinterpret_cast<const Parts*>(memory.chunk);
    const float scale = 0.5f / static_cast<float>(problem.channels);
    const bool paired = problem.width % 2 == 0 && reinterpret_cast<unsigned long long>(problem.maps) % 4 == 0;
    const unsigned long long plane = static_cast<unsigned long long>(problem.height) * problem.width;
    DEFIAN_UNROLL_BY(1)
    for (int pair = thread; pair < TILE * TILE / 2; pair += BLOCK_THREADS) {
        const int row = pair / (TILE / 2), column = pair % (TILE / 2) * 2;
        const int y = tile.y + row, x = tile.x + column;
        if (y >= problem.height || x >= problem.width) continue;
        const float* total = memory.total() + (row + HALO) * SPAN + column + HALO;
        float middle[2 * HALO + 2];
        DEFIAN_UNROLL
        for (int tap = 0; tap < 2 * HALO + 2; ++tap) middle[tap] = total[tap - HALO];
        float sums[DILATIONS][2];
        bool lost = false;
        DEFIAN_UNROLL
        for (int index = 0; index < DILATIONS; ++index) {
            const int d = index + 1;
            const float bias = memory.trace()[index];
            DEFIAN_UNROLL
            for (int which = 0; which < 2; ++which) {
                const Parts of = parts[(index * TILE + row) * TILE + column + which];
                const float roots = (of.of[0] + of.of[1]) + (of.of[2] + of.of[3]);
                const float across = middle[HALO + which - d] + middle[HALO + which + d];
                const float down = total[which - d * SPAN] + total[which + d * SPAN];
                sums[index][which] = ((across + down) - 4.0f * middle[HALO + which]) + (bias + roots);
                lost = lost || !(sums[index][which] == sums[index][which]);
            }
        }
        if (lost) {
            DEFIAN_UNROLL_BY(1)
            for (int place = 0; place < 2 * DILATIONS; ++place) {
                const int here = x + place % 2;
                const int dilation = place / 2 + 1;
                const float sum = here < problem.width ? again<layout>(problem, tile.image, y, here, dilation) : 0.0f;
                DEFIAN_UNROLL
                for (int each = 0; each < 2 * DILATIONS; ++each) {
                    if (each == place) sums[each / 2][each % 2] = sum;
                }
            }
        }
        Half* to = static_cast<Half*>(problem.maps) +
                   ((static_cast<unsigned long long>(tile.image) * DILATIONS * problem.height + y) * problem.width + x);
        DEFIAN_UNROLL
        for (int index = 0; index < DILATIONS; ++index) {
            Half first, second;
            narrow(sums[index][0] * scale, first);
            narrow(sums[index][1] * scale, second);
            if (paired) {
                *reinterpret_cast<unsigned int*>(to) = first.bits | static_cast<unsigned int>(second.bits) << 16;
            } else {
                to[0] = first;
                if (x + 1 < problem.width) to[1] = second;
            }
            to += plane;
        }
    }
}

}  // namespace tensor
}  // namespace defian
