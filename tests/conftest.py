"""Fixtures every room needs: small and full networks, their traces (cached between workers), Set5, photos.

Importing this file takes no PyTorch: ``make matrix`` runs the runtime's tests where there is none, as on a device. What
needs a network skips there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from defian_edge.calibration.photos import CalibrationSet
    from defian_edge.export.precision.variants import Variant
    from defian_edge.export.trace.network import Io
    from defian_edge.models.checkpoint import Checkpoint
    from defian_edge.models.defian import Architecture

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("DEFIAN_SHARED", REPOSITORY.parent / "shared"))


def pytest_configure() -> None:
    """A shell's background job ignores SIGINT, and so would every process that the tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of minutes first, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slowest") is None)


def needed(program: str, package: str = "") -> str:
    """The path of a program that a test cannot do without: without it the test skips, and in the gate it fails.

    Args:
        program: its name.
        package: Debian's, if it has another one.
    """
    path = shutil.which(program)
    if path is None:
        why = f"{program} is not here: apt-get install {package or program}"
        if os.environ.get("DEFIAN_CI"):
            pytest.fail(why)
        pytest.skip(why)
    return path


def random_checkpoint(architecture: Architecture, seed: int = 0) -> Checkpoint:
    """Random weights and random Hessian biases."""
    torch = pytest.importorskip("torch")
    from defian_edge.models.checkpoint import Checkpoint
    from defian_edge.models.defian import DeFiAN

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = DeFiAN(architecture).state_dict()
    name = f"random-{architecture.channels}-{architecture.blocks}-{architecture.modules}-x{architecture.scale}"
    return Checkpoint(architecture, state, sha256="0" * 64, name=name)


def realistic_checkpoint(architecture: Architecture) -> Checkpoint:
    """A checkpoint on which FP32 comparisons to 1e-4 mean something: trained where there is a trained one.

    Fifty blocks of random weights amplify the last bit of any FP32 sum a thousandfold, trained ones do not.
    S x3 is the trained x2 network with a random upscaling; one module of L is short enough to be random. All
    get random Hessian biases, which the bundled checkpoints lack and the authors' have.
    """
    from defian_edge.models.bundled import bundled_models
    from defian_edge.models.checkpoint import load_checkpoint

    checkpoint = random_checkpoint(architecture)
    if architecture.size != "S":
        return checkpoint
    bundled = bundled_models()
    trained = load_checkpoint(bundled.get(f"defian-s-x{architecture.scale}", bundled["defian-s-x2"])).state
    fitting = {key: value for key, value in trained.items() if not key.endswith(("grad_xx.bias", "grad_yy.bias"))}
    fitting = {key: value for key, value in fitting.items() if value.shape == checkpoint.state[key].shape}
    return replace(checkpoint, state={**checkpoint.state, **fitting}, name=f"realistic-s-x{architecture.scale}")


def tiny(scale: int = 2) -> Architecture:
    """The smallest network with every kind of part, for tests that are not about size."""
    pytest.importorskip("torch")
    from defian_edge.models.defian import Architecture

    return Architecture(channels=16, blocks=1, modules=2, scale=scale)


def make_int8(rewritten: ir.Model, patches: CalibrationSet, **recipe: Any) -> Variant:  # noqa: ANN401
    """The INT8 graph with all sites of the scope."""
    from defian_edge.export.precision.int8.calibrate import calibrate
    from defian_edge.export.precision.int8.recipe import Recipe

    return calibrate(rewritten, patches, Recipe(**recipe)).variant()


@pytest.fixture(scope="session")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ir.Model]:
    """``traced(checkpoint, io)``: a fresh copy of the plain graph; each network is traced once per test run."""
    shared = tmp_path_factory.getbasetemp()
    folder = (shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared) / "traces"
    folder.mkdir(exist_ok=True)

    def get(checkpoint: Checkpoint, io: Io | None = None) -> ir.Model:
        from defian_edge.export.trace.network import Io, trace

        io = io or Io.UINT8
        digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in checkpoint.state.values())).hexdigest()
        path = folder / f"{checkpoint.name}-{digest[:16]}-{io.value}.onnx"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                ir.save(trace(checkpoint, io), path)
        return ir.load(path)

    return get


@pytest.fixture(scope="session")
def tiny_graph(request: pytest.FixtureRequest) -> bytes:
    """The graph of the smallest network: that of ``$DEFIAN_GRAPH``, which another Python has made, or a new one."""
    if made := os.environ.get("DEFIAN_GRAPH"):
        return Path(made).read_bytes()
    checkpoint = random_checkpoint(tiny())
    return ir.to_proto(request.getfixturevalue("traced")(checkpoint)).SerializeToString()


@pytest.fixture(scope="session")
def bundled_x2() -> Checkpoint:
    """The trained DeFiAN-S x2 that comes with the package."""
    pytest.importorskip("torch")
    from defian_edge.models.bundled import bundled_models
    from defian_edge.models.checkpoint import load_checkpoint

    return load_checkpoint(bundled_models()["defian-s-x2"])


@pytest.fixture(scope="session")
def set5() -> Path:
    """Set5 with MATLAB's bicubic LR, where the project's data lies beside the checkout."""
    folder = SHARED / "data" / "Set5"
    if not folder.is_dir():
        pytest.skip(f"no Set5 at {folder}; set DEFIAN_SHARED to the folder that holds data/Set5")
    return folder


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """uint8 noise: the hardest picture, every frequency at full contrast."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
