"""What export.py says of INT8's speed: a bound on a named device, never a measurement."""

from __future__ import annotations

import pytest

from defian_edge.export.precision.shares import OF_CAPABILITY, GraphShares, verdict

SHARES = ({"fp16": 1.0}, {"fp16": 1.0}, {"fp16": 1.0})


def graph(kind: str, moved_bytes: int, int8_results: int = 0) -> GraphShares:
    return GraphShares(*SHARES, {kind: 10**9}, moved_bytes, int8_results)


FP16, INT8 = graph("fp16", 10**9), graph("int8", 10**9)


def test_a_graph_bound_by_memory_gains_nothing_from_int8_arithmetic():
    assert "cannot be expected to be faster" in verdict(INT8, FP16, None, wide_results=False)


def test_a_graph_that_moves_half_of_the_bytes_can_be_faster():
    text = verdict(graph("int8", 5 * 10**8), FP16, None, wide_results=False)
    assert "can be faster" in text
    assert "ratio 0.50" in text
    assert "not a measurement" in text


@pytest.mark.parametrize(("capability", "device"), OF_CAPABILITY.items())
def test_the_gpu_that_the_engine_was_built_on_is_the_one_that_is_judged(capability, device):
    assert f"on {device}, the largest of its kind" in verdict(INT8, FP16, capability, wide_results=False)


def test_without_an_engine_the_device_is_named_as_a_stand_in():
    assert "orin-nano, which stands for a target that no engine names" in verdict(INT8, FP16, None, wide_results=False)


def test_a_gpu_without_published_peaks_gets_no_expectation():
    assert "no expectation" in verdict(INT8, FP16, "12.1", wide_results=False)


def test_what_tensorrt_rtx_writes_in_fp32_counts_against_it():
    int8 = graph("int8", 5 * 10**8, int8_results=10**8)
    assert "ratio 0.50" in verdict(int8, FP16, "8.9", wide_results=False)
    text = verdict(int8, FP16, "8.9", wide_results=True)
    assert "ratio 1.30" in text  # 8 bytes more for each result: 500 MB and 800 MB against 1000 MB
    assert "cannot be expected to be faster" in text
    assert "as FP32" in text
