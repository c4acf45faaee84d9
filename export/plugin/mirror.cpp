// The kernel's own source run on the CPU: kernel.cu's launch as loops over waves, blocks, phases and threads.
//
// Blocks go in waves of `resident`; the blocks of a wave go through their chunks in step, as they do on a GPU.
// On the way it checks what kernel.cu's freedom from races rests on, and counts the traffic:
//   * shared memory is poisoned before each staging, a word that two threads write is reported;
//   * a vector load whose address is not a multiple of its 16 bytes is reported: a GPU would end with an error;
//   * loads are counted as bytes asked for, and as 32-byte sectors: those that a block touches in one staging,
//     and of these the ones that a least-recently-used L2 cache of a given size does not hold. Biases count as
//     features do, because all threads of a block read the same few: L1 has them after the first.
// With DEFIAN_MIRROR_MAIN it is a program for AddressSanitizer, in which every buffer has its exact size.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <list>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace watch {

constexpr std::uintptr_t SECTOR = 32;

struct Watch {
    bool counting = false;
    bool checking = false;
    std::uintptr_t features_begin = 0, features_end = 0;
    long long features_asked = 0, bias_asked = 0, bias_sectors = 0, sectors_touched = 0, sectors_missed = 0, written_twice = 0;
    long long misaligned = 0;
    std::size_t capacity = 0;  // of the L2, in sectors
    std::list<std::uintptr_t> recent;
    std::unordered_map<std::uintptr_t, std::list<std::uintptr_t>::iterator> cached;
    std::unordered_set<std::uintptr_t> staged;
    const unsigned char* shared = nullptr;
    std::vector<unsigned char> written;

    void loaded(const void* address, std::size_t bytes) {
        const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(address);
        if (begin % bytes != 0) ++misaligned;
        if (!counting) return;
        const bool is_bias = begin < features_begin || begin >= features_end;
        (is_bias ? bias_asked : features_asked) += static_cast<long long>(bytes);
        for (std::uintptr_t sector = begin / SECTOR; sector * SECTOR < begin + bytes; ++sector) {
            if (!staged.insert(sector).second) continue;
            ++sectors_touched;
            if (is_bias) ++bias_sectors;
            const auto found = cached.find(sector);
            if (found != cached.end()) {
                recent.splice(recent.begin(), recent, found->second);
                continue;
            }
            ++sectors_missed;
            recent.push_front(sector);
            cached[sector] = recent.begin();
            if (recent.size() > capacity) {
                cached.erase(recent.back());
                recent.pop_back();
            }
        }
    }

    void stored(const void* address, std::size_t bytes) {
        if (!checking) return;
        const std::size_t offset = static_cast<std::size_t>(static_cast<const unsigned char*>(address) - shared);
        for (std::size_t byte = offset; byte < offset + bytes; ++byte) written_twice += written.at(byte)++ ? 1 : 0;
    }
};

thread_local Watch* watching = nullptr;

}  // namespace watch

#define DEFIAN_ON_GLOBAL_LOAD(address, bytes) ::watch::watching->loaded(address, bytes)
#define DEFIAN_ON_SHARED_STORE(address, bytes) ::watch::watching->stored(address, bytes)
#include "tile.h"

using namespace defian;

// What the caller asks for and what came out; export/plugin/mirror.py has the same layout.
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

template <class Phase>
void each_thread(bool reversed, Phase phase) {
    for (int index = 0; index < THREADS; ++index) phase(reversed ? THREADS - 1 - index : index);
}

template <class T, Layout layout>
void launch(const Problem& problem, const Options& options, watch::Watch& watcher) {
    using Word = typename Block<T>::Word;
    const std::size_t bytes = static_cast<std::size_t>(SHARED_BYTES_PER_VECTOR) * problem.vectors;
    Vector* memory = static_cast<Vector*>(std::aligned_alloc(alignof(Vector), bytes));
    Word* shared = reinterpret_cast<Word*>(memory);
    watcher.shared = reinterpret_cast<const unsigned char*>(memory);
    const unsigned int blocks = static_cast<unsigned int>(divide_up(problem.width, TILE_WIDTH)) *
                                divide_up(problem.height, TILE_HEIGHT) * problem.batch;
    std::vector<Sums> sums(static_cast<std::size_t>(options.resident) * THREADS);
    for (unsigned int wave = 0; wave < blocks; wave += options.resident) {
        const unsigned int left = blocks - wave;
        const unsigned int count = left < static_cast<unsigned int>(options.resident) ? left : options.resident;
        std::memset(sums.data(), 0, sums.size() * sizeof(Sums));
        for (int index = 0; index < Block<T>::chunks(problem); ++index) {
            const Chunk chunk = Block<T>::chunk(problem, index);
            for (unsigned int block = 0; block < count; ++block) {
                const Tile tile = locate(problem, wave + block);
                std::memset(memory, 0xff, bytes);  // NaN in FP32 and FP16
                if (options.checking) watcher.written.assign(bytes, 0);
                watcher.staged.clear();
                each_thread(options.reversed, [&](int thread) {
                    Block<T>::template stage<layout>(problem, tile, chunk, thread, shared);
                });
                each_thread(options.reversed, [&](int thread) {
                    Block<T>::accumulate(problem, tile, chunk, thread, shared, sums[block * THREADS + thread]);
                });
            }
        }
        for (unsigned int block = 0; block < count; ++block) {
            const Tile tile = locate(problem, wave + block);
            each_thread(options.reversed, [&](int thread) {
                Block<T>::write(problem, tile, thread, sums[block * THREADS + thread]);
            });
        }
    }
    std::free(memory);
}

}  // namespace

extern "C" {

int defian_shared_bytes_per_vector() { return SHARED_BYTES_PER_VECTOR; }
int defian_threads() { return THREADS; }
int defian_tile_width() { return TILE_WIDTH; }
int defian_tile_height() { return TILE_HEIGHT; }

float defian_widen(unsigned short bits) { return widen(Half{bits}); }

unsigned short defian_narrow(float value) {
    Half half;
    narrow(value, half);
    return half.bits;
}

// fp16: 0 for FP32, 1 for FP16; channels_last: 0 for [N, C, H, W], 1 for [N, H, W, pitch].
void defian_mirror(int fp16, int channels_last, const Problem* problem, const Options* options, Counts* counts) {
    watch::Watch watcher;
    watcher.counting = options->counting != 0;
    watcher.checking = options->checking != 0;
    watcher.capacity = static_cast<std::size_t>(options->l2_bytes) / watch::SECTOR;
    const int per_pixel = channels_last ? problem->pitch : problem->channels;
    watcher.features_begin = reinterpret_cast<std::uintptr_t>(problem->features);
    watcher.features_end = watcher.features_begin + static_cast<std::uintptr_t>(problem->batch) * per_pixel *
                                                        problem->height * problem->width * (fp16 ? 2 : 4);
    watch::watching = &watcher;
    if (fp16 && channels_last) launch<Half, Layout::channels_last>(*problem, *options, watcher);
    if (fp16 && !channels_last) launch<Half, Layout::linear>(*problem, *options, watcher);
    if (!fp16 && channels_last) launch<float, Layout::channels_last>(*problem, *options, watcher);
    if (!fp16 && !channels_last) launch<float, Layout::linear>(*problem, *options, watcher);
    watch::watching = nullptr;
    const long long blocks = static_cast<long long>(divide_up(problem->width, TILE_WIDTH)) *
                             divide_up(problem->height, TILE_HEIGHT) * problem->batch;
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

#ifdef DEFIAN_MIRROR_MAIN
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
            defian_mirror(fp16, channels_last, &problem, &options, &counts);
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
