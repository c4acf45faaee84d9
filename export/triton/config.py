"""``config.pbtxt``: a model's configuration, in the text form of Triton's protocol buffer ``ModelConfig``.

Fields: ``model_config.proto`` of Triton's repository "common"; parameters of the accelerators: README of its
"onnxruntime_backend".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from defian_edge.runtime.producer import BUILT_BY
from defian_edge.runtime.triton_model import INPUT, OUTPUT

if TYPE_CHECKING:
    from defian_edge.export.triton.options import TritonOptions
    from defian_edge.runtime.manifest import Manifest
    from defian_edge.runtime.profile import Shape, ShapeProfile

PLAN, GRAPH, SESSION = "model.plan", "model.onnx", "model.py"
"""The file of a version that Triton opens, by what it is."""
BACKENDS = {PLAN: "tensorrt", GRAPH: "onnxruntime", SESSION: "python"}


def largest_batch(profile: ShapeProfile | None) -> int:
    """Triton's ``max_batch_size``: 0, each request being a batch of its own, where a single picture is too few."""
    if profile is None:
        return 1
    return profile.maximum[0] if profile.minimum[0] == 1 else 0


def config_of(name: str, kind: str, manifest: Manifest, options: TritonOptions) -> str:
    """The text of ``config.pbtxt``.

    Args:
        name: of the model.
        kind: of the version's file: :data:`PLAN`, :data:`GRAPH` or :data:`SESSION`.
        manifest: of the graph or engine.
        options: how it is served; their profile is the engine's.
    """
    batch = largest_batch(options.profile)
    sizes = "-1, -1, 3" if batch else "-1, -1, -1, 3"
    blocks = [
        f"# {manifest.model} x{manifest.scale} {manifest.precision}, written by {BUILT_BY} and yours to change: "
        "a version that is added later leaves this file as it is.",
        f"name: {_quoted(name)}",
        f"backend: {_quoted(BACKENDS[kind])}",
        f"max_batch_size: {batch}",
        f'input [ {{ name: "{INPUT}" data_type: TYPE_UINT8 dims: [ {sizes} ] }} ]',
        f'output [ {{ name: "{OUTPUT}" data_type: TYPE_UINT8 dims: [ {sizes} ] }} ]',
        "version_policy: { latest { num_versions: 1 } }",
        _instances(kind, manifest, options),
        *_batching(options.profile, batch),
        *_accelerator(kind, manifest, options),
        *_parameters(kind, manifest, options),
        *_warm_up(options.profile, batch),
    ]
    return "\n".join(blocks) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text)


def _instances(kind: str, manifest: Manifest, options: TritonOptions) -> str:
    if manifest.engine is None and options.provider in (None, "cpu"):
        return f"instance_group [ {{ count: {options.instances} kind: KIND_CPU }} ]"
    place = ""
    if kind == PLAN:
        place = ' profile: [ "0" ]'  # of the plan's optimisation profiles, which are this one
    elif kind == SESSION and manifest.engine is None:
        place = " gpus: [ 0 ]"  # where the session runs a graph
    return f"instance_group [ {{ count: {options.instances} kind: KIND_GPU{place} }} ]"


def _batching(profile: ShapeProfile | None, batch: int) -> list[str]:
    if profile is None or batch < 2:
        return []
    preferred = profile.optimum[0] if profile.optimum[0] > 1 else batch
    return [f"dynamic_batching {{ preferred_batch_size: [ {preferred} ] }}"]


def _accelerator(kind: str, manifest: Manifest, options: TritonOptions) -> list[str]:
    """Of a graph on a GPU; TensorRT builds for the shapes that it meets, which the warm-up shows it first."""
    if kind != GRAPH or options.provider in (None, "cpu"):
        return []
    given = {"cudnn_conv_use_max_workspace": "1"}
    if options.provider == "tensorrt":
        given = {
            "precision_mode": manifest.precision.upper(),
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": "/tmp/defian-edge-triton",  # noqa: S108 - in the server's container
        }
    lines = [f"    parameters {{ key: {_quoted(key)} value: {_quoted(value)} }}" for key, value in given.items()]
    return [
        "optimization { execution_accelerators { gpu_execution_accelerator: [ {",
        f'    name: "{options.provider}"',
        *lines,
        "} ] } }",
    ]


def _parameters(kind: str, manifest: Manifest, options: TritonOptions) -> list[str]:
    if kind != SESSION:
        return []
    given = {"tiles": options.tiles, "most_pixels": str(options.most_pixels)}
    if manifest.engine is None:
        given["provider"] = options.provider or "cpu"
    return [
        f"parameters {{ key: {_quoted(key)} value: {{ string_value: {_quoted(value)} }} }}"
        for key, value in given.items()
    ]


def _warm_up(profile: ShapeProfile | None, batch: int) -> list[str]:
    """One request of noise at each of the profile's shapes, before the model is ready."""
    if profile is None:
        return []
    shapes = dict.fromkeys((profile.minimum, profile.optimum, profile.maximum))
    return [_request(shape, batch) for shape in shapes]


def _request(shape: Shape, batch: int) -> str:
    pictures, height, width = shape
    count, sizes = (pictures, f"{height}, {width}, 3") if batch else (1, f"{pictures}, {height}, {width}, 3")
    return (
        f'model_warmup [ {{ name: "{"x".join(map(str, shape))}" batch_size: {count} inputs {{ key: "{INPUT}" '
        f"value: {{ data_type: TYPE_UINT8 dims: [ {sizes} ] random_data: true }} }} }} ]"
    )
