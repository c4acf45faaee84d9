"""TensorRT's builder and parser as the double has them: the plan of a graph is the profile and the graph, which its
engine runs.

What a build was told is kept in ``builds``, so that a test can hold it against the manifest.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import onnxruntime

HIGHEST = b"images up to the height of "
"""What a plan that was built here begins with; the number of the profile follows."""


class Network:
    """INetworkDefinition of one parsed graph."""

    def __init__(self) -> None:
        self.num_layers, self.kinds, self.graph = 0, [], b""

    def get_layer(self, index: int) -> Any:  # noqa: ANN401
        return SimpleNamespace(type=self.kinds[index])

    def get_input(self, index: int) -> Any:  # noqa: ANN401
        return SimpleNamespace(name="image" if index == 0 else "")


class Parser:
    """OnnxParser: takes what ONNX Runtime takes."""

    num_errors = 1

    def __init__(self, network: Network, _logger: object) -> None:
        self.network = network

    def parse(self, graph: bytes) -> bool:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception:
            return False
        self.network.graph, self.network.kinds = graph, ["CONVOLUTION"]
        self.network.num_layers = len(self.network.kinds)
        return True

    def get_error(self, _index: int) -> Any:  # noqa: ANN401
        return SimpleNamespace(desc=lambda: "no such graph")


class Config:
    """IBuilderConfig: remembers what it was told."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def __setattr__(self, name: str, value: object) -> None:
        if name != "told":
            self.told[name] = value
        object.__setattr__(self, name, value)

    def clear_flag(self, flag: str) -> None:
        self.told[f"cleared {flag}"] = True

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.told[pool] = size

    def set_compute_capability(self, capability: str, index: int) -> None:
        self.told[f"capability {index}"] = capability

    def add_optimization_profile(self, profile: Any) -> int:  # noqa: ANN401
        self.told["profile"] = profile.shapes
        return 0


class Profile:
    """IOptimizationProfile."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes[name] = shapes


class Builder:
    """Builder of a module."""

    def __init__(self, module: Any, logger: Any) -> None:  # noqa: ANN401
        self.module, self.logger = module, logger

    def create_network(self, flags: int) -> Network:
        assert flags == 1, "strongly typed"
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        self.module.builds.append(config.told)
        if self.module.faults.refused_build:
            self.logger.log(self.module.ILogger.Severity.ERROR, "Could not find any implementation for node Conv_0")
            return None
        self.logger.log(self.module.ILogger.Severity.INFO, "Total Activation Memory: 4096 bytes")
        _, _, (_, height, *_) = config.told["profile"]["image"]
        return b"%s%d\n%s" % (HIGHEST, height, network.graph)


NAMES = {
    "NetworkDefinitionCreationFlag": SimpleNamespace(STRONGLY_TYPED=0),
    "BuilderFlag": SimpleNamespace(TF32="TF32"),
    "ProfilingVerbosity": SimpleNamespace(DETAILED="DETAILED"),
    "MemoryPoolType": SimpleNamespace(WORKSPACE="WORKSPACE"),
    "LayerType": SimpleNamespace(PLUGIN_V3="PLUGIN_V3"),
    "ComputeCapability": SimpleNamespace(SM75=75, SM86=86, SM89=89, SM120=120, CURRENT="CURRENT"),
}
"""What of a module a build reads beside these classes."""
