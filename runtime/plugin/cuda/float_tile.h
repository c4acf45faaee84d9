// FP32 features: what one block does with a tile of 64 x 32 output pixels, all channels, three maps.
//
// The channels go by in chunks. For each chunk the block stages the tile and its halo of 3 in shared memory
// (stage), waits, and adds the chunk's eigenvalues to registers (accumulate), waits again; after the last
// chunk it writes the maps (write). Between two barriers shared memory is either only written, each word by one
// thread, or only read; a thread alone owns its four pixels of a column and their sums. So there is no race.
//
// kernel.cu runs the phases as a CUDA kernel, export/plugin/cpu_kernel.cpp as loops over blocks and threads.
#pragma once

#include "problem.h"

namespace defian {

constexpr int TILE_WIDTH = 64;
constexpr int TILE_HEIGHT = 32;
constexpr int ROWS = 4;  // output pixels of one thread, one above the other
constexpr int THREADS = TILE_WIDTH * TILE_HEIGHT / ROWS;
constexpr int SPAN_WIDTH = TILE_WIDTH + 2 * HALO;
constexpr int SPAN_HEIGHT = TILE_HEIGHT + 2 * HALO;
constexpr int LEFT = 4;                         // column of the tile's first pixel: one word of padding keeps
constexpr int ROW_WORDS = LEFT + SPAN_WIDTH - HALO + 1;  // the stores of whole vectors aligned
constexpr int PLANE_WORDS = SPAN_HEIGHT * ROW_WORDS;
// Shared memory for one 16-byte vector per pixel: 4 channels.
constexpr int SHARED_BYTES_PER_VECTOR = PLANE_WORDS * VECTOR_BYTES;

static_assert(ROW_WORDS % 4 == 0 && LEFT % 4 == 0, "rows of words start at a multiple of 16 bytes");

// The channels of one chunk.
struct Chunk {
    int first, pairs;
};

struct Sums {
    float of[DILATIONS][ROWS];  // of twice the eigenvalue, over the channels so far
};

// A word of shared memory holds one pixel of two neighbouring channels.
struct alignas(8) Word {
    float first, second;
};

struct FloatBlock {
    static constexpr int VECTOR = VECTOR_BYTES / static_cast<int>(sizeof(float));
    static constexpr int WORDS = VECTOR_BYTES / static_cast<int>(sizeof(Word));

    struct alignas(VECTOR_BYTES) WordVector {
        Word of[WORDS];
    };

    static DEFIAN_HD int chunks(const Problem& problem) {
        return divide_up(problem.channels, problem.vectors * VECTOR);
    }

    static DEFIAN_HD Chunk chunk(const Problem& problem, int index) {
        const int channels = problem.vectors * VECTOR;
        const int first = index * channels;
        const int left = problem.channels - first;
        return Chunk{first, divide_up(left < channels ? left : channels, 2)};
    }

    static DEFIAN_HD unsigned long long linear(const Problem& problem, int image, int channel, int y, int x) {
        const unsigned long long plane = static_cast<unsigned long long>(image) * problem.channels + channel;
        return (plane * problem.height + y) * problem.width + x;
    }

    // Every word of the span is written, zeros where the image ends.
    template <Layout layout>
    static DEFIAN_HD void stage(const Problem& problem, const Tile& tile, const Chunk& chunk, int thread, Word* shared) {
        if (layout == Layout::channels_last) {
            stage_channels_last(problem, tile, chunk, thread, shared);
            return;
        }
        const bool aligned = reinterpret_cast<unsigned long long>(problem.features) % VECTOR_BYTES == 0;
        if (aligned && problem.width % VECTOR == 0) {
            stage_body(problem, tile, chunk, thread, shared);
            stage_columns(problem, tile, chunk, thread, 2 * HALO, shared);
        } else {
            stage_columns(problem, tile, chunk, thread, SPAN_WIDTH, shared);
        }
    }

