"""What a training sees: LR as Pillow and as MATLAB make it, patches cut by index arithmetic, pictures left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defian_edge.calibration.photos import EvaluationPair
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import downscale, read_image, write_png
from tests.conftest import noise
from tools.train.patches import BLOCK, PatchBank
from tools.train.pictures import named_pairs, read_pictures
from tools.train.resampling import lr_and_hr, shrink_like_matlab

CPU = torch.device("cpu")


def pairs_of(*sides: tuple[int, int], scale: int = 2) -> list[EvaluationPair]:
    """Noise whose LR has these sizes."""
    return [
        EvaluationPair(f"{index}", noise(h, w, 3, seed=index), noise(h * scale, w * scale, 3, seed=100 + index))
        for index, (h, w) in enumerate(sides)
    ]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["bird", "butterfly", "woman"])
def test_the_matlab_filter_gives_set5s_published_lr_bit_for_bit(set5, scale, name):
    lr, _ = lr_and_hr(read_image(set5 / "HR" / f"{name}.png"), scale, "matlab")
    assert np.array_equal(lr, read_image(set5 / f"LRx{scale}" / f"{name}.png"))


def test_the_two_filters_differ_at_the_border_and_hardly_inside():
    picture = noise(64, 48, 3)
    pillow, hr = lr_and_hr(picture, 2, "pillow")
    matlab, same = lr_and_hr(picture, 2, "matlab")
    assert np.array_equal(hr, same)
    difference = np.abs(pillow.astype(int) - matlab)
    assert difference[4:-4, 4:-4].max() <= 2 < difference.max()


def test_a_flat_picture_stays_flat():
    assert (shrink_like_matlab(np.full((12, 9, 3), 200, np.uint8), 3) == 200).all()


@pytest.mark.parametrize("scale", [2, 3])
def test_gathered_patches_are_those_that_numpy_cuts_and_turns(scale):
    pairs, patch = pairs_of((20, 31), (17, 12), (40, 16), scale=scale), 10
    bank = PatchBank(pairs, scale, patch, CPU)
    draws = bank.draws(seed=3, block=5, batch=2)
    seen = set()
    for draw in draws[:64].reshape(-1, 1, 5):
        lr, hr = (each[0].numpy() for each in bank.gather(draw))
        first, width, _, _, turn = (int(value) for value in draw[0])
        starts = np.cumsum([0, *(pair.lr.shape[0] * pair.lr.shape[1] for pair in pairs)])
        picture = int(np.searchsorted(starts, first, side="right")) - 1
        top, left = divmod(first - starts[picture], width)
        seen.add((picture, turn))
        for found, whole, factor in ((lr, pairs[picture].lr, 1), (hr, pairs[picture].hr, scale)):
            cut = whole[top * factor :, left * factor :][: patch * factor, : patch * factor]
            cut = cut[::-1] if turn & 1 else cut
            cut = cut[:, ::-1] if turn & 2 else cut
            assert np.array_equal(found, cut.transpose(1, 0, 2) if turn & 4 else cut)
    assert {picture for picture, _ in seen} == {0, 1, 2}
    assert {turn for _, turn in seen} == set(range(8))


def test_draws_follow_from_seed_and_block_alone_and_reach_every_place():
    bank = PatchBank(pairs_of((11, 13)), 2, 10, CPU)
    draws = bank.draws(seed=1, block=0, batch=4)
    assert draws.shape == (BLOCK, 4, 5)
    assert torch.equal(draws, bank.draws(seed=1, block=0, batch=4))
    assert not torch.equal(draws, bank.draws(seed=2, block=0, batch=4))
    assert not torch.equal(draws, bank.draws(seed=1, block=1, batch=4))
    assert set(draws[..., 0].flatten().tolist()) == {top * 13 + left for top in (0, 1) for left in range(4)}


@pytest.fixture
def folder(tmp_path):
    """Four pictures, one that is too small, and one that is none."""
    for index in range(4):
        write_png(tmp_path / f"{index}.png", noise(60, 70, 3, seed=index))
    write_png(tmp_path / "small.png", noise(20, 90, 3))
    (tmp_path / "torn.png").write_bytes(b"no picture")
    return tmp_path


def test_pictures_that_cannot_be_used_are_named_and_the_others_train(folder):
    pictures = read_pictures(folder, 2, 16, "pillow", holdout=1)
    assert [pair.name for pair in pictures.training] == ["0.png", "1.png", "3.png"]
    assert [pair.name for pair in pictures.held_out] == ["2.png"]
    assert len(pictures.remarks) == 2
    assert "small.png is 90x20 pixels" in pictures.remarks[0]
    assert "torn.png" in pictures.remarks[1]
    assert np.array_equal(pictures.training[0].lr, downscale(read_image(folder / "0.png"), 2)[0])


def test_one_picture_is_enough_and_none_is_held_out_of_a_few(folder):
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    pictures = read_pictures(folder, 2, 16, "pillow", holdout=None)
    assert len(pictures.training) == 1
    assert not pictures.held_out


def test_without_one_usable_picture_there_is_a_reason_and_a_way_out(folder):
    with pytest.raises(DefianError, match="None of the 6 pictures") as caught:
        read_pictures(folder, 4, 32, "pillow", holdout=None)
    assert "0.png is 70x60 pixels, patches need 128" in caught.value.message
    assert "--patch" in caught.value.hint


def test_holding_out_everything_is_refused(folder):
    with pytest.raises(DefianError, match="--holdout 4 leaves nothing to train on"):
        read_pictures(folder, 2, 16, "pillow", holdout=4)


def test_lr_pictures_without_hr_pictures_are_refused(folder):
    with pytest.raises(DefianError, match="both --lr-pictures and --hr-pictures"):
        named_pairs(2, None, folder, None)
