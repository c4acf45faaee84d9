// The kernel's own source run on the CPU: kernel.cu's launch as loops over waves, blocks, phases, warps and threads.
//
// Blocks go in waves of `resident`; the blocks of a wave go through their chunks in step, as they do on a GPU.
// On the way it checks what kernel.cu's freedom from races rests on, and counts the traffic (cpu_kernel_watch.h):
//   * shared memory is poisoned before it is written, a word that two threads write between barriers is reported;
//   * a load whose address is not a multiple of its size is reported: a GPU would end with an error;
//   * loads are counted as bytes asked for, and as 32-byte sectors: those that a block touches in one staging,
//     and of these the ones that a least-recently-used L2 cache of a given size does not hold. Biases count as
//     features do, because all threads of a block read the same few: L1 has them after the first.
// With DEFIAN_CPU_KERNEL_MAIN it is a program for AddressSanitizer, in which every buffer has its exact size.
#include <cstdlib>
#include <cstring>

#include "cpu_kernel_watch.h"

#include "float_tile.h"
#include "tensor_tile.h"

using namespace defian;

// What the caller asks for and what came out; export/plugin/cpu_kernel.py has the same layout.
struct Options {
    int reversed;               // run the threads of each phase from the last to the first
    int checking;               // look for words of shared memory written twice
    int counting;               // count the traffic
    int resident;               // blocks in flight at a time
    long long l2_bytes;
};

struct Counts {
    long long blocks, features_asked, bias_asked, bias_sectors, sectors_touched, sectors_missed, written_twice, misaligned;
};

