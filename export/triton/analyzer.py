"""What NVIDIA's Model Analyzer is to try with a model, as its documentation ``docs/config.md`` has it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from defian_edge.export.triton.config import largest_batch
from defian_edge.runtime.profile import DEFAULT_PROFILE, ShapeProfile
from defian_edge.runtime.triton_model import INPUT

if TYPE_CHECKING:
    from pathlib import Path

    from defian_edge.export.triton.options import TritonOptions

FILE = "model-analyzer.yaml"
MOST_INSTANCES, MOST_CLIENTS = 4, 16


def analyzer_of(name: str, repository: Path, options: TritonOptions, *, on_gpu: bool) -> str:
    """The YAML for ``model-analyzer profile --config-file``: instances, batches and clients at the most frequent shape.

    Args:
        name: of the model.
        repository: where it lies; the file holds the absolute path.
        options: how it is served; without a profile the shape is the default profile's.
        on_gpu: False for CPU instances alone.
    """
    profile = options.profile or ShapeProfile.parse(DEFAULT_PROFILE)
    pictures, height, width = profile.optimum
    batch = largest_batch(options.profile)
    size = f"{height},{width},3" if batch else f"{pictures},{height},{width},3"
    lines = [
        f"# model-analyzer profile --config-file {FILE}",
        f"model_repository: {json.dumps(str(repository.resolve()))}",
        "run_config_search_mode: quick",
        f"run_config_search_max_instance_count: {MOST_INSTANCES}",
        f"run_config_search_max_model_batch_size: {max(1, batch)}",
        f"run_config_search_max_concurrency: {MOST_CLIENTS}",
        "profile_models:",
        f"  {json.dumps(name)}:",
        *([] if on_gpu else ["    cpu_only: true"]),
        "    perf_analyzer_flags:",
        "      shape:",
        f"        - {json.dumps(f'{INPUT}:{size}')}",
    ]
    return "\n".join(lines) + "\n"
