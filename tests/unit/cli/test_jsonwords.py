"""Messages as JSON, both ways."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from supervisor_tree.cli.jsonwords import plain, read_message
from supervisor_tree.errors import UsageError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "Expecting value at line 1, column 1; a text needs quotes"),
        ('{"a": 1,\n "b" 2}', "Expecting ':' delimiter at line 2, column 6"),
        ("", "Expecting value at line 1, column 1"),
        ("[1] 2", "Extra data at line 1, column 5"),
        ("NaN", "NaN is not a number"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text: str, said: str):
    with pytest.raises(UsageError) as refusal:
        read_message(text)
    assert said in str(refusal.value)


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch):
    for data, expected in ((b'{"a": "\xc3\xa4"}', {"a": "\xe4"}), (b"\xff", None)):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        if expected is None:
            with pytest.raises(UsageError, match="byte 0 is not UTF-8"):
                read_message("-")
        else:
            assert read_message("-") == expected


def test_what_json_has_no_form_for_is_shown_as_text():
    value = {1: b"a\xff", "x": [float("nan"), (True, None, 1.5)]}
    assert plain(value) == {"1": "a\\xff", "x": ["nan", [True, None, 1.5]]}
    assert plain(object()).startswith("<object")


def test_what_is_nested_too_deep_is_said_to_be_so():
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert plain(deep) == "(nested too deep to be shown)"
