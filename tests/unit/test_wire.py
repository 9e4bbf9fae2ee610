"""Frames of the control socket: what goes in comes out, everything else is refused."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree import errors
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

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.integers(0, 2**40), st.text(max_size=64), st.dictionaries(st.text(), plain))
def test_a_request_survives_the_wire(id, verb, args):
    assert read_request(request_frame(id, verb, args)) == (id, verb, args)


@given(st.integers(0, 2**40), plain)
def test_a_reply_survives_the_wire(id, value):
    assert read_reply(reply_frame(id, "ok", value)) == (id, "ok", value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_are_refused(frame):
    for read in (read_request, read_reply, read_event):
        try:
            read(frame)
        except MalformedFrame:
            continue


@pytest.mark.parametrize(
    ("items", "id"),
    [
        (7, None),
        ([], None),
        ([1], None),
        ([1, "x", "status", {}], None),
        ([1, True, "status", {}], None),
        ([2, 5, "status", {}], 5),
        ([1, 5], 5),
        ([1, 5, "status"], 5),
        ([1, 5, 6, {}], 5),
        ([1, 5, "s" * 65, {}], 5),
        ([1, 5, "status", []], 5),
        ([1, 5, "status", {b"path": 1}], 5),
    ],
)
def test_a_malformed_request_keeps_its_number_if_that_can_be_read(items, id):
    with pytest.raises(MalformedFrame) as refused:
        read_request(msgpack.packb(items))
    assert refused.value.id == id


def test_a_reader_passes_over_what_a_later_version_adds():
    assert read_request(msgpack.packb([1, 2, "ping", {}, "new"])) == (2, "ping", {})
    assert read_reply(msgpack.packb([1, 2, "ok", 3, "new"])) == (2, "ok", 3)


SIMPLE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, errors.SupervisorTreeError)
    and kind is not errors.ConfigError
]


@pytest.mark.parametrize("kind", SIMPLE)
def test_an_error_is_raised_on_the_other_side_as_what_it_was(kind):
    _, status, facts = read_reply(error_frame(3, kind("why")))
    error = error_of(facts)
    assert status == "error"
    assert (type(error), str(error), error.exit_code) == (kind, "why", kind.exit_code)


@pytest.mark.parametrize(
    "facts",
    [
        {"type": "FromTheFuture", "message": "why", "exit_code": 42},
        {"type": "ConfigProblem", "message": "why", "exit_code": 42},
        {"type": "__builtins__", "message": "why", "exit_code": 42},
    ],
)
def test_an_error_of_an_unknown_class_keeps_message_and_code(facts):
    error = error_of(facts)
    assert isinstance(error, errors.OperationFailed)
    assert (str(error), error.exit_code) == ("why", 42)


def test_a_configuration_error_keeps_its_code():
    problem = errors.ConfigProblem("a.yaml", 1, 2, "tree", "is missing")
    _, _, facts = read_reply(error_frame(3, errors.ConfigError([problem])))
    assert error_of(facts).exit_code == 78
    assert "a.yaml:1:2" in str(error_of(facts))


def test_what_is_no_plain_data_is_shown_and_never_pickled():
    class Agent:
        def __repr__(self):
            return "<an agent>"

    assert read_reply(reply_frame(1, "ok", Agent()))[2] == "<an agent>"


def test_an_answer_beyond_the_limit_is_refused_before_it_is_sent():
    with pytest.raises(errors.UsageError, match="limit"):
        reply_frame(1, "ok", b"x" * (16 * 1024 * 1024))


def test_an_event_has_its_path_as_topic():
    event = {"seq": 1, "path": "/chat/bot", "event": "child_ready"}
    topic, body = event_frames(event)
    assert topic == b"/chat/bot"
    assert read_event(body) == event


def test_text_that_is_no_utf8_is_shown_and_not_refused() -> None:
    frame = reply_frame(1, "ok", {"command": "daemon \udcff"})
    assert read_reply(frame) == (1, "ok", {"command": "daemon \\udcff"})
