"""The line that shows a child to be ready, among all that it writes."""

from __future__ import annotations

import time

from supervisor_tree.runtime.logs.awaited import Awaited


def look(awaited: Awaited, data: bytes) -> str:
    return awaited.look(data, 0, len(data))


def test_the_line_is_told_once() -> None:
    awaited = Awaited(r"^now .*:\d+$")
    assert look(awaited, b"up\nnot now a:1\n") == ""
    assert look(awaited, b"up\nnow at a:1\nmore\n") == "seen"
    assert look(awaited, b"now at a:1\n") == ""


def test_only_what_is_between_the_bounds_counts() -> None:
    awaited = Awaited("ready")
    assert awaited.look(b"ready\nrest\n", 6, 11) == ""
    assert awaited.look(b"rest\nready\n", 5, 11) == "seen"


def test_a_pattern_that_goes_astray_is_given_up_once() -> None:
    awaited = Awaited("(a+)+b")
    assert look(awaited, b"aa\n") == ""
    assert look(awaited, b"a" * 4000 + b"!\n") == "given_up"
    assert look(awaited, b"a" * 4000 + b"!\n") == ""
    assert look(awaited, b"aab\n") == ""


def test_a_pattern_that_is_slow_with_every_line_is_given_up_in_the_end() -> None:
    # Never much at once; its own time is all that passes, so a busy machine earns it nothing.
    awaited = Awaited(".*.*b", clock=time.process_time)
    line = b"a" * 1000 + b"\n"
    assert "given_up" in (look(awaited, line) for _ in range(1000))


def test_a_plain_pattern_finds_its_line_behind_a_million_others() -> None:
    awaited = Awaited("listening on .*:[0-9]+")
    others = b"one more line that says nothing\n" * 8000
    assert {look(awaited, others) for _ in range(125)} == {""}
    assert look(awaited, b"listening on :80\n") == "seen"