namespace {

// Threads of a block, or its warps, each of which does in step what its lanes do.
template <class Phase>
void each(bool reversed, int count, Phase phase) {
    for (int index = 0; index < count; ++index) phase(reversed ? count - 1 - index : index);
}

unsigned int blocks_of(const Problem& problem, int tile_width, int tile_height) {
    return static_cast<unsigned int>(divide_up(problem.width, tile_width)) * divide_up(problem.height, tile_height) *
           problem.batch;
}

// Calls wave(first block, count) for the blocks that are in flight together.
template <class Wave>
void each_wave(unsigned int blocks, int resident, Wave wave) {
    for (unsigned int first = 0; first < blocks; first += resident) {
        const unsigned int left = blocks - first;
        wave(first, left < static_cast<unsigned int>(resident) ? left : resident);
    }
}

template <Layout layout>
void launch_float(const Problem& problem, const Options& options, watch::Watch& watcher) {
    using Block = FloatBlock;
    const std::size_t bytes = static_cast<std::size_t>(SHARED_BYTES_PER_VECTOR) * problem.vectors;
    Vector* memory = static_cast<Vector*>(std::aligned_alloc(alignof(Vector), bytes));
    Word* shared = reinterpret_cast<Word*>(memory);
    std::vector<Sums> sums(static_cast<std::size_t>(options.resident) * THREADS);
    const unsigned int blocks = blocks_of(problem, TILE_WIDTH, TILE_HEIGHT);
    each_wave(blocks, options.resident, [&](unsigned int wave, unsigned int count) {
        std::memset(sums.data(), 0, sums.size() * sizeof(Sums));
        for (int index = 0; index < Block::chunks(problem); ++index) {
            const Chunk chunk = Block::chunk(problem, index);
            for (unsigned int block = 0; block < count; ++block) {
                const Tile tile = locate<TILE_WIDTH, TILE_HEIGHT>(problem, wave + block);
                std::memset(memory, 0xff, bytes);  // NaN
                watcher.between_barriers(memory, bytes);
                watcher.staged.clear();
                each(options.reversed, THREADS, [&](int thread) {
                    Block::stage<layout>(problem, tile, chunk, thread, shared);
                });
                each(options.reversed, THREADS, [&](int thread) {
                    Block::accumulate(problem, tile, chunk, thread, shared, sums[block * THREADS + thread]);
                });
            }
        }
        for (unsigned int block = 0; block < count; ++block) {
            const Tile tile = locate<TILE_WIDTH, TILE_HEIGHT>(problem, wave + block);
            each(options.reversed, THREADS, [&](int thread) {
                Block::write(problem, tile, thread, sums[block * THREADS + thread]);
            });
        }
    });
    std::free(memory);
}

// What a staging has to write, or the parts of the sums.
void poison(const tensor::Memory& memory, bool whole_planes) {
    for (int plane = 0; plane < tensor::PLANES; ++plane) {
        const int vectors = whole_planes ? tensor::PLANE : tensor::POSITIONS;
        std::memset(memory.chunk + plane * tensor::PLANE, 0xff, static_cast<std::size_t>(vectors) * VECTOR_BYTES);
    }
    if (!whole_planes) std::memset(memory.bias(), 0xff, tensor::BIAS_FLOATS * sizeof(float));
}

template <Layout layout>
void launch_half(const Problem& problem, const Options& options, watch::Watch& watcher) {
    using namespace tensor;
    // A block's shared memory outlives its chunks, so each block in flight has its own.
    const std::size_t bytes = SHARED_BYTES;
    Vector* room = static_cast<Vector*>(std::aligned_alloc(alignof(Vector), bytes * options.resident));
    std::vector<tensor::Sums> sums(static_cast<std::size_t>(options.resident) * WARPS);
    each_wave(blocks_of(problem, TILE, TILE), options.resident, [&](unsigned int wave, unsigned int count) {
        std::memset(sums.data(), 0, sums.size() * sizeof(tensor::Sums));
        std::memset(room, 0xff, bytes * options.resident);  // NaN
        const auto memory_of = [&](unsigned int block) { return Memory{room + block * (bytes / sizeof(Vector))}; };
        for (int chunk = 0; chunk < chunks(problem); ++chunk) {
            for (unsigned int block = 0; block < count; ++block) {
                const Tile tile = locate<TILE, TILE>(problem, wave + block);
                const Memory memory = memory_of(block);
                if (chunk > 0) poison(memory, false);
                watcher.between_barriers(memory.chunk, bytes);
                watcher.staged.clear();
                each(options.reversed, BLOCK_THREADS, [&](int thread) {
                    stage<layout>(problem, tile, chunk, thread, memory);
                    if (chunk == 0) prepare(thread, memory);
                });
                if (chunk == 0) each(options.reversed, WARPS, [&](int warp) { prepare_trace(problem, warp, memory); });
                each(options.reversed, WARPS, [&](int warp) {
                    accumulate(memory, warp, sums[block * WARPS + warp]);
                });
            }
        }
        for (unsigned int block = 0; block < count; ++block) {
            const Tile tile = locate<TILE, TILE>(problem, wave + block);
            const Memory memory = memory_of(block);
            poison(memory, true);
            watcher.between_barriers(memory.chunk, bytes);
            each(options.reversed, WARPS, [&](int warp) { deposit(memory, warp, sums[block * WARPS + warp]); });
            each(options.reversed, BLOCK_THREADS, [&](int thread) { write<layout>(problem, tile, thread, memory); });
        }
    });
    std::free(room);
}

}  // namespace

