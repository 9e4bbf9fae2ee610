"""What `explain` says, over the real core."""

from __future__ import annotations

import pytest

from supervisor_tree.control.diagnosis_verbs import explained
from supervisor_tree.control.sentences import sentences
from supervisor_tree.core.exits import NORMAL
from supervisor_tree.core.explanation import Because
from supervisor_tree.core.specs import (
    Backoff,
    ChildSpec,
    Need,
    OnLimit,
    Restart,
    SupervisorSpec,
    Watchdog,
)
from supervisor_tree.core.stimuli import ChildBusy
from supervisor_tree.errors import NoSuchChild
from tests.unit.control.stage import StagedHost, program


def said(host: StagedHost, path: str) -> str:
    return "\n".join(sentences(explained(host, path)))


def group(id: str, *children: ChildSpec, **flags) -> ChildSpec:
    return ChildSpec(id=id, supervisor=SupervisorSpec(children=children, **flags))


def test_a_child_that_waits_for_its_restart_says_when_and_how_long_this_can_go_on():
    backoff = Backoff(initial=2.0, max=2.0, jitter=0.5)
    host = StagedHost(program("a", backoff=backoff), intensity=1, period=5.0).boot()
    host.exit("/a")
    assert said(host, "/a").splitlines() == [
        "/a has been in backoff for 0 ms: it has ended, and is started again in 2.0 s.",
        "Its last life ended with: exit code 1; lives that failed lasted 0 ms on average.",
        'It says: "working".',
        "It is restarted whenever it ends, after 2.0 s to 3.0 s; "
        "a life of 30.0 s begins this anew.",
        "Restarts of all children of / within the last 5.0 s: 1, and 1 are allowed; "
        "one more within the next 6.0 s, when the oldest is forgotten, is one too many.",
        "If it goes on failing as it did, / gives up at the next failure, in 2.0 s.",
        "Then / stops all children, and the host ends with exit code 70.",
    ]


def test_a_restart_that_is_rare_enough_can_go_on_for_ever():
    backoff = Backoff(initial=20.0, max=20.0)
    host = StagedHost(program("a", backoff=backoff), intensity=1, period=5.0).boot()
    host.exit("/a")
    assert "/ never gives up: the restarts are too far apart." in said(host, "/a")


def test_jitter_may_be_what_keeps_a_supervisor_from_giving_up():
    backoff = Backoff(initial=4.0, max=4.0, jitter=1.0)
    host = StagedHost(program("b", backoff=backoff), intensity=1, period=5.0).boot()
    assert "in 4.0 s at the earliest, and never with more jitter." in said(host, "/b")


def test_what_follows_is_told_up_to_the_host():
    host = StagedHost(group("s", program("x"), intensity=0), intensity=1).boot()
    told = said(host, "/s/x")
    assert "If it failed now, and then at once each time, /s gives up at the next failure." in told
    assert "which / counts (1 more restart allowed there now)" in told
    host = StagedHost(group("s", program("x"), intensity=0)).boot()
    assert "(3 more restarts allowed there now)" in said(host, "/s/x")


def test_a_supervisor_that_is_temporary_stays_down():
    spec = SupervisorSpec(children=(program("x"),), intensity=0)
    host = StagedHost(ChildSpec(id="s", supervisor=spec, restart=Restart.TEMPORARY)).boot()
    assert "/s stops all its children and stays down, by its own restart type." in said(
        host, "/s/x"
    )
    assert "It is never restarted." in said(host, "/s")


def test_a_child_that_gives_up_alone_says_how_it_comes_back():
    host = StagedHost(program("a", on_limit=OnLimit.PARK), intensity=0).boot()
    assert "/a alone stays down, until `reset-failed /a`; nobody else is touched." in said(
        host, "/a"
    )
    host.exit("/a")
    told = said(host, "/a")
    assert "has been parked for 0 ms: it has used up its restarts, and has given up." in told
    assert "To do: repair the cause, then `reset-failed /a`." in told
    assert "restarted whenever" not in told
    assert "Restarts" not in told


def test_a_supervisor_names_those_below_it_that_are_missing():
    host = StagedHost(*(program(id) for id in "abcdefg"))
    host.slow = {f"/{id}" for id in "abcdefg"}
    host.boot()
    told = said(host, "/")
    assert "it is up when its children are, and waits for /a." in told
    assert "Below it, wanted and not ready: /a, /b, /c, /d, /e and 2 more." in told
    assert "To do: `explain /a`, if that takes too long." in told


def test_a_running_supervisor_with_a_child_in_trouble_points_to_it():
    host = StagedHost(program("a", backoff=Backoff(initial=9.0))).boot()
    host.exit("/a")
    told = said(host, "/")
    assert "not all below it are ready" in told
    assert told.endswith("To do: `explain /a`.")


def test_what_a_child_needs_is_named_with_its_path():
    host = StagedHost(program("a", enabled=False), program("b", needs=(Need(child="a"),))).boot()
    told = said(host, "/b")
    assert "it needs /a to be ready first." in told
    assert told.endswith("To do: `explain /a`, if that takes too long.")
    assert "its configuration says `enabled: false`" in said(host, "/a")


def test_an_operators_stop_is_told_from_its_beginning():
    host = StagedHost(program("a", shutdown=7.0)).boot()
    host.stubborn = {"/a"}
    host.ask("stop", paths=["/a"])
    assert (
        "an operator has stopped it, and it has not ended yet; "
        "what is left of it in 7.0 s gets SIGKILL." in said(host, "/a")
    )
    host.exit("/a")
    assert said(host, "/a").endswith("To do: `start /a` starts it.")


def test_a_child_that_never_said_ready_has_a_time_limit():
    host = StagedHost(program("a", start_timeout=60.0))
    host.slow = {"/a"}
    host.boot()
    told = said(host, "/a")
    assert "has not said that it is ready; if it does not within 1m00s, its start" in told
    host.lacking = ["log", "tcp"]
    told = said(host, "/a")
    assert "has not written the line that shows it to be ready and takes no connections" in told


def test_a_child_that_is_done_says_by_which_rule():
    host = StagedHost(program("a", restart=Restart.TRANSIENT), program("b")).boot()
    host.exit("/a", NORMAL)
    assert "a transient child is not restarted after a clean end." in said(host, "/a")


def test_a_watched_child_says_how_long_it_may_be_silent():
    host = StagedHost(program("a", watchdog=Watchdog(idle=10.0, busy=60.0))).boot()
    host.clock += 4
    assert "its watchdog ends it after 6.0 s more of silence (idle)." in said(host, "/a")
    host.handle(ChildBusy("/a", 1, "npm install"))
    assert "it is as it should be, busy with npm install; its watchdog ends it after 1m00s" in said(
        host, "/a"
    )


def test_nobody_cannot_be_explained():
    with pytest.raises(NoSuchChild):
        said(StagedHost(program("a")).boot(), "/b")


def plain_facts(why: str) -> dict:
    """What the host answers of a child in some state, with nothing more to say."""
    host = StagedHost(program("a")).boot()
    about = {"about": "/b", "by": "stop", "due_in_s": 1.0, "last_exit": None}
    return explained(host, "/a") | about | {"why": why}


@pytest.mark.parametrize("why", list(Because))
def test_every_ground_has_words(why):
    _, because = sentences(plain_facts(why))[0].split(": ", 1)
    assert " " in because


def test_a_ground_of_a_later_version_is_shown_as_it_is():
    assert sentences(plain_facts("moonlight"))[0].endswith("moonlight.")
