"""Rows and events as people read them."""

from __future__ import annotations

import pytest

from supervisor_tree.control.colour import coloured
from supervisor_tree.control.events import EventLog, reason_data
from supervisor_tree.control.logline import log_line
from supervisor_tree.control.render import event_line, status_table, tree_lines
from supervisor_tree.control.words import duration, exit_words, size, term_words
from supervisor_tree.core.exits import KILLED, NORMAL, SHUTDOWN, ExitKind, ExitReason
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import ChildSpec, Need, Restart, SupervisorSpec
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


def test_a_child_that_was_never_started_is_shown_with_the_reason():
    (_, line) = status_table([row(state="parked", ready=False, pid=None, generation=0)])
    assert "parked (safe mode)" in line
    (_, line) = status_table([row(state="parked", ready=False, pid=None, last_exit=CRASH)])
    assert "parked (exit code 3)" in line


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


def states(host: StagedHost) -> dict[str, str]:
    """Path -> its state in the table of `status`."""
    rows = host.ask("status", path="/", why=True).value
    lines = status_table(rows)
    start, stop = lines[0].index("STATE"), lines[0].index("  ", lines[0].index("STATE"))
    after = lines[0].index("PID", stop)
    return {line.split()[0]: line[start : after + 3].rstrip(" -0123456789") for line in lines[1:]}


def test_the_table_and_the_tree_say_what_keeps_a_stopped_child_down():
    host = StagedHost(
        program("done", restart=Restart.TRANSIENT),
        program("crashing", restart=Restart.TEMPORARY),
        program("held"),
        program("off", enabled=False),
        program("needy", needs=(Need(child="off"),)),
        program("gone"),
    ).boot()
    host.exit("/done", NORMAL)
    host.ask("stop", paths=["/held", "/crashing"])
    host.slow.add("/crashing")
    host.ask("start", paths=["/crashing"])
    host.exit("/crashing")
    host.ask("terminate_child", supervisor="/", id="gone")
    expected = {
        "/done": "ended normally",
        "/crashing": "start failed: exit code 1",
        "/held": "by order",
        "/off": "disabled",
        "/needy": "waits for off to be ready",
        "/gone": "by terminate_child",
    }
    found = states(host)
    assert {path: found[path] for path in expected} == {
        path: f"stopped ({words})" for path, words in expected.items()
    }
    drawn = "\n".join(tree_lines(host.ask("tree").value))
    for words in expected.values():
        assert f": {words}\n" in f"{drawn}\n"


def test_a_child_that_starts_is_not_shown_with_the_end_of_its_last_life():
    host = StagedHost(program("a")).boot()
    host.slow.add("/a")
    host.exit("/a")
    assert host.row("/a").state == "starting"
    (_, line) = tree_lines(host.ask("tree").value)
    assert "exit code" not in line


def test_a_long_error_does_not_make_a_table_or_a_tree_wider_than_a_screen():
    error = "cannot execute 'x': " + "not found, not there, not anywhere; " * 9
    failed = {"kind": "abnormal", "term": ["start_error", "exec", error]}
    for state in ("backoff", "parked", "stopped"):
        one = row(state=state, ready=False, pid=None, last_exit=failed, because="failed")
        shown = status_table([one])[1]
        assert "exec: cannot execute 'x': not found" in shown
        assert "..." in shown
        assert len(shown) < 150
        (drawn,) = tree_lines([one])
        assert len(drawn) < 120


def test_colour_changes_nothing_but_colour():
    rows = [row(), row("/b", state="parked")]
    plain, coloured = status_table(rows), status_table(rows, colour=True)
    assert plain != coloured
    stripped = [strip(line) for line in coloured]
    assert stripped == plain
    assert not any("\x1b" in line for line in plain)


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": ""}, False, False),
    ],
)
def test_colour_is_for_terminals_that_have_it(environment, terminal, expected):
    assert coloured(environment, terminal=terminal) is expected


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
    assert "ended #3 as asked: ended normally" in asked


def test_one_that_was_not_ready_in_time_says_what_was_missing():
    late = reason_data(ExitReason(kind=ExitKind.ABNORMAL, signal=9, start_timeout=4.0))
    detail = {"reason": late, "asked": False, "unmet": ["log", "tcp"]}
    line = line_of(EventName.CHILD_EXITED, detail=detail)
    assert (
        "ended #3: not ready within its start_timeout of 4.0 s: it has not written the line that "
        "shows it to be ready and takes no connections at its port"
    ) in line


