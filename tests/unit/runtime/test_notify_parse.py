"""Datagrams of sd_notify(3)."""

from __future__ import annotations

import pytest

from supervisor_tree.runtime.notify import parse


def test_every_line_is_a_key_and_a_value() -> None:
    assert parse(b"READY=1\nSTATUS=all = well\n") == {"READY": "1", "STATUS": "all = well"}


def test_only_a_newline_ends_a_line() -> None:
    text = "a\rb\x0bc\x1cd\x85e\u2028READY=1"
    assert parse(f"STATUS={text}".encode()) == {"STATUS": text}


@pytest.mark.parametrize("data", [b"", b"\n", b"READY", b"=1", b"READY=1\nnonsense", b"\xff=1"])
def test_what_is_not_that_is_refused_whole(data: bytes) -> None:
    assert parse(data) is None
