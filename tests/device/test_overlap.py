"""Copies and computation overlap, measured on the driver's virtual clock, in memory that is allocated once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.device.streams import WorkStream
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.session import open_session
from defian_edge.runtime.tiles import TiledSession
from defian_edge.runtime.tiling import Tiling
from tests.device.engines import frames, noise, write_engine

if TYPE_CHECKING:
    import numpy as np

    from defian_edge.runtime.interface import Session
    from tests.doubles.standin_driver import StandInDriver


pytestmark = pytest.mark.usefixtures("trt")


def test_a_long_stream_allocates_no_more_than_a_short_one(tmp_path, driver):
    with open_session(write_engine(tmp_path)) as session:
        list(session.upscale_frames(frames(10)))
        driver.reset()
        list(session.upscale_frames(frames(10)))
        short = driver.ask("allocations")
        driver.reset()
        list(session.upscale_frames(frames(500)))
        assert driver.ask("allocations") == short


def test_the_ring_stays_for_the_next_stream_and_goes_with_the_session(tmp_path, driver):
    with open_session(write_engine(tmp_path)) as session:
        list(session.upscale_frames(frames(9)))
        live, allocations = driver.ask("live"), driver.ask("allocations")
        for _ in range(3):
            list(session.upscale_frames(frames(9)))
        assert (driver.ask("live"), driver.ask("allocations")) == (live, allocations)
        streams = [session.upscale_frames(frames(9)) for _ in range(3)]
        for stream in streams:
            next(stream)
        assert driver.ask("live") > 1.5 * live
        for stream in streams:
            stream.close()
        assert driver.ask("live") == live, "of three streams at once one ring is kept"


def spent(session: Session, driver: StandInDriver, count: int) -> int:
    """Virtual time of a stream of frames, where a copy takes 4 and the network 5."""
    driver.set_times(copy=4, work=5)
    assert len(list(session.upscale_frames(frames(count)))) == count
    return driver.ask("clock")


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_copies_and_computation_overlap(tmp_path, driver, flavour, cuda_graphs):
    """A GPU that copies in, computes and copies out side by side: the slowest of the three decides."""
    engine = write_engine(tmp_path, flavour=flavour)
    options = EngineBackend(in_flight=3, cuda_graphs=cuda_graphs, kernel_cache=False)
    with EngineSession(engine, options) as session:
        spent(session, driver, 9)  # captures graphs
        assert spent(session, driver, 20) == 4 + 20 * 5 + 4
    with EngineSession(engine, replace(options, in_flight=1)) as session:
        spent(session, driver, 9)
        assert spent(session, driver, 20) == 20 * (4 + 5 + 4)


def test_frames_that_need_no_tiles_overlap_in_a_tiled_session_as_well(tmp_path, driver):
    """The command line makes every engine's session a tiled one."""
    with TiledSession(open_session(write_engine(tmp_path)), Tiling(64, 64, 8), always=False) as session:
        spent(session, driver, 9)
        assert spent(session, driver, 20) == 4 + 20 * 5 + 4


def test_the_tiles_of_one_image_after_another_use_one_ring(tmp_path, driver):
    with TiledSession(open_session(write_engine(tmp_path)), Tiling(16, 16, 4)) as session:
        images = [noise(1, 50, 40, 3, seed=seed) for seed in range(4)]
        session(images[0])
        live, allocations = driver.ask("live"), driver.ask("allocations")
        for image in images[1:]:
            session(image)
        assert (driver.ask("live"), driver.ask("allocations")) == (live, allocations)


def test_a_host_that_waits_for_every_copy_would_be_noticed(tmp_path, driver, monkeypatch):
    """The proof that the test above measures something."""
    plain = WorkStream.download

    def download(stream: WorkStream, host: np.ndarray, device: object) -> None:
        plain(stream, host, device)
        stream.synchronize()

    with EngineSession(write_engine(tmp_path), EngineBackend(cuda_graphs=False)) as session:
        monkeypatch.setattr(WorkStream, "download", download)
        assert spent(session, driver, 20) == 20 * (4 + 5 + 4)
