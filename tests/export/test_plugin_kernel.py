"""The kernel's source, run on the CPU with the launch's own loops, against the PyTorch reference."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from defian_edge.export.plugin.cpu_kernel import CpuKernel, Variation, compile_cpu_kernel
from defian_edge.runtime.plugin import launch
from defian_edge.runtime.plugin.binary import source_folder
from tests.conftest import needed
from tests.export.hessian_cases import AROUND_A_VECTOR, SHAPES, checkpoint_case, photo_features, random_case, reference

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LAYOUTS = pytest.mark.parametrize("channels_last", [False, True], ids=["linear", "channels-last"])
HALF_MAX = 65504.0


@pytest.fixture(scope="module")
def cpu_kernel(tmp_path_factory: pytest.TempPathFactory) -> CpuKernel:
    needed("g++")
    return CpuKernel(tmp_path_factory.mktemp("cpu_kernel"))


def assert_close_in_fp32(maps: NDArray[Any], features: NDArray[Any], bias: NDArray[np.float32]) -> None:
    """1e-5 of the value, or of the map's largest where positive and negative channels cancel."""
    expected = reference(features, bias)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def assert_rounded_once(maps: NDArray[Any], features: NDArray[Any], bias: NDArray[np.float32]) -> None:
    """Within half an FP16 step of the exact value, with FP32's own error on top of it."""
    exact = np.clip(reference(features, bias), -HALF_MAX, HALF_MAX).astype(np.float64)
    assert maps.dtype == np.float16
    below_the_last = np.minimum(np.abs(exact), HALF_MAX - 32).astype(np.float16)  # whose spacing is finite
    step = np.spacing(below_the_last).astype(np.float64)
    error = np.abs(maps.astype(np.float64) - exact)
    assert (error <= 0.5 * step + 1e-5 * np.abs(exact) + 1e-6 * np.abs(exact).max()).all()


@LAYOUTS
@pytest.mark.parametrize("shape", SHAPES + AROUND_A_VECTOR, ids=lambda shape: "x".join(map(str, shape)))
def test_fp32_maps_equal_the_reference(
    cpu_kernel: CpuKernel, shape: tuple[int, int, int, int], channels_last: bool
) -> None:
    features, bias = random_case(shape)
    assert_close_in_fp32(cpu_kernel.run(features, bias, channels_last=channels_last), features, bias)


@LAYOUTS
@pytest.mark.parametrize("shape", SHAPES + AROUND_A_VECTOR, ids=lambda shape: "x".join(map(str, shape)))
def test_fp16_maps_are_the_reference_rounded_once(
    cpu_kernel: CpuKernel, shape: tuple[int, int, int, int], channels_last: bool
) -> None:
    features, bias = random_case(shape)
    features = features.astype(np.float16)
    assert_rounded_once(cpu_kernel.run(features, bias, channels_last=channels_last), features, bias)


@LAYOUTS
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("size", [(23, 25), (24, 24), (25, 47), (49, 48), (26, 2)], ids="{0[0]}x{0[1]}".format)
def test_fp16_maps_are_right_where_tiles_and_chunks_of_channels_end(
    cpu_kernel: CpuKernel, size: tuple[int, int], channels: int, channels_last: bool
) -> None:
    features, bias = random_case((2, channels, *size))
    features = features.astype(np.float16)
    assert_rounded_once(cpu_kernel.run(features, bias, channels_last=channels_last), features, bias)


@LAYOUTS
@pytest.mark.parametrize("offset", [10.0, 1000.0])
def test_fp16_features_far_from_zero_keep_the_precision_of_their_own_step(
    cpu_kernel: CpuKernel, offset: float, channels_last: bool
) -> None:
    features, bias = random_case((1, 32, 30, 50))
    features = (features + np.float32(offset)).astype(np.float16)
    maps = cpu_kernel.run(features, bias, channels_last=channels_last)
    expected = reference(features, bias, torch.float64)
    np.testing.assert_allclose(maps.astype(np.float64), expected, rtol=1e-3, atol=np.spacing(np.float16(offset)) / 50)


@LAYOUTS
@pytest.mark.parametrize("channels", [5, 32, 64])
def test_maps_of_photo_features_equal_the_reference(cpu_kernel: CpuKernel, channels: int, channels_last: bool) -> None:
    features, (_, bias) = photo_features(channels), random_case((1, channels, 1, 1))
    assert_close_in_fp32(cpu_kernel.run(features, 0.1 * bias, channels_last=channels_last), features, 0.1 * bias)
    halves = features.astype(np.float16)
    assert_rounded_once(cpu_kernel.run(halves, 0.1 * bias, channels_last=channels_last), halves, 0.1 * bias)