extern "C" {

int defian_tile_width(int fp16) { return fp16 ? tensor::TILE : TILE_WIDTH; }
int defian_tile_height(int fp16) { return fp16 ? tensor::TILE : TILE_HEIGHT; }
int defian_threads(int fp16) { return fp16 ? tensor::BLOCK_THREADS : THREADS; }
int defian_shared_bytes(int fp16, int vectors) {
    return fp16 ? tensor::SHARED_BYTES : vectors * SHARED_BYTES_PER_VECTOR;
}

float defian_widen(unsigned short bits) { return widen(Half{bits}); }

unsigned short defian_narrow(float value) {
    Half half;
    narrow(value, half);
    return half.bits;
}

// fp16: 0 for FP32, 1 for FP16; channels_last: 0 for [N, C, H, W], 1 for [N, H, W, pitch].
void defian_cpu_kernel(int fp16, int channels_last, const Problem* problem, const Options* options, Counts* counts) {
    watch::Watch watcher;
    watcher.counting = options->counting != 0;
    watcher.checking = options->checking != 0;
    watcher.capacity = static_cast<std::size_t>(options->l2_bytes) / watch::SECTOR;
    const int per_pixel = channels_last ? problem->pitch : problem->channels;
    watcher.features_begin = reinterpret_cast<std::uintptr_t>(problem->features);
    watcher.features_end = watcher.features_begin + static_cast<std::uintptr_t>(problem->batch) * per_pixel *
                                                        problem->height * problem->width * (fp16 ? 2 : 4);
    watch::watching = &watcher;
    if (fp16 && channels_last) launch_half<Layout::channels_last>(*problem, *options, watcher);
    if (fp16 && !channels_last) launch_half<Layout::linear>(*problem, *options, watcher);
    if (!fp16 && channels_last) launch_float<Layout::channels_last>(*problem, *options, watcher);
    if (!fp16 && !channels_last) launch_float<Layout::linear>(*problem, *options, watcher);
    watch::watching = nullptr;
    const long long blocks = blocks_of(*problem, defian_tile_width(fp16), defian_tile_height(fp16));
    *counts = Counts{blocks,
                     watcher.features_asked,
                     watcher.bias_asked,
                     watcher.bias_sectors,
                     watcher.sectors_touched,
                     watcher.sectors_missed,
                     watcher.written_twice,
                     watcher.misaligned};
}

}  // extern "C"

#ifdef DEFIAN_CPU_KERNEL_MAIN
#include <cstdio>

// Exact buffers over odd shapes, types and layouts: AddressSanitizer ends the program at the first stray access.
int main() {
    const int shapes[][4] = {{1, 1, 1, 1},   {1, 5, 17, 23}, {2, 32, 3, 64},  {1, 8, 33, 65},
                             {1, 33, 5, 63}, {2, 3, 40, 72}, {1, 64, 31, 66}, {1, 9, 70, 8}};
    for (const auto& shape : shapes) {
        for (int kind = 0; kind < 12; ++kind) {  // from 8 on linear, and features that start one element further
            const int fp16 = kind & 1, vectors = 1 + ((kind >> 2) & 1);
            const int channels_last = kind < 8 ? (kind >> 1) & 1 : 0, offset = kind < 8 ? 0 : 1;
            const int pitch = (shape[1] + 7) / 8 * 8;
            const std::size_t pixels = static_cast<std::size_t>(shape[0]) * shape[2] * shape[3];
            const std::size_t element = fp16 ? 2 : 4;
            const std::size_t feature_bytes = pixels * (channels_last ? pitch : shape[1]) * element;
            const std::size_t map_bytes = pixels * DILATIONS * element;
            // malloc gives 16-byte alignment, which the vector loads need; its size is exact, so the next byte is not ours.
            unsigned char* room = static_cast<unsigned char*>(std::malloc(feature_bytes + offset * element));
            unsigned char* features = room + offset * element;
            float* bias = static_cast<float*>(std::malloc(9 * shape[1] * sizeof(float)));
            unsigned char* maps = static_cast<unsigned char*>(std::malloc(map_bytes));
            std::memset(features, 0, feature_bytes);
            for (int index = 0; index < 9 * shape[1]; ++index) bias[index] = 0.25f;
            std::memset(maps, 0xff, map_bytes);
            const Problem problem{features, bias, maps, shape[0], shape[1], shape[2], shape[3], pitch, vectors};
            const Options options{0, 1, 0, 2, 0};
            Counts counts;
            defian_cpu_kernel(fp16, channels_last, &problem, &options, &counts);
            for (std::size_t byte = 0; byte + element <= map_bytes; byte += element) {
                bool poison = true;
                for (std::size_t part = 0; part < element; ++part) poison = poison && maps[byte + part] == 0xff;
                if (poison || counts.written_twice || counts.misaligned) {
                    std::printf("kind %d, shape %d %d %d %d: an element unwritten, a word written twice or a misaligned load\n",
                                kind, shape[0], shape[1], shape[2], shape[3]);
                    return 1;
                }
            }
            std::free(room);
            std::free(bias);
            std::free(maps);
        }
    }
    std::puts("clean");
    return 0;
}
#endif