def test_a_child_that_has_given_up_says_what_to_do():
    detail = {"restarts": 4, "intensity": 3, "period": 5.0}
    line = line_of(EventName.CHILD_PARKED, detail=detail)
    assert "4 restarts within 5.0 s, 3 allowed" in line
    assert "`reset-failed /chat/bot`" in line


def test_a_message_that_is_given_up_says_whose_it_was_and_where_it_is():
    detail = {"sender": "/a", "deaths": 3, "number": 1}
    line = line_of(EventName.DEAD_LETTER, detail=detail)
    assert "a message from /a is given up: 3 lives have ended over it" in line
    assert "`dead-letters 1`" in line
    lost = line_of(EventName.DEAD_LETTER, detail=detail | {"number": None})
    assert "it could not be kept" in lost


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (("status", 3), "exit code 3"),
        (["signal", 11], "killed by SIGSEGV"),
        (("init", ("status", 3)), "init: exit code 3"),
        (("init", "no key"), "init: no key"),
    ],
)
def test_a_reason_of_the_core_is_told_in_words(term, words):
    assert term_words(term) == words
    line = line_of(EventName.CHILD_BACKOFF, detail={"delay_s": 0.1, "error": term})
    assert line.endswith(f"starts again in 100 ms: {words}")


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
        (ExitReason(kind=ExitKind.ABNORMAL, oom=True, signal=9), "killed: out of memory"),
        (ExitReason(kind=ExitKind.ABNORMAL, watchdog="idle"), "silent for too long (idle)"),
        (
            ExitReason(kind=ExitKind.ABNORMAL, signal=9, start_timeout=4.0),
            "not ready within its start_timeout of 4.0 s",
        ),
        (ExitReason(kind=ExitKind.ABNORMAL, watchdog="trigger"), "ended as it asked for"),
        (ExitReason(kind=ExitKind.ABNORMAL, code=1, term=("init", "no key")), "no key"),
        (NORMAL, "ended normally"),
        (ExitReason(kind=ExitKind.NORMAL, term="normal", code=0), "exit code 0"),
        (SHUTDOWN, "stopped"),
        (ExitReason(kind=ExitKind.SHUTDOWN, term="shutdown", code=0), "stopped, exit code 0"),
    ],
)
def test_the_reason_of_an_exit_in_words(reason, words):
    assert exit_words(reason_data(reason)) == words


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({"budget": "idle", "label": "x", "silent_s": 10}, "gives no sign of life for 10.0 s; it"),
        (
            {"budget": "busy", "label": "npm\n", "silent_s": 90},
            "is busy with npm\\n for 1m30s with",
        ),
        ({"budget": "trigger", "label": None, "silent_s": 0}, "asks its watchdog to end it; it"),
    ],
)
def test_a_child_that_hangs_is_told_of_with_what_it_hangs_in(detail, words):
    assert words in line_of(EventName.CHILD_UNRESPONSIVE, detail=detail)


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


def logged(text: str, **changes) -> dict[str, object]:
    line = {"ts": "2026-01-31T10:00:00.000Z", "path": "/a", "stream": "stderr", "pid": 1}
    return line | {"generation": 3, "text": text} | changes


def test_a_log_line_names_its_stream_as_what_it_is():
    assert log_line(logged("INFO up"), whose=False, terminal=True) == (
        "2026-01-31T10:00:00.000Z stderr #3 | INFO up"
    )
    assert " /a note   #3 | " in log_line(logged("x", stream="note"), whose=True, terminal=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb", "a\tb"),
        ("\x1b[1;31mred\x1b[0m!", "\x1b[1;31mred\x1b[0m!\x1b[0m"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("50 %\r60 %\x9bm", "50 %\\r60 %\\x9bm"),
        ("\x1b[\x1b[32m", "\\x1b[\x1b[32m\x1b[0m"),
    ],
)
def test_what_a_child_wrote_cannot_move_the_cursor_of_a_terminal(text, shown):
    assert log_line(logged(text), whose=False, terminal=True).partition("| ")[2] == shown
    assert log_line(logged(text), whose=False, terminal=False).partition("| ")[2] == text
