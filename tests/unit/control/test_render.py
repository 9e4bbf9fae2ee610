"""Rows and events as people read them."""

from __future__ import annotations

import pytest

from supervisor_tree.control.events import EventLog, reason_data
from supervisor_tree.control.render import (
    duration,
    event_line,
    exit_words,
    size,
    status_table,
    tree_lines,
)
from supervisor_tree.core.exits import KILLED, NORMAL, ExitKind, ExitReason
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec
from tests.unit.control.stage import StagedHost, program

CRASH = reason_data(ExitReason(kind=ExitKind.ABNORMAL, term=("status", 3), code=3))


def row(path: str = "/a", **changes):
    return {
        "path": path,
        "id": path.rpartition("/")[2],
        "kind": "agent",
        "state": "running",
        "ready": True,
        "pid": 4711,
        "generation": 3,
        "restarts": 2,
        "uptime_s": 187.0,
        "wanted": "up",
        "last_exit": None,
        "rss_bytes": 6_100_000,
        "cpu_percent": 0.25,
    } | changes


def line_of(name: EventName, path: str = "/chat/bot", **facts) -> str:
    detail = facts.pop("detail", {})
    event = LifecycleEvent(event=name, path=path, generation=3, detail=detail, **facts)
    return event_line(EventLog("demo", "life").append(event, 1_700_000_000.0))


def test_the_columns_of_a_table_stand_under_their_headings():
    lines = status_table([row(), row("/chat/a-longer-name", state="starting", pid=None)])
    heading = lines[0]
    assert " ".join(heading.split()) == "PATH KIND STATE PID GEN RESTARTS UPTIME MEMORY CPU"
    for line in lines[1:]:
        assert line[heading.index("KIND") :].startswith("agent")
    assert "3m07s" in lines[1]
    assert "6.1 MB" in lines[1]
    assert lines[2][: heading.index("GEN")].rstrip().endswith("-")


def test_the_table_says_why_a_child_is_not_running():
    assert "parked (exit code 3)" in status_table([row(state="parked", last_exit=CRASH)])[1]
    stopped = row(state="stopped", wanted="down", last_exit=CRASH)
    assert "exit code" not in status_table([stopped])[1], "it is down because it is wanted down"
    assert "running (not ready)" in status_table([row(ready=False)])[1]


def test_colour_changes_nothing_but_colour():
    rows = [row(), row("/b", state="parked")]
    plain, coloured = status_table(rows), status_table(rows, colour=True)
    assert plain != coloured
    stripped = [strip(line) for line in coloured]
    assert stripped == plain
    assert not any("\x1b" in line for line in plain)


def strip(line: str) -> str:
    parts = line.split("\x1b[")
    return parts[0] + "".join(part.partition("m")[2] for part in parts[1:])


def test_a_tree_is_drawn_with_its_branches():
    inner = SupervisorSpec(children=(program("b"), program("c")))
    host = StagedHost(program("a"), ChildSpec(id="chat", supervisor=inner), program("z")).boot()
    labels = [line[: line.index("running")].rstrip() for line in tree_lines(host.ask("tree").value)]
    assert labels == [
        "/ one_for_one",
        "├─ a",
        "├─ chat one_for_one",
        "│  ├─ b",
        "│  └─ c",
        "└─ z",
    ]


def test_an_empty_tree_is_no_lines():
    assert tree_lines([]) == []


@pytest.mark.parametrize("name", list(EventName))
def test_every_event_is_one_line_that_names_its_path(name):
    line = line_of(name)
    assert line.startswith("2023-11-14T22:13:20.000Z /chat/bot")
    assert len(line.split(maxsplit=2)[2]) > 4
    assert "\n" not in line
    assert "None" not in line.partition("/chat/bot")[2] or name in (
        EventName.SPAWNER_STARTED,
        EventName.INTENSITY_REACHED,
        EventName.SUPERVISOR_RESTARTING,
        EventName.CHILD_PARKED,
    ), line


def test_an_exit_says_how_and_after_what_use():
    usage = {"cpu_s": 0.5, "max_rss_bytes": 12_000_000, "wall_s": 3.25}
    line = line_of(EventName.CHILD_EXITED, detail={"reason": KILLED, "rusage": usage})
    assert "ended #3: killed by SIGKILL after 3.2 s (0.50 s cpu, 12.0 MB)" in line
    asked = line_of(EventName.CHILD_EXITED, detail={"reason": NORMAL, "asked": True})
    assert "ended #3 as asked: normal" in asked


def test_a_child_that_has_given_up_says_what_to_do():
    detail = {"restarts": 4, "intensity": 3, "period": 5.0}
    line = line_of(EventName.CHILD_PARKED, detail=detail)
    assert "4 restarts within 5.0 s, 3 allowed" in line
    assert "`reset-failed /chat/bot`" in line


def test_what_a_child_says_cannot_move_the_cursor_or_begin_a_line():
    evil = "\x1b[2J\nfake line\r\u202e"
    line = line_of(EventName.CHILD_STOPPED, detail={"error": ("init", evil)})
    assert "fake line" in line
    assert not set(evil[:1] + "\n\r\u202e") & set(line)
    drawn = status_table([row("/a\x1b[31m\n")])
    assert len(drawn) == 2
    assert not any("\x1b" in text or "\n" in text for text in drawn)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (ExitReason(kind=ExitKind.ABNORMAL, signal=11, term=("signal", 11)), "killed by SIGSEGV"),
        (ExitReason(kind=ExitKind.ABNORMAL, signal=63), "killed by signal 63"),
        (ExitReason(kind=ExitKind.SHUTDOWN, signal=15, term="shutdown"), "stopped by SIGTERM"),
        (ExitReason(kind=ExitKind.ABNORMAL, oom=True, signal=9), "out of memory"),
        (ExitReason(kind=ExitKind.ABNORMAL, watchdog="idle"), "silent for too long (idle)"),
        (ExitReason(kind=ExitKind.ABNORMAL, code=1, term=("init", "no key")), "no key"),
        (NORMAL, "normal"),
    ],
)
def test_the_reason_of_an_exit_in_words(reason, words):
    assert exit_words(reason_data(reason)) == words


def test_a_reason_that_nobody_knows_is_said_to_be_so():
    assert exit_words(None) == "unknown"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1m00s"),
        (3599.4, "59m59s"),
        (3600, "1h00m"),
        (90061, "1d01h"),
    ],
)
def test_a_duration_changes_its_unit_without_a_seam(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (6_100_000, "6.1 MB"), (2e12, "2.0 TB")],
)
def test_a_size_is_shown_in_powers_of_a_thousand(count, text):
    assert size(count) == text
