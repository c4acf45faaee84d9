"""A graph of a few hundred bytes that gives back the picture it is given, by a convolution.

``runtime`` has no onnx to write it with, so it is kept as it was serialised; ``tests/runtime/test_doctor_smoke.py``
writes it anew and compares. uint8 [1, H, W, 3] -> Cast -> Transpose -> Conv with weights of zero and one -> Cast ->
Transpose -> uint8 [1, H, W, 3].
"""

from __future__ import annotations

import base64

SIDE = 32
"""Pixels of the picture's side."""
_TEXT = """
CAc6twMKIQoHcGljdHVyZRIFZmxvYXQiBENhc3QqCQoCdG8YAaABAgotCgVmbG9hdBIGcGxhbmVzIglUcmFuc3Bvc2UqEQoEcGVybUAAQANAAUACoAEH
Cj4KBnBsYW5lcwoHd2VpZ2h0cxIEc2FtZSIEQ29udioMCgVncm91cBgDoAECKhEKBHBhZHNAAUABQAFAAaABBwosCgRzYW1lEgZwaXhlbHMiCVRyYW5z
cG9zZSoRCgRwZXJtQABAAkADQAGgAQcKIQoGcGl4ZWxzEgZyZXN1bHQiBENhc3QqCQoCdG8YAqABAhIFc21va2UqgQEIAwgBCAMIAxABQgd3ZWlnaHRz
SmwAAAAAAAAAAAAAAAAAAAAAAACAPwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACAPwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAACAPwAAAAAAAAAAAAAAAAAAAABaIwoHcGljdHVyZRIYChYIAhISCgIIAQoDEgFICgMSAVcKAggDYiIKBnJlc3VsdBIYChYIAhISCgIIAQoDEgFI
CgMSAVcKAggDQgQKABAN
"""


def smoke_graph() -> bytes:
    """The serialised graph."""
    return base64.b64decode("".join(_TEXT.split()))
