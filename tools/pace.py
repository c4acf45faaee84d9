"""How much of the network's own rate a video has: decoding and encoding lie beside it, in threads of their own.

    python -m tools.pace build/defian-s-x2.fp32.onnx --size 640x360

The network's rate is that of the same frames from memory. Both take turns, so that what else the machine does counts
for both; the median of the rounds' ratios is told. A busy machine spoils that ratio, so two others stand beside it:
the share of the video's time in which the network was at work and waited for neither of its neighbours, and the ratio
of the CPU's seconds, which is what decoding and encoding take from a network that runs on the same cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.calibration.photos import bundled_photos
from defian_edge.runtime.arguments import choice_of, count_of, path_of
from defian_edge.runtime.entry import begin, carry_out
from defian_edge.runtime.images import read_image
from defian_edge.runtime.session import open_session
from defian_edge.runtime.video import upscale_video
from defian_edge.runtime.video_encoder import ENCODERS, Encoding, import_av
from tools.study import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from defian_edge.runtime.interface import Session

RATE = 25


def panned(height: int, width: int, count: int) -> list[NDArray[np.uint8]]:
    """Frames, uint8 RGB [H, W, 3], of a camera that moves over a photo."""
    photo = read_image(bundled_photos(("astronaut.png",))[0])
    tiled = np.tile(photo, (-(-height // photo.shape[0]) + 1, -(-width // photo.shape[1]) + 1, 1))
    return [
        np.ascontiguousarray(tiled[step : step + height, 2 * step : 2 * step + width])
        for step in (index % 200 for index in range(count))
    ]


def write_film(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """H.264, as a camera writes it."""
    av = import_av()
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("libx264", rate=RATE, options={"crf": "18"})
        video.height, video.width, _ = frames[0].shape
        video.pix_fmt = "yuv420p"
        for frame in frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(video.encode(None))


def network(session: Session, frames: list[NDArray[np.uint8]]) -> None:
    """The network alone."""
    for _ in session.upscale_frames(frames):
        pass


class Watched:
    """A session of which it is known how long it has waited for frames, and for results to be taken."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.manifest = session.manifest
        self.waited = 0.0

    def upscale_frames(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """As the session's own."""

        def source() -> Iterator[NDArray[np.uint8]]:
            given = iter(frames)
            while True:
                begun = time.perf_counter()
                frame = next(given, None)
                self.waited += time.perf_counter() - begun
                if frame is None:
                    return
                yield frame

        for upscaled in self._session.upscale_frames(source()):
            begun = time.perf_counter()
            yield upscaled
            self.waited += time.perf_counter() - begun


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """How long it takes by the clock, and by the CPU's time of this process."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - used


def _run(options: argparse.Namespace) -> int:
    width, height = options.size
    frames = panned(height, width, options.frames)
    with tempfile.TemporaryDirectory() as folder, open_session(options.engine) as session:
        source, target = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        write_film(source, frames)
        session(frames[0][None])
        print(session.describe())
        encoding = Encoding(options.video_codec)
        rounds: list[tuple[float, ...]] = []
        for _ in range(options.rounds):
            alone = seconds_of(lambda: network(session, frames))
            watched: Any = Watched(session)
            film = seconds_of(lambda: upscale_video(watched, source, target, lambda: None, encoding))  # noqa: B023
            rounds.append((alone[0] / film[0], 1 - watched.waited / film[0], alone[1] / film[1]))
            rates = [f"{len(frames) / seconds:.3f}/s" for seconds, _ in (alone, film)]
            print(f"network {rates[0]}, video {rates[1]}", *(f"{each:.3f}" for each in rounds[-1]), flush=True)
    rate, busy, cpu = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"{rate:.3f} of the network's rate; network at work {busy:.3f} of the time; {cpu:.3f} by the CPU's seconds")
    return 0


def main() -> None:
    """Print the rates and their ratio; exits with 2 on bad input."""
    begin()
    parser = argparse.ArgumentParser(prog="python -m tools.pace", description="A video's share of the network's rate.")
    parser.add_argument("engine", type=path_of("ENGINE"), help="a .onnx or .engine file built by export.py")
    size = size_of("--size")
    parser.add_argument("--size", type=size, default=(640, 360), help="WxH of the video; default 640x360")
    parser.add_argument("--frames", type=count_of("--frames", 1), default=8)
    parser.add_argument("--rounds", type=count_of("--rounds", 1), default=3)
    codec = choice_of("--video-codec", ENCODERS)
    parser.add_argument("--video-codec", type=codec, default=Encoding.codec)
    carry_out(lambda: _run(parser.parse_args()), "interrupted")


if __name__ == "__main__":
    main()
