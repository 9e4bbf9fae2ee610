"""What comes in over the bus as bytes: frames, payloads, the headers of other hosts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from supervisor_tree.bus import messages
from supervisor_tree.bus.codec import BadFrame, decode, encode, pack, unpack
from supervisor_tree.bus.crossing import (
    Alive,
    Back,
    Forth,
    Gone,
    Header,
    arriving,
    read_header,
    returning,
    write_header,
)
from supervisor_tree.bus.mailbox import Sender
from tests.fuzz.engine import fuzz

__all__ = ["KINDS", "SEEDS", "one_input"]

KINDS: tuple[Any, ...] = tuple(
    getattr(messages, name) for name in messages.__all__ if name != "Message"
)

_GOOD: list[messages.Message] = [
    messages.Hello("/chat/bot", 3, 17, "/chat/other", "north:/far", 2**40, (4, 5)),
    messages.Welcome(3, 16, 17, 2000, ((17, 2), (19, 1)), 4),
    messages.Refused("hello"),
    messages.Cast(17, pack({"text": "ü", "n": [1, None, 2.5]}), "00-ab-cd-01", True),
    messages.Cast(18, b"\x01"),
    messages.Skip(19),
    messages.Ack(3, 18, 2**63 - 1),
    messages.Call(5, pack([1, "x"]), "00-ab-cd-01"),
    messages.Reply(5, pack(None)),
    messages.Failure(5, "ValueError", "not today", "Traceback ..."),
    messages.Event("/chat/bot", 3, "a.b", 1, pack("event")),
    messages.Tally("/chat/bot", 3, "a.b", 1),
    messages.Bye(),
]
_HEADERS: list[Header] = [Forth("/a", "/b", 2**60), Back("/a", "/b", 1), Gone("/b", 1), Alive(7)]

SEEDS = [
    *(encode([message]) for message in _GOOD),
    encode(_GOOD),
    *(write_header(header) for header in _HEADERS),
    pack([{"deep": [[[]]]}, b"\0", -1, 2**64 - 1]),
]


def one_input(data: bytes) -> None:
    """Good messages or BadFrame, and the same messages again when they are written anew."""
    with suppress(BadFrame):
        unpack(data)
    with suppress(BadFrame):
        header = read_header(data)
        assert read_header(write_header(header)) == header
    try:
        found = decode(data)
    except BadFrame:
        return
    assert found
    assert {type(message) for message in found} <= set(KINDS)
    assert decode(encode(found)) == found
    for message in found:
        if isinstance(message, messages.Cast | messages.Call | messages.Reply | messages.Event):
            with suppress(BadFrame):
                unpack(message.payload)
    with suppress(BadFrame):
        encode(arriving(found, Sender("/a", 1)))
    with suppress(BadFrame):
        encode(returning(found, era=3))


if __name__ == "__main__":
    fuzz(one_input, SEEDS)
