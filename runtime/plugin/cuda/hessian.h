// The arithmetic of defian::MaxHessianEigenvalue, in FP32, for the GPU and the CPU alike.
//
// For a channel f and a dilation d, with the biases of its three filters:
//   fxx = f(x-d, y) - 2 f(x, y) + f(x+d, y) + bias_xx
//   fyy = f(x, y-d) - 2 f(x, y) + f(x, y+d) + bias_yy
//   fxy = f(x-d, y-d) - f(x+d, y-d) - f(x-d, y+d) + f(x+d, y+d) + bias_xy
//   eigenvalue = ((fxx + fyy) + sqrt((fxx - fyy)^2 + 4 fxy^2)) / 2
// (multi-scale Hessian filtering, arXiv 2009.13134 section III-B; models/defian.py, HessianFilter).
// The sum over the channels is kept of twice the eigenvalue; the halving is part of the final scale.
#pragma once

#ifdef __CUDACC__
#define DEFIAN_HD __host__ __device__ __forceinline__
#else
#include <cmath>
#define DEFIAN_HD inline
#endif

#if defined(__CUDACC__) || defined(__clang__)
#define DEFIAN_PRAGMA(TEXT) _Pragma(#TEXT)
#define DEFIAN_UNROLL _Pragma("unroll")
#define DEFIAN_UNROLL_BY(COUNT) DEFIAN_PRAGMA(unroll COUNT)  // bounded, so that no register is spilled
#else
#define DEFIAN_UNROLL
#define DEFIAN_UNROLL_BY(COUNT)
#endif

namespace defian {

constexpr int DILATIONS = 3;  // 1, 2, 3
constexpr int HALO = 3;       // the largest dilation
constexpr int TAPS = 2 * HALO + 1;

// The biases of the three filters of one channel at one dilation.
struct Bias {
    float xx, yy, xy;
};

DEFIAN_HD float square_root(float value) {
#ifdef __CUDACC__
    return sqrtf(value);
#else
    return std::sqrt(value);
#endif
}

// Twice the larger eigenvalue of [[fxx, fxy], [fxy, fyy]]. FP32 squares stay finite up to |f| of 1e18, so
// nothing overflows for FP16 features, whose second differences are at most 4 * 65504 plus the bias.
DEFIAN_HD float doubled_eigenvalue(float fxx, float fyy, float fxy) {
    const float difference = fxx - fyy;
    const float cross = 2.0f * fxy;
    return (fxx + fyy) + square_root(difference * difference + cross * cross);
}

// One channel of a vertical run of ROWS output pixels. The rows y0-3 ... y0+ROWS+2 are pushed from the top to
// the bottom, seven taps each, and every pixel is finished as soon as its lowest tap has come. All indices are
// compile-time constants once the loops are unrolled, so the arrays are registers and hold only live values.
template <int ROWS>
struct ColumnRun {
    static constexpr int SPAN = ROWS + 2 * HALO;

    float centre[SPAN];
    float sum[DILATIONS][SPAN];         // f(x-d) + f(x+d)
    float difference[DILATIONS][SPAN];  // f(x-d) - f(x+d)

    DEFIAN_HD void push(int row, const float (&taps)[TAPS]) {
        centre[row] = taps[HALO];
        DEFIAN_UNROLL
        for (int index = 0; index < DILATIONS; ++index) {
            const float left = taps[HALO - 1 - index];
            const float right = taps[HALO + 1 + index];
            sum[index][row] = left + right;
            difference[index][row] = left - right;
        }
    }

    // Twice the eigenvalue at dilation index + 1 of the pixel whose taps are centred on `row`.
    DEFIAN_HD float doubled(int index, int row, const Bias& bias) const {
        const int d = index + 1;
        const float twice = 2.0f * centre[row];
        const float fxx = (sum[index][row] - twice) + bias.xx;
        const float fyy = ((centre[row - d] + centre[row + d]) - twice) + bias.yy;
        const float fxy = (difference[index][row - d] - difference[index][row + d]) + bias.xy;
        return doubled_eigenvalue(fxx, fyy, fxy);
    }
};

}  // namespace defian
