"""The picture of a ranking."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from defian_edge.runtime.errors import DefianError
from tools.sensitivity_plot import SHOWN, draw, kind_of, load_sensitivities, main

SENSITIVITIES = [{"group": f"body.{i // 10}.body_block.{i % 10}", "excess_error": 0.001 * i} for i in range(30)]
SENSITIVITIES += [{"group": "tail", "excess_error": 0.5}, {"group": "body.1.stream", "excess_error": 0.7}]


def test_the_most_harmful_groups_come_first_and_the_rest_is_summed():
    [axes] = draw(SENSITIVITIES, "x").axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[:3] == ["body.1.stream", "tail", "body.2.body_block.9"]
    assert labels[-1] == f"{len(SENSITIVITIES) - SHOWN} others together"
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert sum(widths) == pytest.approx(sum(each["excess_error"] for each in SENSITIVITIES))


def test_a_module_has_a_bar_of_its_own_and_is_not_summed_up_with_groups():
    modules = [{"group": f"body.{i}", "excess_error": 0.0001 * i} for i in range(3)]
    [axes] = draw([*SENSITIVITIES, *modules], "x").axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-1] == f"{len(SENSITIVITIES) - SHOWN} others together"
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert sum(widths) == pytest.approx(sum(each["excess_error"] for each in SENSITIVITIES))


def test_a_group_at_fault_has_no_bar(tmp_path):
    ranking = tmp_path / "net.int8.sensitivity.json"
    ranking.write_text(json.dumps([*SENSITIVITIES[:3], {"group": "tail", "excess_error": None}]))
    [axes] = draw(load_sensitivities(ranking), "x").axes
    assert "tail" not in [label.get_text() for label in axes.get_yticklabels()]


def test_every_kind_of_group_has_its_name():
    assert kind_of("body.1", ["body.1", "body.1.stream"]) == "whole module"
    assert kind_of("body.1", ["body.1", "body.10.stream"]) == "block"
    groups = ["body.1.stream", "tail", "upscale", "body.0.coder", "body.0.body_block.3"]
    assert [kind_of(group, groups) for group in groups] == [
        "residual stream", "tail and upscale", "tail and upscale", "attention", "block"
    ]  # fmt: skip


def test_the_command_writes_a_picture(tmp_path):
    ranking = tmp_path / "net.int8.sensitivity.json"
    ranking.write_text(json.dumps(SENSITIVITIES))
    main([str(ranking), str(tmp_path / "out.png")])
    pixels = np.asarray(Image.open(tmp_path / "out.png").convert("L"))
    assert min(pixels.shape) > 400
    assert 0.02 < np.mean(pixels < 200) < 0.6


@pytest.mark.parametrize("text", ["", "{}", "[]", '[{"group": 1}]', "[1]"])
def test_what_is_no_ranking_is_an_error(tmp_path, text, capsys):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DefianError, match="--sensitivity"):
        load_sensitivities(path)
    with pytest.raises(SystemExit, match="2"):
        main([str(path), str(tmp_path / "out.png")])
    assert "--sensitivity" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_missing_files_and_unknown_formats_are_errors(tmp_path):
    with pytest.raises(DefianError, match="cannot be read"):
        load_sensitivities(tmp_path / "none.json")
    ranking = tmp_path / "x.json"
    ranking.write_text(json.dumps(SENSITIVITIES))
    with pytest.raises(SystemExit, match="2"):
        main([str(ranking), str(tmp_path / "out.bmp")])
