"""What STATUS= says of a tree, and what is taken of a service manager's environment."""

from __future__ import annotations

from typing import Any

from supervisor_tree.core.child import ChildRow, ChildState
from supervisor_tree.core.specs import Kind
from supervisor_tree.runtime.inherited import Inherited
from supervisor_tree.runtime.service import is_starting, status_of

PID = 4711


def row(path: str, state: ChildState, **facts) -> ChildRow:
    given: dict[str, Any] = {
        **dict.fromkeys(("pid", "started_at", "last_exit", "strategy", "error")),
        **dict.fromkeys(("next_start_at", "waiting_for")),
        "path": path,
        "id": path[1:],
        "kind": Kind.PROGRAM,
        "state": state,
        "generation": 1,
        "ready": state is ChildState.RUNNING,
        "restarts": 0,
        "since": 0.0,
        "wanted": "up",
        "kept_down_by": None,
    }
    return ChildRow(**given | facts)


TOP = row("/", ChildState.RUNNING, kind=Kind.SUPERVISOR)
UP = row("/up", ChildState.RUNNING)
BACK = row("/back", ChildState.BACKOFF)


def test_status_counts_children_and_names_those_that_fail():
    assert status_of("starting", []) == "starting"
    assert status_of("ready", [TOP]) == "0 children ready"
    assert status_of("ready", [TOP, UP]) == "1 child ready"
    assert status_of("ready", [TOP, UP, BACK]) == "1 of 2 children ready; /back in backoff"
    waiting = row("/wait", ChildState.STOPPED, waiting_for="back ready")
    said = status_of("reloading", [TOP, UP, waiting])
    assert said == "reloading: 1 of 2 children ready; /wait waiting for back ready"
    many = [row(f"/{number}", ChildState.PARKED) for number in range(5)]
    said = status_of("ready", many)
    assert said == "0 of 5 children ready; /0 parked, /1 parked, /2 parked and 2 more"


def test_what_is_in_its_first_start_is_no_failure():
    first = row("/a", ChildState.STARTING)
    again = row("/b", ChildState.STARTING, restarts=1)
    assert (is_starting(first), is_starting(again)) == (True, False)
    assert status_of("starting", [first]) == "starting: 0 of 1 child ready"
    assert status_of("ready", [again]) == "0 of 1 child ready; /b starting again"


def test_a_stop_says_how_many_are_left():
    assert status_of("stopping", [TOP, row("/a", ChildState.STOPPING, pid=1)]) == (
        "stopping: 1 child left"
    )


def test_what_is_for_us_is_taken_and_leaves_the_environment():
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(PID), "A": ""}
    given = Inherited.take(environ, PID)
    assert environ == {"A": ""}
    assert (given.watched, given.watchdog_s, given.problems) == (True, 2.0, ())


def test_what_is_for_another_process_is_not_used():
    environ = {
        "NOTIFY_SOCKET": "/x",
        "WATCHDOG_USEC": "2000000",
        "WATCHDOG_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
    }
    given = Inherited.take(environ, PID)
    assert not environ
    assert (given.watchdog_s, given.sockets, given.problems) == (None, {}, ())


def test_an_embedding_program_speaks_for_itself():
    given = Inherited.take({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1"}, PID, embedded=True)
    assert (given.watched, given.watchdog_s) == (False, None)


def test_nonsense_is_told_and_not_used():
    bad = {"WATCHDOG_USEC": "soon", "LISTEN_FDS": "-1", "LISTEN_PID": str(PID)}
    given = Inherited.take(bad, PID)
    assert (given.watchdog_s, given.sockets) == (None, {})
    assert [problem.split()[0] for problem in given.problems] == ["LISTEN_FDS", "WATCHDOG_USEC"]
