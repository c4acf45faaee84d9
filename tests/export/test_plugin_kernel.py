"""The kernel's source, run on the CPU with the launch's own loops, against the PyTorch reference."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from export.plugin.mirror import Cache, Mirror, Variation, compile_mirror
from export.plugin.occupancy import MULTIPROCESSORS
from runtime.plugin import launch
from runtime.plugin.binary import source_folder
from runtime.plugin.launch import Features, plan
from tests.export.hessian_cases import AROUND_A_VECTOR, SHAPES, checkpoint_case, photo_features, random_case, reference

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LAYOUTS = pytest.mark.parametrize("channels_last", [False, True], ids=["linear", "channels-last"])
HALF_MAX = 65504.0
T4 = Cache(resident=40, l2_bytes=4096 * 1024)
GTX_1660 = Cache(resident=22, l2_bytes=1536 * 1024)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    return Mirror(tmp_path_factory.mktemp("mirror"))


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
def test_fp32_maps_equal_the_reference(mirror: Mirror, shape: tuple[int, int, int, int], channels_last: bool) -> None:
    features, bias = random_case(shape)
    assert_close_in_fp32(mirror.run(features, bias, channels_last=channels_last), features, bias)


@LAYOUTS
@pytest.mark.parametrize("shape", SHAPES + AROUND_A_VECTOR, ids=lambda shape: "x".join(map(str, shape)))
def test_fp16_maps_are_the_reference_rounded_once(
    mirror: Mirror, shape: tuple[int, int, int, int], channels_last: bool
) -> None:
    features, bias = random_case(shape)
    features = features.astype(np.float16)
    assert_rounded_once(mirror.run(features, bias, channels_last=channels_last), features, bias)


@LAYOUTS
@pytest.mark.parametrize("channels", [5, 32, 64])
def test_maps_of_photo_features_equal_the_reference(mirror: Mirror, channels: int, channels_last: bool) -> None:
    features, (_, bias) = photo_features(channels), random_case((1, channels, 1, 1))
    assert_close_in_fp32(mirror.run(features, 0.1 * bias, channels_last=channels_last), features, 0.1 * bias)
    halves = features.astype(np.float16)
    assert_rounded_once(mirror.run(halves, 0.1 * bias, channels_last=channels_last), halves, 0.1 * bias)


@LAYOUTS
@pytest.mark.parametrize("module", [0, 4])
def test_maps_of_the_bundled_networks_own_features_of_a_photo_equal_its_own(
    mirror: Mirror, module: int, channels_last: bool
) -> None:
    features, bias, expected = checkpoint_case(module)
    np.testing.assert_array_equal(expected, reference(features, bias))
    # This checkpoint's biases are zero; the authors' own are what PyTorch draws for nine taps, kept as they were.
    drawn = np.random.default_rng(module).uniform(-1 / 3, 1 / 3, bias.shape).astype(np.float32)
    for values in (bias, drawn):
        assert_close_in_fp32(mirror.run(features, values, channels_last=channels_last), features, values)
        halves = features.astype(np.float16)
        assert_rounded_once(mirror.run(halves, values, channels_last=channels_last), halves, values)


@LAYOUTS
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_neither_thread_order_nor_chunk_size_nor_waves_change_a_bit(
    mirror: Mirror, dtype: type, channels_last: bool
) -> None:
    features, bias = random_case((2, 37, 70, 67))
    features = features.astype(dtype)
    variations = [
        Variation(vectors, reversed_threads=reverse, resident=resident)
        for vectors, reverse, resident in ((1, False, 4), (1, True, 4), (2, False, 4), (2, True, 1), (3, False, 99))
    ]
    first, *others = [
        mirror.run(features, bias, channels_last=channels_last, variation=each).tobytes() for each in variations
    ]
    assert all(other == first for other in others)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_linear_features_at_an_unaligned_address_give_the_same_bits(mirror: Mirror, dtype: type) -> None:
    features, bias = random_case((2, 5, 33, 72))
    features = features.astype(dtype)
    by_vectors, by_elements = (mirror.run(features, bias, variation=Variation(offset=each)) for each in (0, 1))
    assert by_elements.tobytes() == by_vectors.tobytes()


@pytest.mark.parametrize(
    ("guard", "shape", "offset"),
    [("aligned && ", (1, 5, 9, 72), 1), (" && problem.width % VECTOR == 0", (1, 5, 9, 71), 0)],
    ids=["address", "width"],
)
def test_a_kernel_without_a_guard_of_its_vector_loads_is_caught(
    tmp_path: Path, guard: str, shape: tuple[int, int, int, int], offset: int
) -> None:
    for header in source_folder().glob("*.h"):
        text = header.read_text()
        if header.name == "tile.h":
            assert text.count(guard) == 1
            text = text.replace(guard, "(void(aligned), true) && " if guard.startswith("aligned") else "")
        (tmp_path / header.name).write_text(text)
    careless = Mirror(tmp_path, f"-I{tmp_path}")
    features, bias = random_case(shape)
    with pytest.raises(AssertionError, match="no multiple of their size"):
        careless.run(features, bias, variation=Variation(offset=offset))


@LAYOUTS
def test_full_scale_fp16_features_give_finite_saturated_maps(mirror: Mirror, channels_last: bool) -> None:
    signs = np.random.default_rng(3).choice([-1.0, 1.0], (1, 8, 19, 21))
    features = (HALF_MAX * signs).astype(np.float16)
    bias = np.zeros((3, 3, 8), np.float32)
    maps = mirror.run(features, bias, channels_last=channels_last)
    assert np.isfinite(maps).all()
    assert (maps == HALF_MAX).any()
    assert_rounded_once(maps, features, bias)
    assert_close_in_fp32(
        mirror.run(features.astype(np.float32), bias, channels_last=channels_last), features.astype(np.float32), bias
    )


@LAYOUTS
@pytest.mark.parametrize(("dtype", "smallest"), [(np.float32, 1e-45), (np.float16, 6e-8)])
def test_denormal_features_are_not_lost(mirror: Mirror, dtype: type, smallest: float, channels_last: bool) -> None:
    counts = np.random.default_rng(4).integers(0, 900, (1, 5, 9, 17))
    features = (counts * dtype(smallest)).astype(dtype)
    bias = np.zeros((3, 3, 5), np.float32)
    maps = mirror.run(features, bias, channels_last=channels_last)
    expected = reference(features, bias)
    assert np.abs(maps).max() > 0
    np.testing.assert_allclose(maps.astype(np.float64), expected, rtol=1e-3, atol=float(dtype(smallest)))


@LAYOUTS
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_zero_features_give_the_eigenvalue_of_the_biases(mirror: Mirror, dtype: type, channels_last: bool) -> None:
    features = np.zeros((1, 5, 3, 5), dtype)
    _, bias = random_case(features.shape)
    maps = mirror.run(features, bias, channels_last=channels_last)
    xx, yy, xy = bias[:, 0], bias[:, 1], bias[:, 2]
    expected = ((xx + yy + np.sqrt((xx - yy) ** 2 + 4 * xy**2)) / 2).mean(axis=1)
    np.testing.assert_allclose(maps, np.broadcast_to(expected[:, None, None], maps.shape), rtol=1e-3)
    assert not mirror.run(features, np.zeros_like(bias), channels_last=channels_last).any()


def test_a_nan_in_the_features_shows_where_it_reaches_and_nowhere_else(mirror: Mirror) -> None:
    features, bias = random_case((1, 5, 20, 20))
    features[0, 2, 10, 10] = np.nan
    lost = np.isnan(mirror.run(features, bias))
    assert (lost == np.isnan(reference(features, bias))).all()
    assert lost.any()
    assert not lost.all()


def test_infinity_in_fp16_saturates_in_the_maps_and_is_nan_where_it_cancels(mirror: Mirror) -> None:
    features = np.zeros((1, 1, 5, 5), np.float16)
    features[0, 0, 2, 2] = np.inf
    nearest = mirror.run(features, np.zeros((3, 3, 1), np.float32))[0, 0]
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = HALF_MAX
    expected[2, 2] = np.nan
    np.testing.assert_array_equal(nearest, expected)


def test_every_fp16_value_is_widened_exactly_and_rounded_back(mirror: Mirror) -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    halves = bits.view(np.float16)
    wide = np.array([mirror.library.defian_widen(int(each)) for each in bits], np.float32)
    np.testing.assert_array_equal(wide, halves.astype(np.float32))
    finite = np.isfinite(halves)
    back = np.array([mirror.library.defian_narrow(float(each)) for each in wide[finite]], np.uint16)
    np.testing.assert_array_equal(back, bits[finite])


def test_fp32_is_rounded_to_nearest_even_and_saturates(mirror: Mirror) -> None:
    positive = np.arange(0x7BFF, dtype=np.uint16).view(np.float16).astype(np.float64)
    middles = (positive + np.append(positive[1:], 65504.0)) / 2
    values = np.concatenate([middles, np.nextafter(middles.astype(np.float32), np.float32(0))]).astype(np.float32)
    found = np.array([mirror.library.defian_narrow(float(each)) for each in values], np.uint16)
    np.testing.assert_array_equal(found, values.astype(np.float16).view(np.uint16))
    for large in (65520.0, 1e9, float("inf")):
        assert np.uint16(mirror.library.defian_narrow(large)).view(np.float16) == HALF_MAX
        assert np.uint16(mirror.library.defian_narrow(-large)).view(np.float16) == -HALF_MAX


def test_no_access_leaves_its_buffer_and_every_output_is_written(tmp_path: Path) -> None:
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DDEFIAN_MIRROR_MAIN")
    program = compile_mirror(tmp_path / "mirror", *flags)
    done = subprocess.run([str(program)], check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "clean"), done.stdout + done.stderr


def test_the_launch_uses_the_constants_of_the_source(mirror: Mirror) -> None:
    names = ("tile_width", "tile_height", "threads", "shared_bytes_per_vector")
    assert [getattr(mirror.library, f"defian_{name}")() for name in names] == [
        getattr(launch, name.upper()) for name in names
    ]


@LAYOUTS
@pytest.mark.parametrize("fp16", [True, False], ids=["fp16", "fp32"])
@pytest.mark.parametrize("channels", [32, 64])
def test_a_large_image_moves_less_than_1_3_times_the_least_bytes(
    mirror: Mirror, channels: int, fp16: bool, channels_last: bool
) -> None:
    features = Features(1, channels, 270, 480, fp16=fp16, channels_last=channels_last)
    traffic = mirror.traffic(features, plan(features, 99 * 1024).vectors, Cache(resident=32, l2_bytes=2 * 2**20))
    assert traffic.uncached_ratio <= 1.3  # the bytes that loads and stores name, the biases once a block and chunk
    assert traffic.cached_ratio <= 1.15  # whole sectors, with the L2 of the model
    if channels_last:
        assert traffic.sector_ratio <= 1.3  # whole sectors, no L2


@LAYOUTS
@pytest.mark.parametrize("channels", [32, 36])
def test_biases_count_as_whole_sectors_once_a_block_and_chunk(
    mirror: Mirror, channels: int, channels_last: bool
) -> None:
    features = Features(2, channels, 40, 64, fp16=True, channels_last=channels_last)
    blocks, warps, rows = 4, 16 + 4, 9  # the second tile of each image is 8 rows high, so 2 x 2 warps see pixels
    chunks = -(-channels // 16) if channels_last else -(-channels // 8)
    traffic = mirror.traffic(features, plan(features, 99 * 1024).vectors)
    assert traffic.biases_by_warp == 2 * warps * rows * channels * 4
    if channels == 32:  # rows of 128 bytes, so no chunk shares a sector with another row
        assert traffic.bias_sectors == blocks * rows * channels * 4 // 32
    else:
        assert traffic.bias_sectors > blocks * rows * channels * 4 // 32
        assert traffic.bias_sectors <= blocks * rows * (channels * 4 // 32 + chunks)
    assert traffic.broadcast_ratio > traffic.uncached_ratio


def test_on_sm_75_a_second_half_of_a_sector_is_still_in_the_l2_of_a_t4(mirror: Mirror) -> None:
    features = Features(1, 32, 270, 960, fp16=True, channels_last=True)
    vectors = plan(features, MULTIPROCESSORS[75].shared_per_block).vectors
    assert vectors == 1
    assert mirror.traffic(features, vectors, T4).cached_ratio <= 1.3
    # A GTX 16 has too little: what does not fit is read again, and the documents say so.
    assert mirror.traffic(features, vectors, GTX_1660).cached_ratio > 1.3
