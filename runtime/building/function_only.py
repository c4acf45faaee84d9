"""Eigenvalue nodes that name no plugin, so that any parser takes the function of the same name: without onnx.

An ONNX file is a protocol buffer (https://protobuf.dev/programming-guides/encoding): fields one after the other, each
a key (its number and wire type) and a value, of which messages and texts are bytes with their length before them. What
is not changed is copied as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..plugin.hessian_plugin import PLUGIN_NAME, PLUGIN_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ATTRIBUTES = (b"plugin_namespace", b"plugin_version")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH = 7
"""Of ModelProto; https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, as all numbers here."""
_NODE = 1
"""Of GraphProto."""
_OP_TYPE, _ATTRIBUTE, _DOMAIN = 4, 5, 7
"""Of NodeProto."""
_NAME = 1
"""Of AttributeProto."""


class _NoMessageError(ValueError):
    """The bytes are no protocol buffer."""


def without_plugin(graph: bytes) -> bytes:
    """The serialised model with eigenvalue nodes that name no plugin.

    Bytes that are no ONNX model are returned as they are: the compiler says what it thinks of them.
    """
    try:
        return _changed(graph, _GRAPH, lambda part: _changed(part, _NODE, _node))
    except _NoMessageError:
        return graph


def _node(node: bytes) -> bytes:
    said = {number: value for number, value, _ in _fields(node) if number in (_OP_TYPE, _DOMAIN)}
    if (said.get(_DOMAIN), said.get(_OP_TYPE)) != (PLUGIN_NAMESPACE.encode(), PLUGIN_NAME.encode()):
        return node
    return b"".join(whole for number, value, whole in _fields(node) if number != _ATTRIBUTE or not _names_plugin(value))


def _names_plugin(attribute: bytes | None) -> bool:
    return any(number == _NAME and value in ATTRIBUTES for number, value, _ in _fields(attribute or b""))


def _changed(message: bytes, wanted: int, change: Callable[[bytes], bytes]) -> bytes:
    """The message with every field of that number changed."""
    parts = []
    for number, value, whole in _fields(message):
        new = change(value) if number == wanted and value is not None else value
        if new is value or new is None:
            parts.append(whole)
        else:
            parts += [_written(number << 3 | _BYTES), _written(len(new)), new]
    return b"".join(parts)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | None, bytes]]:
    """Number, value and all bytes of every field; the value of what is no bytes is None."""
    at = 0
    while at < len(message):
        begin = at
        key, at = _read(message, at)
        kind, value = key & 7, None
        if kind == _VARINT:
            _, at = _read(message, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            size, at = _read(message, at)
            value = message[at : at + size]
            at += size
        else:
            raise _NoMessageError
        if at > len(message):
            raise _NoMessageError
        yield key >> 3, value, message[begin:at]


def _read(message: bytes, at: int) -> tuple[int, int]:
    """A number of as many bytes as it takes, and where the next begins."""
    number = shift = 0
    while at < len(message) and shift < 70:
        number |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return number, at
    raise _NoMessageError


def _written(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
