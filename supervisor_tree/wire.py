"""The control protocol: one msgpack frame per request, one or more per answer.

    request   [1, id, verb, args]
    reply     [1, id, "ok", value]
              [1, id, "progress", value]      any number of them, before one of the others
              [1, id, "error", {type, message, exit_code}]

The first item is the version of the schema.  It only grows: a reader passes over items
and keys that it does not know.  `type` is the name of a class of `supervisor_tree.errors`.
Event frames are [topic, map]: the path as bytes, and the event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from supervisor_tree import errors
from supervisor_tree.errors import ConfigError, OperationFailed, SupervisorTreeError, UsageError

__all__ = [
    "CONTROL_SOCKET",
    "EVENTS_SOCKET",
    "MAX_FRAME_BYTES",
    "SCHEMA",
    "MalformedFrame",
    "error_frame",
    "error_of",
    "event_frames",
    "read_event",
    "read_reply",
    "read_request",
    "reply_frame",
    "request_frame",
]

SCHEMA = 1
MAX_FRAME_BYTES = 16 * 1024 * 1024
CONTROL_SOCKET = "control.sock"
EVENTS_SOCKET = "events.sock"

_MAX_VERB = 64
_REQUEST_ITEMS = 4


class MalformedFrame(Exception):
    """A frame that is not of this protocol.  `id` is its request number, if that much is clear."""

    def __init__(self, message: str, id: int | None = None) -> None:
        super().__init__(message)
        self.id = id


def request_frame(id: int, verb: str, args: Mapping[str, Any]) -> bytes:
    """The frame that asks."""
    return _pack([SCHEMA, id, verb, dict(args)])


def read_request(frame: bytes) -> tuple[int, str, dict[str, Any]]:
    """(id, verb, args) of a request.  Raises MalformedFrame for everything else."""
    items = _unpack_list(frame)
    id = items[1] if len(items) > 1 else None
    if not isinstance(id, int) or isinstance(id, bool):
        raise MalformedFrame("a request is [1, id, verb, args], and its id is an integer")
    if items[0] != SCHEMA:
        raise MalformedFrame(f"this host speaks schema {SCHEMA}, not {items[0]!r:.40}", id)
    if len(items) < _REQUEST_ITEMS:
        raise MalformedFrame("a request is [1, id, verb, args]", id)
    verb, args = items[2], items[3]
    if not isinstance(verb, str) or len(verb) > _MAX_VERB:
        raise MalformedFrame("the verb of a request is a short string", id)
    if not isinstance(args, dict) or not all(isinstance(key, str) for key in args):
        raise MalformedFrame("the args of a request are a map with strings as keys", id)
    return id, verb, args


def reply_frame(id: int, status: str, value: Any) -> bytes:
    """The frame that answers; `status` is "ok" or "progress"."""
    return _pack([SCHEMA, id, status, value])


def error_frame(id: int, error: SupervisorTreeError) -> bytes:
    """The frame that says what went wrong."""
    return _pack([SCHEMA, id, "error", error.facts()])


def read_reply(frame: bytes) -> tuple[int, str, Any]:
    """(id, status, value) of a reply.  Raises MalformedFrame for everything else."""
    items = _unpack_list(frame)
    if len(items) < _REQUEST_ITEMS or items[0] != SCHEMA or not isinstance(items[1], int):
        raise MalformedFrame("a reply is [1, id, status, value]")
    return items[1], items[2], items[3]


def error_of(facts: Any) -> SupervisorTreeError:
    """The exception that an "error" reply stands for; a class we do not know keeps its code."""
    if not isinstance(facts, dict):
        return OperationFailed(str(facts))
    message = str(facts.get("message", ""))
    kind = getattr(errors, str(facts.get("type")), None)
    if kind is errors.OrdersFailed:
        return errors.OrdersFailed(message, facts.get("failures"), facts.get("results"))
    # ConfigError is made of problems with places; a message alone cannot become one.
    if isinstance(kind, type) and issubclass(kind, SupervisorTreeError) and kind is not ConfigError:
        return kind(message)
    error = OperationFailed(message)
    code = facts.get("exit_code")
    if isinstance(code, int):
        error.exit_code = code
    return error


def event_frames(event: Mapping[str, Any]) -> list[bytes]:
    """Topic and body of one event."""
    return [str(event["path"]).encode(), _pack(dict(event))]


def read_event(frame: bytes) -> dict[str, Any]:
    """The body of one event.  Raises MalformedFrame if it is none."""
    value = _unpack(frame)
    if not isinstance(value, dict) or not isinstance(value.get("seq"), int):
        raise MalformedFrame("an event is a map with a seq")
    return value


def _pack(value: Any) -> bytes:
    # What is not plain data (an agent object in a spec) is shown, never pickled.
    # Bytes of a command line that are no UTF-8 are shown too, as `\\udc..`.
    packed = msgpack.packb(value, default=repr, unicode_errors="backslashreplace")
    assert isinstance(packed, bytes)
    if len(packed) > MAX_FRAME_BYTES:
        raise UsageError(f"a frame of {len(packed)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return packed


def _unpack(frame: bytes) -> Any:
    try:
        return msgpack.unpackb(frame, use_list=True, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedFrame(f"not a msgpack frame: {error}") from None


def _unpack_list(frame: bytes) -> list[Any]:
    value = _unpack(frame)
    if not isinstance(value, list) or not value:
        raise MalformedFrame("not a list")
    return value
