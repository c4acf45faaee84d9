"""What a repository holds, served by a real tritonserver on loopback and asked by tritonclient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from defian_edge import TritonOptions, open_session, triton_repository
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import noise
from tests.doubles.served import PROFILE, small_graph
from tests.doubles.triton_server import PROTOCOLS, Server, environment

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "small.fp32"
SESSION = TritonOptions(backend="session", profile=ShapeProfile.parse(PROFILE), most_pixels=64 * 64)
SHAPES = ((1, 64, 64, 3), (1, 33, 17, 3), (1, 9, 40, 3), (3, 40, 40, 3))
"""Three sizes, and a batch; some are larger than the profile's largest, which binds no graph."""


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Path:
    environment()
    return small_graph(tmp_path_factory.mktemp("graph"))


@pytest.fixture(scope="module")
def server(graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton")
    triton_repository(graph, folder / "models", SESSION)
    with Server(folder / "models", folder) as running:
        yield running


@pytest.fixture(scope="module")
def pictures(graph) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches, and what the runtime makes of them."""
    with open_session(graph) as session:
        asked = [noise(*shape, seed=number) for number, shape in enumerate(SHAPES)]
        return [(each, session(each)) for each in asked]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pictures_of_three_sizes_and_a_batch_come_out_as_the_runtime_makes_them(server, pictures, protocol):
    answers = server.ask(MODEL, *(asked for asked, _ in pictures), protocol=protocol)
    for answer, (_, expected) in zip(answers, pictures, strict=True):
        assert not isinstance(answer, str), answer
        assert np.array_equal(answer, expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_no_picture_or_too_large_is_refused_by_name_and_the_server_goes_on(server, pictures, protocol):
    good, expected = pictures[0]
    asked = [
        np.zeros((1, 24, 32, 4), np.uint8), np.zeros((4, 32, 3), np.uint8), np.zeros((1, 24, 32, 3), np.float32),
        np.zeros((1, 65, 64, 3), np.uint8), np.zeros((1, 1, 1, 3), np.uint8), np.zeros((5, 8, 8, 3), np.uint8), good,
    ]  # fmt: skip
    channels, rank, kind, size, pixel, batch, right = server.ask(MODEL, *asked, protocol=protocol)
    assert "unexpected shape for input 'image'" in channels
    assert "[-1,-1,-1,3], got [1,24,32,4]" in channels
    assert "[-1,-1,-1,3], got [4,32,3]" in rank
    assert "input 'image' data-type is 'FP32', but model '" in kind
    assert "expects 'UINT8'" in kind
    assert "at most 4096 pixels, found 65x64, which is 4160" in size
    assert "at least two pixels" in pixel
    assert "batch-size must be <= 4" in batch
    assert np.array_equal(right, expected)


@pytest.mark.slowest
def test_of_a_thousand_requests_of_eight_clients_none_is_lost_and_the_memory_stays(server, pictures):
    first = server.clients(MODEL, pictures, each=25).found()
    assert sum(client["right"] for client in first) == 200
    before = server.memory()
    found = server.clients(MODEL, pictures, each=125).found()
    grown = server.memory() - before
    assert [client["right"] for client in found] == [125] * 8
    assert [client["wrong"] + client["errors"] for client in found] == [0] * 8
    answers = sum(expected.nbytes for _, expected in pictures) * 1000 / len(pictures)
    assert grown < answers / 2  # bytes; a server that kept its answers, or what it was asked, would have grown by more


@pytest.mark.slowest
def test_a_server_that_is_stopped_and_started_again_costs_its_clients_errors_and_no_answer(server, pictures):
    clients = server.clients(MODEL, pictures, each=20, each_after_error=20)
    clients.wait_for(80)
    server.stop()
    server.start()
    found = clients.found()
    assert [client["wrong"] for client in found] == [0] * 8
    assert all(client["errors"] > 0 for client in found)
    assert [client["right_after_error"] for client in found] == [20] * 8


@pytest.mark.slowest
def test_a_version_that_is_added_while_the_server_runs_takes_over(graph, pictures, tmp_path):
    models = tmp_path / "models"
    triton_repository(graph, models, SESSION)
    other = small_graph(tmp_path / "other", seed=1)
    images, of_first = pictures[0]
    with Server(models, tmp_path, ("--model-control-mode=poll", "--repository-poll-secs=1")) as server:
        [first] = server.ask(MODEL, images)
        [added] = triton_repository(other, models, SESSION)
        until_there = (server.ask(MODEL, images, version="2")[0] for _ in range(40))
        second = next(each for each in until_there if not isinstance(each, str))
        [latest] = server.ask(MODEL, images)
    with open_session(other) as session:
        of_second = session(images)
    assert added.version == 2
    assert not np.array_equal(of_first, of_second)
    assert np.array_equal(first, of_first)
    assert np.array_equal(second, of_second)
    assert np.array_equal(latest, of_second)


def test_a_damaged_graph_is_named_when_the_server_starts(graph, tmp_path):
    [model] = triton_repository(graph, tmp_path / "models", SESSION)
    file = model.folder / graph.name
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with (
        pytest.raises(AssertionError, match="is not the file its manifest describes"),
        Server(tmp_path / "models", tmp_path),
    ):
        pass
