// The CUDA kernels of defian::MaxHessianEigenvalue: one block per tile, the grid is one-dimensional.
//
// FP32 and FP16 have blocks of their own, float_tile.h and tensor_tile.h; here is when a block's phases run and what
// they wait for. Compile with --prec-sqrt=false: FP32's square root is then within 1 ulp instead of correctly rounded.
#include "float_tile.h"
#include "tensor_tile.h"

namespace {

template <defian::Layout layout>
__device__ __forceinline__ void run_float(const defian::Problem& problem) {
    using Block = defian::FloatBlock;
    extern __shared__ defian::Vector memory[];
    defian::Word* shared = reinterpret_cast<defian::Word*>(memory);
    const int thread = static_cast<int>(threadIdx.x);
    const defian::Tile tile = defian::locate<defian::TILE_WIDTH, defian::TILE_HEIGHT>(problem, blockIdx.x);
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

// The compiler forgets what it knows of the value: what follows from it is worked out again, not kept in registers.
__device__ __forceinline__ int forgotten(int value) {
    asm volatile("" : "+r"(value));
    return value;
}

template <defian::Layout layout>
__device__ __forceinline__ void run_half(const defian::Problem& problem) {
    using namespace defian::tensor;
    extern __shared__ defian::Vector storage[];
    const Memory memory{storage};
    const int thread = static_cast<int>(threadIdx.x);
    const int warp = __shfl_sync(0xffffffffu, thread >> 5, 0);  // to the compiler one value for all lanes
    const defian::Tile tile = defian::locate<TILE, TILE>(problem, blockIdx.x);
    const int count = chunks(problem);
    if (count > 0) stage<layout>(problem, tile, 0, thread, memory);
    commit_copies();
    prepare(thread, memory);
    prepare_trace(problem, warp, memory);
    Sums sums = {};
#pragma unroll 1
    for (int chunk = 0; chunk < count; ++chunk) {
        wait_for_copies();
        __syncthreads();
        accumulate(memory, warp, sums);
        if (chunk + 1 < count) {
            __syncthreads();
            stage<layout>(problem, tile, chunk + 1, forgotten(thread), memory);
        }
        commit_copies();
    }
    __syncthreads();
    deposit(memory, warp, sums);
    __syncthreads();
    write<layout>(problem, tile, forgotten(thread), memory);
}

}  // namespace

#define DEFIAN_KERNEL(NAME, THREADS, BLOCKS, RUN)                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                  \
        NAME(const void* __restrict__ features, const float* __restrict__ bias, void* __restrict__ maps, int batch, \
             int channels, int height, int width, int pitch, int vectors) {                                        \
        RUN(defian::Problem{features, bias, maps, batch, channels, height, width, pitch, vectors});                \
    }

DEFIAN_KERNEL(max_hessian_eigenvalue_f32_linear, defian::THREADS, 1, run_float<defian::Layout::linear>)
DEFIAN_KERNEL(max_hessian_eigenvalue_f32_channels_last, defian::THREADS, 1, run_float<defian::Layout::channels_last>)
DEFIAN_KERNEL(max_hessian_eigenvalue_f16_linear, defian::tensor::BLOCK_THREADS, defian::tensor::BLOCKS_WANTED,
              run_half<defian::Layout::linear>)
DEFIAN_KERNEL(max_hessian_eigenvalue_f16_channels_last, defian::tensor::BLOCK_THREADS, defian::tensor::BLOCKS_WANTED,
              run_half<defian::Layout::channels_last>)
