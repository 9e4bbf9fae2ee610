"""Frames: messages as bytes and back.

A frame is one msgpack list, `[1, item, item, ...]`: the version of the schema, then one or
more messages.  An item is a list again, the number of its kind and then its fields in the
order of `bus.messages`; fields at the end that have their default may be missing.  (Lists
cost a third of maps, and a frame for many messages a fraction of many frames.)

What comes in may be anything: `decode` returns messages whose fields have the types that
they are declared with, or raises BadFrame.  It raises nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgpack

from supervisor_tree.bus.messages import (
    Ack,
    Bye,
    Call,
    Cast,
    Event,
    Failure,
    Hello,
    Message,
    Refused,
    Reply,
    Skip,
    Tally,
    Welcome,
)

__all__ = [
    "MAX_FRAME_BYTES",
    "MAX_PAYLOAD_BYTES",
    "MAX_TAKEN_BYTES",
    "SCHEMA",
    "BadFrame",
    "decode",
    "encode",
    "pack",
    "unpack",
]

SCHEMA = 1
MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_PAYLOAD_BYTES = MAX_FRAME_BYTES - 4096  # room for the envelope
# What a socket takes in: libzmq ends a connection over more, and tells nobody.  Up to this, what
# is too large is counted as any other bad frame, and the connection stays.
MAX_TAKEN_BYTES = 2 * MAX_FRAME_BYTES

_KINDS: tuple[type[Any], ...] = (
    *(Hello, Welcome, Refused, Cast, Skip, Ack, Call, Reply, Failure, Event, Tally, Bye),
)
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}
_LARGEST = 2**63 - 1


class BadFrame(Exception):
    """Bytes that are no frame of ours; the text says why, in a few words."""


def encode(messages: Iterable[Message]) -> bytes:
    """One frame.  The caller sees to it that there is a message, and not too many."""
    items: list[Any] = [SCHEMA]
    for message in messages:
        if isinstance(message, Cast) and not (message.trace or message.redelivered):
            items.append((_CAST, message.seq, message.payload))
        else:
            items.append((_NUMBER[type(message)], *message))
    frame = _packer.pack(items)
    assert isinstance(frame, bytes)
    return frame


def decode(frame: bytes) -> list[Message]:
    """The messages of a frame, one at least.  Raises BadFrame, and nothing else."""
    if len(frame) > MAX_FRAME_BYTES:
        raise BadFrame("too large")
    try:
        items = msgpack.unpackb(frame, use_list=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, MemoryError):
        raise BadFrame("not msgpack") from None
    if type(items) is not tuple or not items:
        raise BadFrame("not a list")
    if type(items[0]) is not int or items[0] != SCHEMA:
        raise BadFrame("another schema version")
    if len(items) == 1:
        raise BadFrame("no message")
    try:
        return [
            Cast(item[1], item[2])
            if len(item) == 3
            and item[0] == _CAST
            and type(item[1]) is int
            and 0 < item[1] <= _LARGEST
            and type(item[2]) is bytes
            else _READERS[item[0]](item)
            for item in items[1:]
        ]
    except (TypeError, KeyError, IndexError, ValueError):
        raise BadFrame("not a message") from None


def pack(value: Any) -> bytes:
    """A user's message as payload.

    Raises TypeError for what msgpack has no form for, ValueError for what is too large.
    """
    payload = _packer.pack(value)
    assert isinstance(payload, bytes)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a message of {len(payload)} bytes is over the limit of 16 MiB")
    return payload


def unpack(payload: bytes) -> Any:
    """The user's message.  Raises BadFrame if the payload holds none."""
    try:
        return msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, MemoryError):
        raise BadFrame("the payload is not msgpack") from None


# --- one reader per kind, made from its declaration -------------------------------------


def _number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _is(kind: type) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return type(value) is kind

    return check


def _numbers(value: Any) -> bool:
    return type(value) is tuple and all(map(_number, value))


def _pairs(value: Any) -> bool:
    return type(value) is tuple and all(
        type(pair) is tuple and len(pair) == 2 and _number(pair[0]) and _number(pair[1])
        for pair in value
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "int": _number,
    "str": _is(str),
    "bytes": _is(bytes),
    "bool": _is(bool),
    "tuple[int, ...]": _numbers,
    "tuple[tuple[int, int], ...]": _pairs,
}


def _reader(kind: type[Any]) -> Callable[[tuple[Any, ...]], Message]:
    checks = [_CHECKS[annotation.__forward_arg__] for annotation in kind.__annotations__.values()]
    least = len(checks) - len(kind._field_defaults)

    def read(item: tuple[Any, ...]) -> Message:
        values = item[1:]
        if not least <= len(values) <= len(checks):
            raise ValueError
        for check, value in zip(checks, values, strict=False):
            if not check(value):
                raise ValueError
        message: Message = kind(*values)
        return message

    return read


_CAST = _NUMBER[Cast]
_READERS = {number: _reader(kind) for kind, number in _NUMBER.items()}
_packer = msgpack.Packer(autoreset=True)
