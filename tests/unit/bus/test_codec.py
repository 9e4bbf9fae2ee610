"""Frames: all that we write can be read, and nothing that is read can hurt."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor_tree.bus import messages
from supervisor_tree.bus.codec import (
    MAX_FRAME_BYTES,
    MAX_PAYLOAD_BYTES,
    BadFrame,
    decode,
    encode,
    pack,
    unpack,
)
from supervisor_tree.bus.messages import Call, Cast, Message, Welcome

NUMBERS = st.integers(0, 2**63 - 1)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "int": NUMBERS,
    "str": st.text(max_size=20),
    "bytes": st.binary(max_size=40),
    "bool": st.booleans(),
    "tuple[int, ...]": st.lists(NUMBERS, max_size=3).map(tuple),
    "tuple[tuple[int, int], ...]": st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3).map(tuple),
}
KINDS: list[Any] = [getattr(messages, name) for name in messages.__all__ if name != "Message"]


def fields(kind: Any) -> list[st.SearchStrategy[Any]]:
    return [FIELDS[annotation.__forward_arg__] for annotation in kind.__annotations__.values()]


MESSAGES: st.SearchStrategy[Message] = st.one_of([st.builds(kind, *fields(kind)) for kind in KINDS])
FRAMES = st.lists(MESSAGES, min_size=1, max_size=4).map(encode)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def harmless(frame: bytes) -> None:
    """Either messages whose fields are what they are declared to be, or BadFrame."""
    with contextlib.suppress(BadFrame):
        for message in decode(frame):
            assert type(message) in KINDS
            assert decode(encode([message])) == [message]


@given(st.lists(MESSAGES, min_size=1, max_size=5))
@example([Cast(1, b"")])
def test_what_is_written_can_be_read(written):
    if any(isinstance(message, Cast) and not message.seq for message in written):
        return
    assert decode(encode(written)) == written


def test_a_field_with_its_default_may_be_left_out():
    assert decode(msgpack.packb([1, [1, 4, 0, 0, 10]])) == [Welcome(4, 0, 0, 10)]
    assert decode(msgpack.packb([1, [6, 4, b"x"]])) == [Call(4, b"x")]


@given(FRAMES, st.data())
def test_a_truncated_frame_is_refused(frame, data):
    cut = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(BadFrame):
        decode(frame[:cut])


@given(PLAIN)
@example([])
@example([1])
@example([True, [3, 1, b""]])
@example([1, {}])
@example([1, [{}, 1, b""]])
@example([1, [[], 1, b""]])
@example([1, [3, 0, b""]])
@example([1, [3, True, b""]])
@example([1, [3, 2**64 - 1, b""]])
@example([1, [3, 1, "text"]])
@example([1, [-1, 1, b""]])
def test_msgpack_that_is_no_frame_is_refused_or_harmless(value):
    harmless(msgpack.packb(value))


@given(FRAMES, st.integers(-5, 300).filter(lambda version: version != 1))
def test_another_schema_version_is_refused(frame, version):
    items = msgpack.unpackb(frame)
    with pytest.raises(BadFrame, match="version"):
        decode(msgpack.packb([version, *items[1:]]))


def test_too_large_a_frame_is_refused_unread():
    with pytest.raises(BadFrame, match="large"):
        decode(bytes(MAX_FRAME_BYTES + 1))
    with pytest.raises(ValueError, match="16 MiB"):
        pack(bytes(MAX_PAYLOAD_BYTES))


def test_deeply_nested_data_is_refused():
    with pytest.raises(BadFrame):
        decode(b"\x91" * 100_000)
    with pytest.raises(BadFrame):
        unpack(b"\x91" * 100_000)


@given(PLAIN)
def test_a_payload_comes_back_as_it_was(value):
    assert repr(unpack(pack(value))) == repr(value)


@given(st.binary(max_size=100))
def test_a_payload_that_is_not_msgpack_is_refused(payload):
    with contextlib.suppress(BadFrame):
        unpack(payload)