    // Linear, the tile's own columns: two vectors of neighbouring channels become one vector's length of words.
    // A vector lies wholly inside the image or wholly outside, as the width is a multiple of its length.
    static DEFIAN_HD void stage_body(const Problem& problem, const Tile& tile, const Chunk& chunk, int thread,
                                     Word* shared) {
        constexpr int PER_ROW = TILE_WIDTH / VECTOR;
        const float* features = static_cast<const float*>(problem.features);
        DEFIAN_UNROLL_BY(2)
        for (int item = thread; item < chunk.pairs * SPAN_HEIGHT * PER_ROW; item += THREADS) {
            const int column = item % PER_ROW * VECTOR;
            const int line = item / PER_ROW;  // pair * SPAN_HEIGHT + row
            const int y = tile.y - HALO + line % SPAN_HEIGHT;
            const int x = tile.x + column;
            const int channel = chunk.first + line / SPAN_HEIGHT * 2;
            Vector first = {}, second = {};
            if (inside(problem, y, x)) {
                first = load_vector(features + linear(problem, tile.image, channel, y, x));
                if (channel + 1 < problem.channels) {
                    second = load_vector(features + linear(problem, tile.image, channel + 1, y, x));
                }
            }
            WordVector* target = reinterpret_cast<WordVector*>(shared + line * ROW_WORDS + LEFT + column);
            DEFIAN_UNROLL
            for (int part = 0; part < VECTOR / WORDS; ++part) {
                WordVector words;
                DEFIAN_UNROLL
                for (int index = 0; index < WORDS; ++index) {
                    float a, b;
                    extract(first, part * WORDS + index, a);
                    extract(second, part * WORDS + index, b);
                    words.of[index] = Word{a, b};
                }
                put(target + part, words);
            }
        }
    }

    // Linear, one pixel at a time: the whole span (count = SPAN_WIDTH), or the halo's columns left and right.
    static DEFIAN_HD void stage_columns(const Problem& problem, const Tile& tile, const Chunk& chunk, int thread,
                                        int count, Word* shared) {
        const float* features = static_cast<const float*>(problem.features);
        const int jump = SPAN_WIDTH - count;  // the columns left out lie behind the left halo
        DEFIAN_UNROLL_BY(1)
        for (int item = thread; item < chunk.pairs * SPAN_HEIGHT * count; item += THREADS) {
            const int index = item % count;
            const int column = index < HALO ? index : index + jump;
            const int line = item / count;
            const int y = tile.y - HALO + line % SPAN_HEIGHT;
            const int x = tile.x - HALO + column;
            const int channel = chunk.first + line / SPAN_HEIGHT * 2;
            float first = 0.0f, second = 0.0f;
            if (inside(problem, y, x)) {
                first = load(features + linear(problem, tile.image, channel, y, x));
                if (channel + 1 < problem.channels) {
                    second = load(features + linear(problem, tile.image, channel + 1, y, x));
                }
            }
            put(shared + line * ROW_WORDS + LEFT - HALO + column, Word{first, second});
        }
    }

    // Channels-last: a vector of one pixel is a word in each of VECTOR / 2 planes. Neighbouring threads take the
    // vectors of one pixel, so that a 32-byte sector is asked for by one instruction.
    static DEFIAN_HD void stage_channels_last(const Problem& problem, const Tile& tile, const Chunk& chunk, int thread,
                                              Word* shared) {
        constexpr int PAIRS = VECTOR / 2;
        const float* features = static_cast<const float*>(problem.features);
        const int vectors = divide_up(chunk.pairs, PAIRS);
        DEFIAN_UNROLL_BY(4)
        for (int item = thread; item < vectors * SPAN_HEIGHT * SPAN_WIDTH; item += THREADS) {
            const int pair = item % vectors * PAIRS;
            const int pixel = item / vectors;
            const int row = pixel / SPAN_WIDTH;
            const int column = pixel % SPAN_WIDTH;
            const int y = tile.y - HALO + row;
            const int x = tile.x - HALO + column;
            Vector vector = {};
            if (inside(problem, y, x)) {
                const unsigned long long line = static_cast<unsigned long long>(tile.image) * problem.height + y;
                vector = load_vector(features + (line * problem.width + x) * problem.pitch + chunk.first + pair * 2);
            }
            Word* target = shared + pair * PLANE_WORDS + row * ROW_WORDS + LEFT - HALO + column;
            DEFIAN_UNROLL
            for (int index = 0; index < PAIRS; ++index) {
                float first, second;
                extract(vector, 2 * index, first);
                extract(vector, 2 * index + 1, second);
                const int channel = chunk.first + (pair + index) * 2;
                if (channel + 1 >= problem.channels) second = 0.0f;
                if (channel < problem.channels) put(target + index * PLANE_WORDS, Word{first, second});
            }
        }
    }

