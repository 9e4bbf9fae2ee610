"""Secrets do not get into reports, and what is none stays readable."""

from __future__ import annotations

import pytest

from supervisor_tree.control.redaction import HIDDEN, is_secret, redacted


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("GITHUB_TOKEN", True),
        ("db_password", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("apiKey", True),
        ("SENTRY_DSN", True),
        ("PATH", False),
        ("LANG", False),
        ("restart", False),
        ("author", False),
    ],
)
def test_a_name_tells(name, secret):
    assert is_secret(name) is secret


def test_values_under_telling_names_are_hidden_at_any_depth():
    data = {
        "id": "bot",
        "env": {"MY_TOKEN": "abc", "PLAIN": "x"},
        "args": {"api_key": "k", "nested": [{"password": 7, "port": 7}], "secrets": ["a", "b"]},
        "enabled": True,
        "token": None,
    }
    assert redacted(data) == {
        "id": "bot",
        "env": {"MY_TOKEN": HIDDEN, "PLAIN": "x"},
        "args": {
            "api_key": HIDDEN,
            "nested": [{"password": HIDDEN, "port": 7}],
            "secrets": [HIDDEN, HIDDEN],
        },
        "enabled": True,
        "token": None,
    }


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["run", "--token", "abc", "-v"], ["run", "--token", HIDDEN, "-v"]),
        (["run", "--token=abc", "x"], ["run", f"--token={HIDDEN}", "x"]),
        (["env", "API_KEY=abc", "run"], ["env", f"API_KEY={HIDDEN}", "run"]),
        (["run", "--token", "--verbose"], ["run", "--token", "--verbose"]),
        (["run", "--tokens-file"], ["run", "--tokens-file"]),
        (["sleep", "1000"], ["sleep", "1000"]),
    ],
)
def test_words_of_a_command_are_hidden_after_telling_flags(command, shown):
    assert redacted({"command": command})["command"] == shown


def test_a_password_in_an_address_and_a_known_token_are_hidden_wherever_they_are():
    url = redacted("postgres://shop:hunter2@db/shop")
    assert "hunter2" not in url
    assert url.endswith("@db/shop")
    assert "ghp_" not in redacted(["x", "ghp_" + "a" * 36])[1]


def test_bytes_under_a_telling_name_are_hidden_too():
    assert redacted({"key": b"k", "agent": b"code"}) == {"key": HIDDEN, "agent": b"code"}
