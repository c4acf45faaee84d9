"""``python -m tools.unseen``: old method beside new on pictures that calibration never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from defian_edge.calibration.drawn import drawn_patches
from defian_edge.calibration.drift.report import ImageDrift
from defian_edge.calibration.photos import calibration_set
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.runtime.images import write_png
from tests.conftest import noise, random_checkpoint, tiny
from tools.unseen import RESTORED, Row, drawn_pairs, main, measure, pairs_of, recipes


def test_both_methods_in_both_scopes_or_those_asked_for():
    found = dict(recipes("", ""))
    assert list(found) == ["convolutions, mse", "convolutions, as exported", "features, mse", "features, as exported"]
    assert found["convolutions, as exported"] == Recipe()
    assert not found["convolutions, mse"].residue
    assert [label for label, _ in recipes("mse", "features")] == ["features, mse"]


def test_a_picture_is_cropped_in_the_middle(tmp_path):
    picture = np.zeros((40, 62, 3), np.uint8)
    picture[:, 7:55] = 255
    write_png(tmp_path / "wide.png", picture)
    (pair,) = pairs_of([tmp_path / "wide.png"], 2, 48)
    assert (pair.name, pair.lr.shape, pair.hr.shape) == ("wide", (20, 24, 3), (40, 48, 3))
    assert pair.hr.min() == 255


def test_drawn_pictures_are_others_than_those_of_the_calibration():
    pairs = list(drawn_pairs(2, 96))
    assert len({pair.name for pair in pairs}) == len(pairs) == 12
    assert {(pair.lr.shape, pair.hr.shape) for pair in pairs} == {((48, 48, 3), (96, 96, 3))}
    seen = [picture.tobytes() for picture in drawn_patches(2, 48, 48)]
    new = [pair.lr.tobytes() not in seen for pair in pairs]
    assert sum(new) >= 6  # strokes, spots and fields; lines and dots of one size are the same


def test_rows_hold_figures_of_every_picture(tmp_path):
    for index in range(2):
        write_png(tmp_path / f"{index}.png", noise(48, 60, 3))
    patches = replace(calibration_set(None, 2, patches=1), size=24)
    wanted = [(label, recipe) for label, recipe in recipes("", "convolutions") if recipe.scope is Scope.CONVOLUTIONS]
    paths = sorted(tmp_path.iterdir())
    rows = measure(random_checkpoint(tiny()), patches, pairs_of(paths, 2, 48), wanted)
    assert [row.label for row in rows] == ["convolutions, mse", "convolutions, as exported"]
    for row in rows:
        assert [image.name for image in row.images] == ["0", "1"]
        assert all(image.overshoot is not None for image in row.images)
        assert row.cells()[1] == "2"


def test_an_image_that_the_network_restores_too_well_counts_for_the_least_psnr_alone():
    images = [
        ImageDrift("plain", 30.0, 30.1, 0.9, 0.9, 60.0, unrounded_to_reference=61.0),
        ImageDrift("flat", 50.0, RESTORED + 9.0, 0.9, 0.9, 50.0, unrounded_to_reference=51.0),
    ]
    cells = Row("x", None, images).cells()  # type: ignore[arg-type]
    assert cells == ("x", "1", *["0.1000"] * 4, "plain", "51.0")


def test_a_folder_without_pictures_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["unseen", "--model", "defian-s-x2", "--pictures", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "none" in capsys.readouterr().err