@LAYOUTS
@pytest.mark.parametrize("module", [0, 4])
def test_maps_of_the_bundled_networks_own_features_of_a_photo_equal_its_own(
    cpu_kernel: CpuKernel, module: int, channels_last: bool
) -> None:
    features, bias, expected = checkpoint_case(module)
    np.testing.assert_array_equal(expected, reference(features, bias))
    # This checkpoint's biases are zero; the authors' own are what PyTorch draws for nine taps, kept as they were.
    drawn = np.random.default_rng(module).uniform(-1 / 3, 1 / 3, bias.shape).astype(np.float32)
    for values in (bias, drawn):
        assert_close_in_fp32(cpu_kernel.run(features, values, channels_last=channels_last), features, values)
        halves = features.astype(np.float16)
        assert_rounded_once(cpu_kernel.run(halves, values, channels_last=channels_last), halves, values)


@LAYOUTS
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_neither_thread_order_nor_chunk_size_nor_waves_change_a_bit(
    cpu_kernel: CpuKernel, dtype: type, channels_last: bool
) -> None:
    features, bias = random_case((2, 37, 70, 67))
    features = features.astype(dtype)
    variations = [
        Variation(vectors, reversed_threads=reverse, resident=resident)
        for vectors, reverse, resident in ((1, False, 4), (1, True, 4), (2, False, 4), (2, True, 1), (3, False, 99))
    ]
    first, *others = [
        cpu_kernel.run(features, bias, channels_last=channels_last, variation=each).tobytes() for each in variations
    ]
    assert all(other == first for other in others)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_linear_features_at_an_unaligned_address_give_the_same_bits(cpu_kernel: CpuKernel, dtype: type) -> None:
    features, bias = random_case((2, 5, 33, 72))
    features = features.astype(dtype)
    by_vectors, by_elements = (cpu_kernel.run(features, bias, variation=Variation(offset=each)) for each in (0, 1))
    assert by_elements.tobytes() == by_vectors.tobytes()


@pytest.mark.parametrize(
    ("name", "guard", "shape", "offset"),
    [
        ("float_tile.h", "aligned && ", (1, 5, 9, 72), 1),
        ("float_tile.h", " && problem.width % VECTOR == 0", (1, 5, 9, 71), 0),
        ("tensor_stage.h", "aligned && ", (1, 5, 9, 72), 1),
        ("tensor_stage.h", " && problem.width % 2 == 0", (1, 5, 9, 71), 0),
    ],
    ids=["fp32-address", "fp32-width", "fp16-address", "fp16-width"],
)
def test_a_kernel_without_a_guard_of_its_wider_loads_is_caught(
    tmp_path: Path, name: str, guard: str, shape: tuple[int, int, int, int], offset: int
) -> None:
    needed("g++")
    for header in source_folder().glob("*.h"):
        text = header.read_text()
        if header.name == name:
            assert text.count(guard) == 1
            text = text.replace(guard, "(void(aligned), true) && " if guard.startswith("aligned") else "")
        (tmp_path / header.name).write_text(text)
    careless = CpuKernel(tmp_path, f"-I{tmp_path}")
    features, bias = random_case(shape)
    features = features.astype(np.float16 if name.startswith("tensor") else np.float32)
    with pytest.raises(AssertionError, match="no multiple of their size"):
        careless.run(features, bias, variation=Variation(offset=offset))


@LAYOUTS
def test_full_scale_fp16_features_give_finite_saturated_maps(cpu_kernel: CpuKernel, channels_last: bool) -> None:
    signs = np.random.default_rng(3).choice([-1.0, 1.0], (1, 8, 19, 21))
    features = (HALF_MAX * signs).astype(np.float16)
    bias = np.zeros((3, 3, 8), np.float32)
    maps = cpu_kernel.run(features, bias, channels_last=channels_last)
    assert np.isfinite(maps).all()
    assert (maps == HALF_MAX).any()
    assert_rounded_once(maps, features, bias)
    assert_close_in_fp32(
        cpu_kernel.run(features.astype(np.float32), bias, channels_last=channels_last),
        features.astype(np.float32),
        bias,
    )


@LAYOUTS
@pytest.mark.parametrize(("dtype", "smallest"), [(np.float32, 1e-45), (np.float16, 6e-8)])
def test_denormal_features_are_not_lost(
    cpu_kernel: CpuKernel, dtype: type, smallest: float, channels_last: bool
) -> None:
    counts = np.random.default_rng(4).integers(0, 900, (1, 5, 9, 17))
    features = (counts * dtype(smallest)).astype(dtype)
    bias = np.zeros((3, 3, 5), np.float32)
    maps = cpu_kernel.run(features, bias, channels_last=channels_last)
    expected = reference(features, bias)
    assert np.abs(maps).max() > 0
    np.testing.assert_allclose(maps.astype(np.float64), expected, rtol=1e-3, atol=float(dtype(smallest)))


