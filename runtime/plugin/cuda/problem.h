// What a launch is given, and the tile of its maps that a block makes.
#pragma once

#include "element.h"

namespace defian {

enum class Layout {
    linear,        // [N, C, H, W]
    channels_last  // [N, H, W, pitch], pitch a multiple of 8 that is at least C; the padding is never used
};

struct Problem {
    const void* features;
    const float* bias;  // [3 dilations][xx, yy, xy][C]
    void* maps;         // [N, 3, H, W], of the features' type
    int batch, channels, height, width;
    int pitch;    // channels a pixel takes up in memory; read for channels-last only
    int vectors;  // 16-byte vectors per pixel in a chunk; read for FP32 only
};

struct Tile {
    int image, y, x;
};

DEFIAN_HD int divide_up(int value, int divisor) { return (value + divisor - 1) / divisor; }

template <int WIDTH, int HEIGHT>
DEFIAN_HD Tile locate(const Problem& problem, unsigned int block) {
    const unsigned int columns = divide_up(problem.width, WIDTH);
    const unsigned int rows = divide_up(problem.height, HEIGHT);
    const unsigned int row = block / columns;
    return Tile{static_cast<int>(row / rows), static_cast<int>(row % rows) * HEIGHT,
                static_cast<int>(block % columns) * WIDTH};
}

DEFIAN_HD bool inside(const Problem& problem, int y, int x) {
    return y >= 0 && y < problem.height && x >= 0 && x < problem.width;
}

}  // namespace defian
