"""The measure of what tiling costs: nothing for a local operation, something for the network."""

from __future__ import annotations

import math
import re

import onnx_ir as ir
import pytest

from defian_edge.runtime.tiling import DEFAULT_OVERLAP, DEFAULT_TILE, Tiling
from tests.conftest import REPOSITORY, noise, random_checkpoint, tiny
from tests.doubles.enlarger import Enlarger
from tests.doubles.graph_file import write_file
from tools.tiling import main, measure


def test_a_local_operation_costs_nothing_in_tiles_and_the_work_is_counted():
    [row] = measure(Enlarger(), [noise(64, 48, 3)], [Tiling(16, 16, 4)])
    assert (row.psnr_to_whole, row.drift, row.worst) == (math.inf, 0.0, 0.0)
    assert row.work == pytest.approx(3 * 2 * 16 * 16 / (32 * 24))


def test_the_network_differs_in_tiles_and_the_table_says_by_how_much(traced, tmp_path, capsys):
    content = ir.to_proto(traced(random_checkpoint(tiny()))).SerializeToString()
    graph = write_file(tmp_path / "tiny.onnx", content)
    main([str(graph), "--tile", "64", "4096", "--overlap", "8"])
    first, whole = capsys.readouterr().out.splitlines()[2:]
    assert first.startswith("| 64 | 8 |")
    assert float(first.split("|")[3]) < 80
    assert whole.split("|")[3].strip() == "inf"
    with pytest.raises(SystemExit) as stopped:
        main([str(graph), "--tile", "8", "--overlap", "8"])
    assert stopped.value.code == 2


def test_the_defaults_are_those_that_the_documented_table_speaks_for():
    text = (REPOSITORY / "docs" / "runtime.md").read_text()
    cells = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) \| (\S+) \| (\S+) \| [\d.]+ \|$", text, re.MULTILINE)
    table = {(int(tile), int(overlap)): (float(psnr), float(worst)) for tile, overlap, psnr, _, worst in cells}
    assert len(table) == 16
    tiles, overlaps = ({key[axis] for key in table} for axis in (0, 1))
    nearest = {tile: table[tile, DEFAULT_OVERLAP][0] for tile in tiles}
    assert max(nearest, key=lambda tile: nearest[tile]) == DEFAULT_TILE
    for tile in tiles:
        for overlap in overlaps:
            if overlap > DEFAULT_OVERLAP:
                assert table[tile, overlap][0] <= nearest[tile] + 0.05, "more overlap gains nothing"
            elif overlap < DEFAULT_OVERLAP and tile < DEFAULT_TILE:
                assert table[tile, overlap][0] < nearest[tile] - 0.4, "less overlap costs"
    assert min(worst for _, worst in table.values()) == -0.2134
    assert "Without overlap seams cost up to 0.21 dB" in text
