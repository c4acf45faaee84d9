// What the CPU kernel sees of a run: loads from global memory through a modelled L2, and stores to shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
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
    long long features_asked = 0, bias_asked = 0, bias_sectors = 0, sectors_touched = 0, sectors_missed = 0;
    long long written_twice = 0, misaligned = 0;
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

    // Another stretch between two barriers: a block's shared memory may be written once more.
    void between_barriers(const void* memory, std::size_t bytes) {
        shared = static_cast<const unsigned char*>(memory);
        if (checking) written.assign(bytes, 0);
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
