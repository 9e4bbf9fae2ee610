"""What is left of lines that hold secrets."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree.core.secrets import DEFAULT, KNOWN, redact_rule
from supervisor_tree.runtime.logs.redaction import WITHHELD, Redaction

PASSWORD = r"(?i)password=\S+"


def shown(text: str, *patterns: str) -> str:
    return Redaction(patterns or (PASSWORD,)).lines(text.encode()).decode()


def in_pieces(text: str, size: int, *patterns: str) -> str:
    """What is written of one line that is read as it grows, `size` characters at a time."""
    redaction = Redaction(patterns or (PASSWORD,))
    waiting, written = b"", b""
    for at in range(0, len(text), size):
        waiting += text[at : at + size].encode()
        if len(waiting) >= size:
            part, taken = redaction.piece(waiting)
            assert taken > 0
            written, waiting = written + part, waiting[taken:]
    return (written + redaction.lines(waiting + b"\n")).decode()


def test_what_a_pattern_matches_is_replaced_and_the_rest_stays() -> None:
    text = "hello\nuser=a Password=hunter2 on\n\npassword=x password=y\n"
    assert shown(text) == "hello\nuser=a [redacted] on\n\n[redacted] [redacted]\n"
    assert shown("password=x") == "[redacted]"
    assert shown("nothing here\n") == "nothing here\n"


def test_matches_of_several_patterns_that_overlap_are_one() -> None:
    assert shown("abcdef\n", "abcd", "cdef") == "[redacted]\n"
    assert shown("abcdef\n", "ab", "ef") == "[redacted]cd[redacted]\n"


def test_a_pattern_sees_one_line_at_a_time() -> None:
    assert shown("key:\nvalue\n", r"key:\s*\S+", r"^value$") == "key:\n[redacted]\n"
    assert shown("a\nb\n", r"(?s)a.b") == "a\nb\n"
    assert (
        shown("id 1234\n\nid 12345\n", r"\b[0-9]{4}(?!\s|[0-9])") == "id [redacted]\n\nid 12345\n"
    )


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    data = b"\xff\xfe password=\xc3\x28x \x0b\x1c \xe2\x80\xa8 end\n"
    assert Redaction((PASSWORD,)).lines(data) == b"\xff\xfe [redacted] \x0b\x1c \xe2\x80\xa8 end\n"


@pytest.mark.parametrize("size", [1000, 3001, 8192, 20_000])
@pytest.mark.parametrize("before", [0, 990, 4090, 8185, 8190, 40_000])
def test_a_secret_that_lies_across_the_pieces_of_a_line_is_found(size: int, before: int) -> None:
    text = "x" * before + " password=" + "s" * 300 + " after " + "y" * 10_000
    written = in_pieces(text, size)
    assert "ss" not in written
    assert written == text.replace("password=" + "s" * 300, "[redacted]") + "\n"


def test_a_pattern_may_look_back_over_the_beginning_of_a_piece() -> None:
    text = "-" * 5000 + " token:" + "s" * 100 + " " + "-" * 20_000
    written = in_pieces(text, 5008, r"(?<=token:)s+")
    assert written == text.replace("s" * 100, "[redacted]") + "\n"


def test_the_rest_of_a_line_is_hidden_behind_a_secret_without_end() -> None:
    redaction = Redaction((PASSWORD,))
    part, taken = redaction.piece(b"a password=" + b"s" * 30_000)
    assert (part, taken) == (b"a [redacted]", 30_011) or part == b"a "
    written = part + redaction.lines(b"s" * 50_000 + b" end\nnext line\n")
    assert written == b"a [redacted]\nnext line\n"


@given(
    st.lists(st.sampled_from(["password=", "s3cret", " ", "\n", "x" * 700, "é", "\udcff"])),
    st.integers(500, 9000),
)
def test_pieces_show_what_whole_lines_show_or_hide_the_rest(parts: list[str], size: int) -> None:
    line = "".join(parts).replace("\n", " ").encode("utf-8", "surrogateescape")
    whole = Redaction((PASSWORD,)).lines(line + b"\n")
    redaction = Redaction((PASSWORD,))
    written, waiting = b"", line
    while len(waiting) > size:
        part, taken = redaction.piece(waiting[: size + 64])
        written, waiting = written + part, waiting[taken:]
    written += redaction.lines(waiting + b"\n")
    hidden = written.endswith(b"[redacted]\n") and whole.startswith(written[:-1])
    assert written == whole or hidden


@pytest.mark.parametrize(
    ("pattern", "line"),
    [(r"(a+)+b", "a" * 40), (r"(\S+)*@", "x" * 6000), (r"\S+\S+@", "x" * 60_000)],
)
def test_a_pattern_that_goes_astray_costs_its_line(pattern: str, line: str) -> None:
    # Uninterrupted this takes hours; the limit of the test is a minute.
    redaction = Redaction((pattern, PASSWORD))
    found = redaction.lines(f"password=1\n{line} password=2\npassword=3\n".encode()).decode()
    assert found.split("\n")[0] == "[redacted]"
    assert found.split("\n")[1].endswith(WITHHELD)
    assert "password" not in found


def test_a_flood_of_slow_lines_is_withheld_without_a_look_at_each() -> None:
    redaction = Redaction((r"(a+)+b",))
    found = redaction.lines((b"a" * 40 + b"\n") * 20_000)
    assert found == (WITHHELD.encode() + b"\n") * 20_000
    assert redaction.lines(b"aab\n") == b"[redacted]\n"


@pytest.mark.parametrize(
    "text",
    [
        "key AKIAABCDEFGHIJKLMNOP used",
        "pushed with ghp_" + "a1" * 18,
        "xoxb-1234567890-abcdef",
        "Authorization: Bearer abc.def-ghi_jkl",
        "postgres://app:hunter2@db/main",
        '{"password": "hun ter2", "user": "a"}',
        "API_KEY=abcdef&user=a",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "sk-ant-api03-abcdefghijklmnop",
    ],
)
def test_shapes_of_well_known_tokens_are_found(text: str) -> None:
    assert "[redacted]" in shown(text, DEFAULT)
    for secret in ("hunter2", "hun ter2", "abcdef", "a1a1", "ABCDEF", "abc.def", "c2lnbm"):
        assert secret not in shown(text, DEFAULT)


def test_ordinary_lines_hold_no_well_known_token() -> None:
    lines = "GET /index.html 200 in 3 ms\nhttp://host:80/path@x\nrisk-averse task-force\n"
    assert shown(lines, DEFAULT) == lines


def test_the_well_known_shapes_keep_the_rules_of_patterns() -> None:
    assert redact_rule(KNOWN) is None
    assert all(re.compile(pattern) for pattern in KNOWN)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (3, "must be a list of patterns, or default, not 3"),
        (["("], "number 1, '(': missing ), unterminated subpattern at position 0"),
        (["a", 5], "number 2, 5: is no text"),
        (["x*"], "would find nothing in every line"),
        ([""], "is empty"),
        (["a\nb"], "has a line end"),
        (["a{99999999999}"], "number 1"),
        (["[[a]"], "Possible nested set"),
        (["é" * 201], "is longer than 400 bytes"),
        (["a"] * 51, "must be at most 50 patterns, not 51"),
    ],
)
def test_what_is_no_pattern_is_refused(value: object, says: str) -> None:
    assert says in str(redact_rule(value))
