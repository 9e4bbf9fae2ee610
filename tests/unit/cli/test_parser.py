"""The words of the command line, without carrying any of them out."""

from __future__ import annotations

import pytest

from supervisor_tree.cli.parser import VERBS
from supervisor_tree.cli.parsing import EXIT_CODES, RUN_ENDS, build, parse

PROMISED = (
    *("run", "check", "schema", "status", "tree", "show", "start", "stop", "restart", "kill"),
    *("signal", "reset-failed", "events", "logs", "wait", "shutdown", "health", "doctor"),
    *("completion", "keys", "call", "cast", "publish", "subscribe", "directory"),
    *("dead-letters", "bus", "explain", "stats", "top", "enable", "disable", "plan", "apply"),
    *("operations", "report", "leaks", "unit", "clear-memory", "delete-cache", "build"),
)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said about words that are off."""
    with pytest.raises(SystemExit) as refusal:
        parse(words)
    assert refusal.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_every_promised_verb_is_there():
    assert set(PROMISED) == set(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_leads_to_a_function(name):
    module = __import__(f"supervisor_tree.cli.{VERBS[name].home}", fromlist=["_"])
    assert callable(getattr(module, name.replace("-", "_")))


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_parsed_alone_is_parsed_as_among_all(name):
    words = [name, *(["X", "Y"] if name == "signal" else [])]
    if name in (
        "run",
        "check",
        "show",
        "start",
        "stop",
        "restart",
        "kill",
        "wait",
        "logs",
        "build",
        "clear-memory",
        "delete-cache",
        "explain",
        "enable",
        "disable",
    ):
        words.append("/a")
    if name == "completion":
        words.append("bash")
    if name in ("call", "cast", "publish", "subscribe"):
        words += ["a", "{}"]
    if name == "bus":
        words.append("stats")
    alone, among = vars(parse(words)), vars(build().parse_args(words))
    alone.pop("act")
    among.pop("act")
    assert alone == among


@pytest.mark.parametrize("words", [["--json", "status"], ["status", "--json"]])
def test_json_is_understood_before_and_after_the_verb(words):
    assert parse(words).json is True
    assert parse(["status"]).json is False


def test_the_run_directory_after_the_verb_wins():
    assert parse(["--run-dir", "status", "status"]).run_dir == "status"
    assert parse(["--run-dir=/a", "status", "--run-dir", "/b"]).run_dir == "/b"
    assert parse(["status"]).run_dir is None


@pytest.mark.parametrize(
    ("word", "meant"), [("statu", "status"), ("stopp", "stop"), ("log", "logs")]
)
def test_a_misspelt_verb_is_answered_with_what_was_meant(capsys, word, meant):
    assert f"did you mean {meant}" in refused(capsys, word)


def test_a_verb_like_no_other_is_answered_with_all(capsys):
    assert "reset-failed" in refused(capsys, "xyzzyx")
    assert "the verbs are: " in refused(capsys, "xyzzy")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("status", "/a", "/b"),
        ("status", "--nonsense"),
        ("show",),
        ("stop",),
        ("wait", "/a", "--for", "godot"),
        ("wait", "/a", "--timeout", "soon"),
        ("wait", "/a", "--timeout", "-1"),
        ("wait", "/a", "--timeout", "nan"),
        ("events", "-n", "-1"),
        ("events", "--since", "x"),
        ("completion", "cmd"),
        ("signal", "HUP"),
    ],
)
def test_words_that_are_off_are_refused_with_the_usage(capsys, words):
    assert "usage: supervisor-tree" in refused(capsys, *words)


@pytest.mark.parametrize(("text", "value"), [("3", 3.0), ("250ms", 0.25), ("2m", 120.0), ("0", 0)])
def test_a_time_is_a_duration_or_a_number_of_seconds(text, value):
    assert parse(["wait", "/a", "--timeout", text]).timeout == value


def test_help_fits_a_terminal_and_names_the_exit_codes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        parse(["--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    assert "69 no host" in said
    assert max(map(len, said.splitlines())) <= 100
    for verb in VERBS:
        assert verb in said


def test_the_help_has_every_exit_code_that_is_documented():
    told = " ".join(build("run").format_help().split())
    for code, words in (*EXIT_CODES, *RUN_ENDS):
        assert f"{code} {words}" in told
