"""What comes in at the control and event sockets, on either side of them."""

from __future__ import annotations

from contextlib import suppress

from supervisor_tree.errors import ConfigError, ConfigProblem, NoSuchChild, SupervisorTreeError
from supervisor_tree.wire import (
    MalformedFrame,
    error_frame,
    error_of,
    event_frames,
    read_event,
    read_reply,
    read_request,
    reply_frame,
    request_frame,
)
from tests.fuzz.engine import fuzz

__all__ = ["SEEDS", "one_input"]

SEEDS = [
    request_frame(1, "status", {"path": "/", "all": True}),
    request_frame(2**62, "wait", {"paths": ["/a"], "timeout": 1.5}),
    reply_frame(1, "ok", [{"path": "/a", "pid": None}]),
    reply_frame(1, "progress", {"left": 3}),
    error_frame(1, NoSuchChild("nobody has the path /b")),
    error_frame(1, ConfigError([ConfigProblem("a.yaml", 3, 7, "tree", "must be a map")])),
    event_frames({"seq": 1, "event": "child_ready", "path": "/a", "generation": 1})[1],
]


def one_input(data: bytes) -> None:
    """What was meant, or MalformedFrame; and an error that can be raised and shown."""
    with suppress(MalformedFrame):
        id, verb, args = read_request(data)
        assert type(id) is int
        assert type(verb) is str
        assert all(type(key) is str for key in args)
    with suppress(MalformedFrame):
        assert isinstance(read_event(data)["seq"], int)
    with suppress(MalformedFrame):
        _id, status, value = read_reply(data)
        if status == "error":
            error = error_of(value)
            assert isinstance(error, SupervisorTreeError)
            assert isinstance(str(error), str)
            assert isinstance(error.exit_code, int)


if __name__ == "__main__":
    fuzz(one_input, SEEDS)
