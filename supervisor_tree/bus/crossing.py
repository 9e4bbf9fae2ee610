"""What two gateways say to each other, and what changes in a message that crosses.

The frames of a sender and of a receiver cross as they are, so that both ends keep their own
account of what was handled; the gateways hold nothing.  A header goes before each:

    Forth, Back    a frame from a sender to a receiver, and the other way
    Gone           this life of a sender is over
    Alive          the host is there; `era` grows with each of its own lives

Two things are rewritten.  Who speaks, is the sending host's word, so a Hello is made anew from
the header.  And a generation counts within one life of a host, so where it is seen from another
host its era is put before it: it grows over the restarts of a host, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import msgpack

from supervisor_tree.bus.codec import BadFrame
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.messages import (
    Ack,
    Call,
    Cast,
    Failure,
    Hello,
    Message,
    Refused,
    Reply,
    Skip,
    Welcome,
)
from supervisor_tree.core.specs import Acl

__all__ = [
    "Alive",
    "Back",
    "Forth",
    "Gone",
    "Header",
    "abroad",
    "arriving",
    "read_header",
    "returning",
    "screened",
    "write_header",
]

_SCHEMA = 1
_LONGEST_PATH = 2000
_LONGEST_HEADER = 32 * 1024
_GENERATION_BITS = 24
_LARGEST = 2**63 - 1


class Forth(NamedTuple):
    """From this life of `path` to `to`, a path of the host that is spoken to."""

    to: str
    path: str
    generation: int


class Back(NamedTuple):
    """The answer to a Forth, with its fields."""

    to: str
    path: str
    generation: int


class Gone(NamedTuple):
    """This life of a sender is over."""

    path: str
    generation: int


class Alive(NamedTuple):
    """The host that speaks is in this era."""

    era: int


Header: TypeAlias = Forth | Back | Gone | Alive

_KINDS: tuple[type[Any], ...] = (Forth, Back, Gone, Alive)
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}


def write_header(header: Header) -> bytes:
    """As it travels."""
    packed: bytes = msgpack.packb([_SCHEMA, _NUMBER[type(header)], *header])
    return packed


def read_header(frame: bytes) -> Header:
    """The header, its fields sound.  Raises BadFrame, and nothing else."""
    if len(frame) > _LONGEST_HEADER:
        raise BadFrame("too large")
    try:
        schema, number, *values = msgpack.unpackb(frame, use_list=False)
        kind = _KINDS[number] if type(number) is int and number >= 0 else None
    except (ValueError, TypeError, IndexError, msgpack.UnpackException, RecursionError):
        raise BadFrame("no header") from None
    if schema != _SCHEMA or kind is None or len(values) != len(kind._fields):
        raise BadFrame("no header of ours")
    for name, value in zip(kind._fields, values, strict=True):
        if not (_is_number(value) if name in ("generation", "era") else _is_path(value)):
            raise BadFrame(f"no {name}")
    header: Header = kind(*values)
    return header


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _is_path(value: Any) -> bool:
    return (
        type(value) is str
        and value.startswith("/")
        and len(value) <= _LONGEST_PATH
        and value.isprintable()
    )


def abroad(era: int, generation: int) -> int:
    """A generation as other hosts see it."""
    return era << _GENERATION_BITS | generation


def arriving(messages: Sequence[Message], sender: Sender) -> list[Message]:
    """What a sender's frame says to the receiver.  Raises BadFrame if it is no sender's."""
    arrived: list[Message] = []
    for message in messages:
        if isinstance(message, Hello):
            arrived.append(Hello(sender.path, sender.generation, message.base, asked=message.asked))
        elif isinstance(message, Cast | Skip | Call):
            arrived.append(message)
        else:
            raise BadFrame("not what a sender says")
    return arrived


def returning(messages: Sequence[Message], era: int) -> list[Message]:
    """What a receiver's frame says to a sender abroad.  Raises BadFrame if it is no receiver's."""
    returned: list[Message] = []
    for message in messages:
        if isinstance(message, Welcome | Ack):
            returned.append(message._replace(generation=abroad(era, message.generation)))
        elif isinstance(message, Reply | Failure | Refused):
            returned.append(message)
        else:
            raise BadFrame("not what a receiver says")
    return returned


def screened(
    messages: Sequence[Message], acl: Acl, to: str
) -> tuple[list[Message], list[Call], bool]:
    """What a sender of this policy may say to `to`: (that, calls to refuse, casts were dropped).

    A cast that is not allowed leaves a Skip, for the numbering.
    """
    may_call, may_cast = acl.allows_call(to), acl.allows_cast(to)
    if may_call and may_cast:
        return list(messages), [], False
    passed: list[Message] = []
    refused: list[Call] = []
    dropped = False
    for message in messages:
        if isinstance(message, Call) and not may_call:
            refused.append(message)
        elif isinstance(message, Cast) and not may_cast:
            passed.append(Skip(message.seq))
            dropped = True
        else:
            passed.append(message)
    return passed, refused, dropped
