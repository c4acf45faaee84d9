// FP16 features: a block's shared memory, and how a chunk of 16 channels gets there, eight to a vector.
#pragma once

#include "tensor_taps.h"

namespace defian {
namespace tensor {

constexpr int CHANNELS = 8;  // of a vector, and so of a plane of vectors
constexpr int PLANES = 2;    // in a chunk
constexpr int CHUNK_CHANNELS = PLANES * CHANNELS;
constexpr int POSITIONS = SPAN * SPAN;
constexpr int GROUP = 16;  // positions whose channels are summed at a time
constexpr int GROUPS = (POSITIONS + GROUP - 1) / GROUP;
constexpr int REST = GROUPS * GROUP - POSITIONS;  // vectors of zeros behind a plane's positions
constexpr int PLANE = 916;                        // vectors; 4 modulo 8, so that two planes take turns in the banks
constexpr int CHUNK_VECTORS = PLANES * PLANE;
constexpr int BIAS_FLOATS = DILATIONS * 2 * CHUNK_CHANNELS;  // [dilation][a, b][channel of the chunk]
constexpr int TRACE_FLOATS = 4;                              // one for each dilation, and one of padding
constexpr int WEIGHT_VECTORS = 4 * WARP_THREADS;
constexpr int SHARED_BYTES =
    (CHUNK_VECTORS + WEIGHT_VECTORS) * VECTOR_BYTES + (BIAS_FLOATS + GROUPS * GROUP + TRACE_FLOATS) * 4;

static_assert(GROUPS * GROUP <= PLANE && GROUPS <= 8 * WARPS, "a plane holds whole groups, eight a warp at most");

// Where things lie in shared memory.
struct Memory {
    Vector* chunk;
    DEFIAN_HD float* bias() const { return reinterpret_cast<float*>(chunk + CHUNK_VECTORS); }
    DEFIAN_HD float* total() const { return bias() + BIAS_FLOATS; }      // of the features over the channels
    DEFIAN_HD float* trace() const { return total() + GROUPS * GROUP; }  // of the biases, per dilation
    DEFIAN_HD Vector* weights() const { return reinterpret_cast<Vector*>(trace() + TRACE_FLOATS); }  // [part][lane]
};

DEFIAN_HD int chunks(const Problem& problem) { return divide_up(problem.channels, CHUNK_CHANNELS); }

// What does not change with the chunks: the vectors behind a plane's positions, and the weights.
DEFIAN_HD void prepare(int thread, const Memory& memory) {
    if (thread < PLANES * REST) put(memory.chunk + thread / REST * PLANE + POSITIONS + thread % REST, Vector{});
    if (thread < WEIGHT_VECTORS) put(memory.weights() + thread, WEIGHTS.of[thread]);
}

// The sum over the channels of the biases of fxx and fyy; a warp for each dilation.
DEFIAN_HD void prepare_trace(const Problem& problem, unsigned int warp, const Memory& memory) {
    if (warp >= DILATIONS) return;
    Held<float> sum;
    DEFIAN_EACH_LANE(slot) {
        const float* from = problem.bias + warp * 3 * problem.channels;
        sum[slot] = 0.0f;
        DEFIAN_UNROLL_BY(2)
        for (int each = lane_of(slot); each < 2 * problem.channels; each += WARP_THREADS) {
            sum[slot] += load(from + each);
        }
    }
    DEFIAN_UNROLL
    for (int mask = 1; mask < WARP_THREADS; mask *= 2) {
        const Held<float> other = exchange(sum, mask);
        DEFIAN_EACH_LANE(slot) sum[slot] += other[slot];
    }
    DEFIAN_EACH_LANE(slot) if (lane_of(slot) == 0) put(memory.trace() + warp, sum[slot]);
}

// The biases of a = fxx - fyy and of b = 2 fxy.
DEFIAN_HD void stage_bias(const Problem& problem, int chunk, int thread, const Memory& memory) {
    if (thread >= BIAS_FLOATS) return;
    const int channel = chunk * CHUNK_CHANNELS + thread % CHUNK_CHANNELS;
    const int dilation = thread / CHUNK_CHANNELS / 2;
    const bool cross = thread / CHUNK_CHANNELS % 2 != 0;
    float value = 0.0f;
    if (channel < problem.channels) {
        const float* from = problem.bias + dilation * 3 * problem.channels + channel;
        value = cross ? 2.0f * load(from + 2 * problem.channels) : load(from) - load(from + problem.channels);
    }
    put(memory.bias() + thread, value);
}

// Neighbouring threads take the two vectors of a pixel, so that a 32-byte sector is asked for by one instruction.
DEFIAN_HD void stage_channels_last(const Problem& problem, const Tile& tile, int chunk, int thread, Vector* to) {
    constexpr unsigned int ROW = SPAN * PLANES;
    constexpr int ROWS_AT_ONCE = BLOCK_THREADS / ROW;
    if (thread >= static_cast<int>(ROWS_AT_ONCE * ROW)) return;
    const unsigned int number = static_cast<unsigned int>(thread);
    const unsigned int plane = number % PLANES, column = number % ROW / PLANES;
    const int row = static_cast<int>(number / ROW);
    const int channel = (chunk * PLANES + plane) * CHANNELS;
    const int x = tile.x - HALO + static_cast<int>(column);
    const bool valid = static_cast<unsigned int>(x) < static_cast<unsigned int>(problem.width) &&
                       channel < problem.channels;
    const int y = tile.y - HALO + row;
    const Half* from = static_cast<const Half*>(problem.features);
    from += ((static_cast<long long>(tile.image) * problem.height + y) * problem.width + x) * problem.pitch + channel;
    const long long step = static_cast<long long>(ROWS_AT_ONCE * problem.width) * problem.pitch;
    to += plane * PLANE + row * SPAN + column;
    if (channel + CHANNELS <= problem.channels || !valid) {
        // The rows inside the image: a range, as the block's span may begin and end outside.
        const unsigned int height = valid ? problem.height : 0;
        DEFIAN_UNROLL
        for (int part = 0; part < (SPAN + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE; ++part) {
            const bool here = static_cast<unsigned int>(y + part * ROWS_AT_ONCE) < height;
            if ((part + 1) * ROWS_AT_ONCE <= SPAN || part * ROWS_AT_ONCE + row < SPAN) {
                copy(to + part * ROWS_AT_ONCE * SPAN, from, here);
            }
            from += step;
        }
        return;
    }
    DEFIAN_UNROLL_BY(1)
    for (int at = row; at < SPAN; at += ROWS_AT_ONCE) {  // the padding is never used
        Vector vector = {};
        if (inside(problem, tile.y - HALO + at, x)) vector = load_vector(from);
        DEFIAN_UNROLL
        for (int index = 0; index < CHANNELS; ++index) {
            if (channel + index >= problem.channels) vector.word[index / 2] &= index % 2 ? 0x0000ffffu : 0xffff0000u;
        }
        put(to, vector);
        from += step;
        to += ROWS_AT_ONCE * SPAN;
    }
}

// Two pixels of eight channels become two vectors. A warp takes two rows of 16 pairs, which start one column before
// the span, at an even one.
DEFIAN_HD void stage_pairs(const Problem& problem, const Tile& tile, int chunk, int thread, Vector* to) {
    constexpr unsigned int ROW = WARP_THREADS / 2;
    constexpr int ROWS_AT_ONCE = BLOCK_THREADS / ROW;
    static_assert(2 * ROW >= SPAN + 1, "half a warp's pairs cover the span");
    const unsigned int number = static_cast<unsigned int>(thread);
    const int column = static_cast<int>(number % ROW) * 2 - 1;
    const int x = tile.x - HALO + column;
    const unsigned int height =
        static_cast<unsigned int>(x) < static_cast<unsigned int>(problem.width) ? problem.height : 0;
    const unsigned long long plane_bytes = 2ull * static_cast<unsigned int>(problem.height) * problem.width;
    const char* image = static_cast<const char*>(problem.features) + tile.image * problem.channels * plane_bytes;
    DEFIAN_UNROLL_BY(1)
    for (int plane = 0; plane < PLANES; ++plane) {
        const int first = (chunk * PLANES + plane) * CHANNELS;
        const int count = problem.channels - first;
        DEFIAN_UNROLL_BY(1)
        for (int row = static_cast<int>(number / ROW); row < SPAN; row += ROWS_AT_ONCE) {
            const int y = tile.y - HALO + row;
            unsigned int words[CHANNELS];
            DEFIAN_UNROLL
            for (int index = 0; index < CHANNELS; ++index) words[index] = 0;
            if (static_cast<unsigned int>(y) < height) {
                const char* from = image + first * plane_bytes + 2ll * (static_cast<long long>(y) * problem.width + x);
                if (count >= CHANNELS) {
                    DEFIAN_UNROLL
                    for (int index = 0; index < CHANNELS; ++index) {
                        words[index] = load(reinterpret_cast<const unsigned int*>(from));
                        from += plane_bytes;
                    }
                } else {
                    DEFIAN_UNROLL
                    for (int index = 0; index < CHANNELS; ++index) {
                        if (index < count) words[index] = load(reinterpret_cast<const unsigned int*>(from));
                        from += plane_bytes;
                    }
                }
            }
            Vector left, right;
            DEFIAN_UNROLL
            for (int index = 0; index < CHANNELS / 2; ++index) {
                const unsigned int low = words[2 * index], high = words[2 * index + 1];
                left.word[index] = (low & 0xffffu) | high << 16;
                right.word[index] = low >> 16 | (high & 0xffff0000u);
            }
            Vector* target = to + plane * PLANE + row * SPAN + column;
            if (column >= 0) put(target, left);
            if (column + 1 < SPAN) put(target + 1, right);
        }
    }
}

// The same for any width and address, pixel by pixel.
DEFIAN_HD void stage_pixels(const Problem& problem, const Tile& tile, int chunk, int thread, Vector* to) {
    const unsigned short* features = static_cast<const unsigned short*>(problem.features);
    const unsigned long long plane_size = static_cast<unsigned long long>(problem.height) * problem.width;
    DEFIAN_UNROLL_BY(1)
    for (int item = thread; item < PLANES * POSITIONS; item += BLOCK_THREADS) {
        const int plane = item / POSITIONS, row = item % POSITIONS / SPAN, column = item % SPAN;
        const int y = tile.y - HALO + row, x = tile.x - HALO + column;
        const int first = (chunk * PLANES + plane) * CHANNELS;
        Vector vector = {};
        if (inside(problem, y, x)) {
            const unsigned long long channel = static_cast<unsigned long long>(tile.image) * problem.channels + first;
            const unsigned short* from = features + channel * plane_size +
                                         static_cast<unsigned long long>(y) * problem.width + x;
            DEFIAN_UNROLL
            for (int index = 0; index < CHANNELS; ++index) {
                if (first + index < problem.channels) {
                    vector.word[index / 2] |= static_cast<unsigned int>(load(from)) << (16 * (index % 2));
                }
                from += plane_size;
            }
        }
        put(to + plane * PLANE + row * SPAN + column, vector);
    }
}

// One chunk: every vector of the span, zeros where the image ends or the channels do, and its biases.
template <Layout layout>
DEFIAN_HD void stage(const Problem& problem, const Tile& tile, int chunk, int thread, const Memory& memory) {
    stage_bias(problem, chunk, thread, memory);
    if (layout == Layout::channels_last) {
        stage_channels_last(problem, tile, chunk, thread, memory.chunk);
        return;
    }
    const bool aligned = reinterpret_cast<unsigned long long>(problem.features) % 4 == 0;
    if (aligned && problem.width % 2 == 0) {
        stage_pairs(problem, tile, chunk, thread, memory.chunk);
    } else {
        stage_pixels(problem, tile, chunk, thread, memory.chunk);
    }
}

}  // namespace tensor
}  // namespace defian
