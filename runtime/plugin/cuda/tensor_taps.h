// The second differences of FP16 features as matrix products: which pixels a warp takes, which positions they reach,
// and with which weights.
//
// For a channel and a dilation, a = fxx - fyy and b = 2 fxy are sums of four taps each with weights of +-1 and +-2,
// and no centre tap. A product makes them for eight pixels and eight channels at a time: its left factor holds the
// weights (rows 0-7: a of the eight pixels, rows 8-15: b of them), its right factor the features of the 24 or 32
// positions that the pixels reach.
#pragma once

#include "tensor_warp.h"

namespace defian {
namespace tensor {

constexpr int TILE = 24;
constexpr int SPAN = TILE + 2 * HALO;  // 30: 6 modulo 8, so that 24 positions of a 6 x 4 grid lie in all banks alike
constexpr int WARPS = 8;
constexpr int BLOCK_THREADS = WARPS * WARP_THREADS;
constexpr int BLOCKS_WANTED = 3;  // on a multiprocessor: bounds the registers to 80
constexpr int OCTETS = TILE * TILE / 8 / WARPS;  // of pixels, per warp and dilation: 3 across and 3 down

// FP16 weight of a tap that lies (across, down) dilations from the pixel: of a, or of b = 2 fxy.
DEFIAN_HD constexpr unsigned int weight(int across, int down, bool cross) {
    if (cross) {
        if (across * across != 1 || down * down != 1) return 0;
        return across == down ? 0x4000u : 0xc000u;  // 2, -2
    }
    if (down == 0 && across * across == 1) return 0x3c00u;  // 1
    if (across == 0 && down * down == 1) return 0xbc00u;    // -1
    return 0;
}

// Eight pixels and their positions. Dilations 1 and 3: pixels 4 x 2 in steps of the dilation, positions 6 x 4 in
// such steps. Dilation 2: pixels 4 side by side in 2 rows two apart, positions 8 side by side in 4 rows two apart;
// in steps of two, all positions would lie in half of the banks.
template <bool GRID>
DEFIAN_HD constexpr unsigned int weight_at(int pixel, int position, bool cross) {
    constexpr int WIDTH = GRID ? 6 : 8;
    const int down = position / WIDTH - (pixel / 4 + 1);
    const int steps = position % WIDTH - (pixel % 4 + (GRID ? 1 : 2));
    if (GRID) return weight(steps, down, cross);
    return steps % 2 == 0 ? weight(steps / 2, down, cross) : 0;
}

// The left factors: words of a lane, a word per half of the rows and 8 positions. The grid's 24 positions, then the
// rows' 32.
struct Weights {
    Vector of[4 * WARP_THREADS];
};

DEFIAN_HD constexpr Weights make_weights() {
    Weights all = {};
    for (int thread = 0; thread < 4 * WARP_THREADS; ++thread) {
        const int pixel = thread % WARP_THREADS / 4, part = thread / WARP_THREADS;
        for (int word = 0; word < 4; ++word) {
            const int at = part % 2 * 16 + word / 2 * 8 + thread % 4 * 2;
            const bool cross = word % 2 != 0;
            all.of[thread].word[word] =
                part < 2 ? weight_at<true>(pixel, at, cross) | weight_at<true>(pixel, at + 1, cross) << 16
                         : weight_at<false>(pixel, at, cross) | weight_at<false>(pixel, at + 1, cross) << 16;
        }
    }
    return all;
}

#ifdef __CUDACC__
__device__
#endif
constexpr Weights WEIGHTS = make_weights();

// The upper left pixel of a warp's first octet at a dilation, in the tile.
DEFIAN_HD unsigned int first_x(unsigned int warp) { return warp % 2 * 12; }
DEFIAN_HD unsigned int first_y(int dilation, unsigned int warp) {
    if (dilation == 1) return warp / 2 * 6;
    if (dilation == 2) return warp / 2 % 2 + warp / 4 * 12;
    return warp / 2 * 6;
}
// From there to an octet. At dilation 3 they are 3 x 3 neighbours.
DEFIAN_HD int octet_x(int dilation, int octet) { return octet % 3 * (dilation == 3 ? 1 : 4); }
DEFIAN_HD int octet_y(int dilation, int octet) { return octet / 3 * (dilation == 3 ? 1 : 2 * dilation); }
// And from there to one of its pixels.
DEFIAN_HD unsigned int pixel_x(int dilation, unsigned int pixel) { return pixel % 4 * (dilation == 3 ? 3 : 1); }
DEFIAN_HD unsigned int pixel_y(int dilation, unsigned int pixel) { return pixel / 4 * dilation; }

}  // namespace tensor
}  // namespace defian
