"""The memory traffic of the kernel's source, counted on the CPU: what docs/plugin.md says of bytes moved."""

from __future__ import annotations

import pytest

from defian_edge.export.plugin.cpu_kernel import Cache, CpuKernel
from defian_edge.export.plugin.occupancy import MULTIPROCESSORS
from defian_edge.runtime.plugin.launch import Features, plan
from tests.conftest import needed

LAYOUTS = pytest.mark.parametrize("channels_last", [False, True], ids=["linear", "channels-last"])
T4 = Cache(resident=40, l2_bytes=4096 * 1024)
GTX_1660 = Cache(resident=22, l2_bytes=1536 * 1024)


@pytest.fixture(scope="module")
def cpu_kernel(tmp_path_factory: pytest.TempPathFactory) -> CpuKernel:
    needed("g++")
    return CpuKernel(tmp_path_factory.mktemp("cpu_kernel"))


@LAYOUTS
@pytest.mark.parametrize("channels", [32, 64])
def test_a_large_fp32_image_moves_less_than_1_3_times_the_least_bytes(
    cpu_kernel: CpuKernel, channels: int, channels_last: bool
) -> None:
    features = Features(1, channels, 270, 480, fp16=False, channels_last=channels_last)
    traffic = cpu_kernel.traffic(features, plan(features, 99 * 1024).vectors, Cache(resident=32, l2_bytes=2 * 2**20))
    assert traffic.uncached_ratio <= 1.3  # the bytes that loads and stores name, the biases once a block and chunk
    assert traffic.cached_ratio <= 1.15  # whole sectors, with the L2 of the model
    if channels_last:
        assert traffic.sector_ratio <= 1.3  # whole sectors, no L2


@LAYOUTS
@pytest.mark.parametrize("channels", [32, 64])
def test_a_large_fp16_image_moves_less_than_1_3_times_the_least_bytes_with_an_l2(
    cpu_kernel: CpuKernel, channels: int, channels_last: bool
) -> None:
    features = Features(1, channels, 270, 480, fp16=True, channels_last=channels_last)
    traffic = cpu_kernel.traffic(features, plan(features, 99 * 1024).vectors, Cache(resident=32, l2_bytes=2 * 2**20))
    assert traffic.uncached_ratio <= 1.7  # tiles of 24 x 24 from 30 x 30: the halo counts for more
    assert traffic.cached_ratio <= 1.3  # whole sectors, with the L2 of the model


@LAYOUTS
@pytest.mark.parametrize("channels", [32, 36])
def test_biases_count_as_whole_sectors_once_a_block_and_chunk(
    cpu_kernel: CpuKernel, channels: int, channels_last: bool
) -> None:
    features = Features(2, channels, 40, 64, fp16=False, channels_last=channels_last)
    blocks, warps, rows = 4, 16 + 4, 9  # the second tile of each image is 8 rows high, so 2 x 2 warps see pixels
    chunks = -(-channels // 8) if channels_last else -(-channels // 4)
    traffic = cpu_kernel.traffic(features, plan(features, 99 * 1024).vectors)
    assert traffic.biases_by_warp == 2 * warps * rows * channels * 4
    if channels == 32:  # rows of 128 bytes, so a chunk shares a sector with no other row
        assert traffic.bias_sectors == blocks * rows * chunks
    else:
        assert traffic.bias_sectors > blocks * rows * channels * 4 // 32
        assert traffic.bias_sectors <= blocks * rows * (channels * 4 // 32 + chunks)
    assert traffic.broadcast_ratio > traffic.uncached_ratio


@LAYOUTS
def test_in_fp16_a_block_reads_each_bias_once_and_those_of_the_trace_once_more(
    cpu_kernel: CpuKernel, channels_last: bool
) -> None:
    features = Features(2, 32, 40, 64, fp16=True, channels_last=channels_last)
    blocks, floats = 2 * 2 * 3, (9 + 6) * 32
    traffic = cpu_kernel.traffic(features, plan(features, 99 * 1024).vectors)
    assert traffic.biases_by_warp == blocks * floats * 4
    assert traffic.bias_sectors == blocks * (9 * 4 + 6 * 2)  # half of the trace's rows comes with the first chunk


def test_on_sm_75_a_second_half_of_an_fp32_sector_is_still_in_the_l2_of_a_t4(cpu_kernel: CpuKernel) -> None:
    features = Features(1, 32, 270, 960, fp16=False, channels_last=True)
    vectors = plan(features, MULTIPROCESSORS[75].shared_per_block).vectors
    assert vectors == 1
    assert cpu_kernel.traffic(features, vectors, T4).cached_ratio <= 1.3
    # A GTX 16 has too little: what does not fit is read again, and the documents say so.
    assert cpu_kernel.traffic(features, vectors, GTX_1660).cached_ratio > 1.3
