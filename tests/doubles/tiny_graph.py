"""``python -m tests.doubles.tiny_graph FILE``: the smallest network's graph, for tests where there is no PyTorch."""

from __future__ import annotations

import sys

import onnx_ir as ir

from defian_edge.export.trace.network import trace
from tests.conftest import random_checkpoint, tiny

if __name__ == "__main__":
    ir.save(trace(random_checkpoint(tiny())), sys.argv[1])