@LAYOUTS
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_zero_features_give_the_eigenvalue_of_the_biases(
    cpu_kernel: CpuKernel, dtype: type, channels_last: bool
) -> None:
    features = np.zeros((1, 5, 3, 5), dtype)
    _, bias = random_case(features.shape)
    maps = cpu_kernel.run(features, bias, channels_last=channels_last)
    xx, yy, xy = bias[:, 0], bias[:, 1], bias[:, 2]
    expected = ((xx + yy + np.sqrt((xx - yy) ** 2 + 4 * xy**2)) / 2).mean(axis=1)
    np.testing.assert_allclose(maps, np.broadcast_to(expected[:, None, None], maps.shape), rtol=1e-3)
    assert not cpu_kernel.run(features, np.zeros_like(bias), channels_last=channels_last).any()


@LAYOUTS
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_nan_in_the_features_shows_where_it_reaches_and_nowhere_else(
    cpu_kernel: CpuKernel, dtype: type, channels_last: bool
) -> None:
    features, bias = random_case((1, 5, 29, 30))
    features[0, 2, 23, 24] = np.nan  # where four of the FP16 kernel's tiles meet
    features = features.astype(dtype)
    lost = np.isnan(cpu_kernel.run(features, bias, channels_last=channels_last))
    assert (lost == np.isnan(reference(features, bias))).all()
    assert lost.any()
    assert not lost.all()


@LAYOUTS
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinity_is_lost_in_fp16_where_it_is_in_fp32(
    cpu_kernel: CpuKernel, value: float, channels_last: bool
) -> None:
    features, bias = random_case((1, 5, 29, 30))
    features[0, 2, 23, 24] = value
    lost, expected = (
        np.isnan(cpu_kernel.run(features.astype(each), bias, channels_last=channels_last)) for each in ("f2", "f4")
    )
    assert (lost == expected).all()
    assert 0 < lost.sum() < 3 * 9


def test_infinity_in_fp16_saturates_in_the_maps_and_is_nan_where_it_cancels(cpu_kernel: CpuKernel) -> None:
    features = np.zeros((1, 1, 5, 5), np.float16)
    features[0, 0, 2, 2] = np.inf
    nearest = cpu_kernel.run(features, np.zeros((3, 3, 1), np.float32))[0, 0]
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = HALF_MAX
    expected[2, 2] = np.nan
    np.testing.assert_array_equal(nearest, expected)


def test_every_fp16_value_is_widened_exactly_and_rounded_back(cpu_kernel: CpuKernel) -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    halves = bits.view(np.float16)
    wide = np.array([cpu_kernel.library.defian_widen(int(each)) for each in bits], np.float32)
    np.testing.assert_array_equal(wide, halves.astype(np.float32))
    finite = np.isfinite(halves)
    back = np.array([cpu_kernel.library.defian_narrow(float(each)) for each in wide[finite]], np.uint16)
    np.testing.assert_array_equal(back, bits[finite])


def test_fp32_is_rounded_to_nearest_even_and_saturates(cpu_kernel: CpuKernel) -> None:
    positive = np.arange(0x7BFF, dtype=np.uint16).view(np.float16).astype(np.float64)
    middles = (positive + np.append(positive[1:], 65504.0)) / 2
    values = np.concatenate([middles, np.nextafter(middles.astype(np.float32), np.float32(0))]).astype(np.float32)
    found = np.array([cpu_kernel.library.defian_narrow(float(each)) for each in values], np.uint16)
    np.testing.assert_array_equal(found, values.astype(np.float16).view(np.uint16))
    for large in (65520.0, 1e9, float("inf")):
        assert np.uint16(cpu_kernel.library.defian_narrow(large)).view(np.float16) == HALF_MAX
        assert np.uint16(cpu_kernel.library.defian_narrow(-large)).view(np.float16) == -HALF_MAX


def test_no_access_leaves_its_buffer_and_every_output_is_written(tmp_path: Path) -> None:
    needed("g++")
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DDEFIAN_CPU_KERNEL_MAIN")
    program = compile_cpu_kernel(tmp_path / "cpu_kernel", *flags)
    done = subprocess.run([str(program)], check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "clean"), done.stdout + done.stderr


def test_the_launch_uses_the_constants_of_the_source(cpu_kernel: CpuKernel) -> None:
    for fp16, block in enumerate((launch.FLOAT_BLOCK, launch.HALF_BLOCK)):
        for name in ("tile_width", "tile_height", "threads"):
            assert getattr(cpu_kernel.library, f"defian_{name}")(fp16) == getattr(block, name)
        for vectors, size in block.shared_bytes.items():
            assert cpu_kernel.library.defian_shared_bytes(fp16, vectors) == size
