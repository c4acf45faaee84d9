// The CUDA kernels of defian::MaxHessianEigenvalue: one block per tile, the grid is one-dimensional.
//
// Compile with --prec-sqrt=false: the square root is then within 1 ulp instead of correctly rounded.
#include "tile.h"

namespace {

template <class T, defian::Layout layout>
__device__ __forceinline__ void run(const defian::Problem& problem) {
    using Block = defian::Block<T>;
    extern __shared__ defian::Vector memory[];
    typename Block::Word* shared = reinterpret_cast<typename Block::Word*>(memory);
    const int thread = static_cast<int>(threadIdx.x);
    const defian::Tile tile = defian::locate(problem, blockIdx.x);
    defian::Sums sums = {};
    for (int index = 0; index < Block::chunks(problem); ++index) {
        const defian::Chunk chunk = Block::chunk(problem, index);
        Block::template stage<layout>(problem, tile, chunk, thread, shared);
        __syncthreads();
        Block::accumulate(problem, tile, chunk, thread, shared, sums);
        __syncthreads();
    }
    Block::write(problem, tile, thread, sums);
}

}  // namespace

#define DEFIAN_KERNEL(NAME, TYPE, LAYOUT)                                                                          \
    extern "C" __global__ void __launch_bounds__(defian::THREADS, 1)                                               \
        NAME(const void* __restrict__ features, const float* __restrict__ bias, void* __restrict__ maps, int batch, \
             int channels, int height, int width, int pitch, int vectors) {                                        \
        run<TYPE, defian::Layout::LAYOUT>(                                                                         \
            defian::Problem{features, bias, maps, batch, channels, height, width, pitch, vectors});                \
    }

DEFIAN_KERNEL(max_hessian_eigenvalue_f32_linear, float, linear)
DEFIAN_KERNEL(max_hessian_eigenvalue_f16_linear, defian::Half, linear)
DEFIAN_KERNEL(max_hessian_eigenvalue_f32_channels_last, float, channels_last)
DEFIAN_KERNEL(max_hessian_eigenvalue_f16_channels_last, defian::Half, channels_last)
