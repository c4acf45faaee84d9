"""Training as a whole: weights that the project loads, pieces that join bit for bit, another scale, timely ends."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import replace

import pytest
import torch

from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.models.defian import DeFiAN
from defian_edge.runtime.images import read_image
from tests.conftest import tiny
from tests.tools.conftest import lines_in, run, state_in
from tools.train.command import main
from tools.train.saved import first_network


def test_a_training_leaves_weights_log_plot_and_summary(whole_options, pictures):
    options = whole_options
    summary = run(replace(options, validation=pictures, json=options.out / "again.json", steps=30))
    for suffix in ("safetensors", "pth"):
        checkpoint = load_checkpoint(options.out / f"defian-16x1x1-x2.{suffix}")
        assert checkpoint.architecture == options.architecture()
        assert float(checkpoint.state["body.0.hessian3.0.grad_xx.bias"].abs().max()) == 0.0
    assert json.loads((options.out / "summary.json").read_text()) == summary
    assert json.loads((options.out / "again.json").read_text()) == summary
    assert summary["steps"] == 30
    assert summary["skipped_steps"] == 0
    assert summary["seed"] == 0
    assert summary["roofline_share"] > 0
    assert read_image(options.out / "training.png").shape[2] == 3
    first, last = [line["psnr"]["validation"] for line in lines_in(options.out) if "psnr" in line]
    assert last == summary["psnr"]["validation"] > first
    assert next(line for line in lines_in(options.out) if "loss" in line)["images_per_second"] > 0


def test_a_resumed_training_goes_on_bit_for_bit(options, tmp_path):
    straight, pieces = options, replace(options, out=tmp_path / "pieces")
    run(straight)
    assert not run(pieces, after=10)["finished"]
    assert run(replace(pieces, resume=True))["finished"]
    expected, found = state_in(straight.out), state_in(pieces.out)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert float((found["master"] - found["average"]).abs().max()) > 0
    one, other = (load_checkpoint(each.out / "defian-16x1x1-x2.safetensors") for each in (straight, pieces))
    assert one.sha256 == other.sha256


def test_the_seed_decides(options, tmp_path):
    results = []
    for index, seed in enumerate((0, 0, 1)):
        each = replace(options, seed=seed, steps=3, out=tmp_path / str(index))
        run(each)
        results.append(state_in(each.out)["master"])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_minutes_end_in_time_with_the_cosine_at_its_end(whole_options):
    options = whole_options
    begun = time.monotonic()
    summary = run(replace(options, steps=None, minutes=0.08))
    assert time.monotonic() - begun < 0.08 * 60
    assert summary["steps"] > 2
    assert any("planned_end" in line for line in lines_in(options.out))
    assert [line for line in lines_in(options.out) if "rate" in line][-1]["rate"] < 2e-4


@pytest.mark.parametrize("scale", [3, 4])
def test_another_scale_begins_near_to_what_the_given_one_knows(scale, bundled_x2, set5, tmp_path):
    """On a picture: sharper than nothing known, long before a step was made."""
    from defian_edge.calibration.drift.metrics import psnr_y
    from defian_edge.models.defian import denormalise, normalise, small

    path = tmp_path / "x2.pth"
    torch.save({"state_dict": bundled_x2.state}, path)
    network, new = first_network(small(scale), 0, path)
    assert new == ["upscale.0.0.weight", "upscale.0.2.weight"][: 1 if scale == 3 else 2]
    lr, hr = (read_image(set5 / folder / "butterfly.png") for folder in (f"LRx{scale}", "HR"))
    with torch.no_grad():
        upscaled = denormalise(network(normalise(torch.from_numpy(lr.copy()).permute(2, 0, 1)[None].float() / 255)))
    picture = (upscaled * 255).clamp(0, 255).round()[0].permute(1, 2, 0).byte().numpy()
    assert psnr_y(picture, hr[: picture.shape[0], : picture.shape[1]], scale) > 20


def test_the_same_scale_begins_with_all_that_is_given(tmp_path):
    torch.manual_seed(7)
    given = DeFiAN(tiny(2)).state_dict()
    torch.save(given, tmp_path / "given.pth")
    network, new = first_network(tiny(2), 0, tmp_path / "given.pth")
    assert not new
    assert all(torch.equal(value, given[name]) for name, value in network.state_dict().items())


def test_the_benchmark_measures_without_pictures_and_trains_nothing(tmp_path, capsys):
    words = shlex.split("--scale 2 --size 16x1x1 --benchmark 0.2 --batch 1 --patch 8 --device cpu --no-compile --out")
    with pytest.raises(SystemExit) as caught:
        main([*words, str(tmp_path / "out")])
    assert not caught.value.code
    measured = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert measured["steps_per_second"] == pytest.approx(measured["images_per_second"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["benchmark.json"]
    assert "roofline share" in capsys.readouterr().out