    static DEFIAN_HD void read_bias(const Problem& problem, int channel, Bias (&bias)[DILATIONS]) {
        DEFIAN_UNROLL
        for (int index = 0; index < DILATIONS; ++index) {
            const float* from = problem.bias + index * 3 * problem.channels + channel;
            bias[index] = Bias{0.0f, 0.0f, 0.0f};
            if (channel < problem.channels) {
                bias[index] = Bias{load(from), load(from + problem.channels), load(from + 2 * problem.channels)};
            }
        }
    }

    // Pixels past the image's end see only zeros and are not written; whole runs of them are left out.
    static DEFIAN_HD void accumulate(const Problem& problem, const Tile& tile, const Chunk& chunk, int thread,
                                     const Word* shared, Sums& sums) {
        const int column = thread % TILE_WIDTH;
        const int top = thread / TILE_WIDTH * ROWS;
        if (!inside(problem, tile.y + top, tile.x + column)) return;
        DEFIAN_UNROLL_BY(1)
        for (int pair = 0; pair < chunk.pairs; ++pair) {
            Bias bias[2][DILATIONS];
            read_bias(problem, chunk.first + 2 * pair, bias[0]);
            read_bias(problem, chunk.first + 2 * pair + 1, bias[1]);
            const Word* from = shared + pair * PLANE_WORDS + top * ROW_WORDS + LEFT - HALO + column;
            ColumnRun<ROWS> run[2];
            DEFIAN_UNROLL
            for (int row = 0; row < ColumnRun<ROWS>::SPAN; ++row) {
                float taps[2][TAPS];
                DEFIAN_UNROLL
                for (int tap = 0; tap < TAPS; ++tap) {
                    const Word word = from[row * ROW_WORDS + tap];
                    taps[0][tap] = word.first;
                    taps[1][tap] = word.second;
                }
                DEFIAN_UNROLL
                for (int half = 0; half < 2; ++half) {
                    run[half].push(row, taps[half]);
                    DEFIAN_UNROLL
                    for (int index = 0; index < DILATIONS; ++index) {
                        const int pixel = row - (index + 1) - HALO;  // its lowest tap is this row
                        if (pixel >= 0 && pixel < ROWS) {
                            sums.of[index][pixel] += run[half].doubled(index, pixel + HALO, bias[half][index]);
                        }
                    }
                }
            }
        }
    }

    static DEFIAN_HD void write(const Problem& problem, const Tile& tile, int thread, const Sums& sums) {
        float* maps = static_cast<float*>(problem.maps);
        const int x = tile.x + thread % TILE_WIDTH;
        const int top = tile.y + thread / TILE_WIDTH * ROWS;
        const float scale = 0.5f / static_cast<float>(problem.channels);
        DEFIAN_UNROLL
        for (int row = 0; row < ROWS; ++row) {
            if (!inside(problem, top + row, x)) continue;
            DEFIAN_UNROLL
            for (int index = 0; index < DILATIONS; ++index) {
                const unsigned long long map = static_cast<unsigned long long>(tile.image) * DILATIONS + index;
                maps[(map * problem.height + top + row) * problem.width + x] = sums.of[index][row] * scale;
            }
        }
    }
};

}  // namespace defian
