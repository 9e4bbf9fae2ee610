"""The agents of examples/ do what their documentation says, as real processes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import supervisor_tree
from supervisor_tree import ChildSpec, Strategy, SupervisorSpec
from supervisor_tree.core.exits import ExitKind
from supervisor_tree.errors import OperationFailed
from tests.integration.lives import Life, Lives

Start = Callable[..., Life]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    lives = Lives(tmp_path)
    yield lives.start
    lives.close()
    for name in [name for name in sys.modules if name.split(".")[0] == "examples"]:
        del sys.modules[name]


def test_the_greeter_says_hello_and_goodbye(start: Start) -> None:
    life = start("examples.greeter:Greeter", path="/greeter", args={"greeting": "salut"})
    life.wait_for("READY")
    life.wait_for("STATUS", "says salut")
    life.send(signal.SIGTERM)
    assert life.reason().kind is ExitKind.SHUTDOWN
    assert life.output().splitlines() == [
        "INFO salut from /greeter, life 3",
        "INFO goodbye (shutdown), 0 greeted",
    ]


@pytest.mark.parametrize("args", [{"crash_at": 2}, {"crash_probability": 1.0}])
def test_the_robot_crashes_when_told_to(start: Start, args: dict[str, float]) -> None:
    life = start("examples.robot:robot", type="robot", args={"step_s": 0.001, **args})
    assert life.reason().kind is ExitKind.ABNORMAL
    assert life.notices[-1]["STATUS"].startswith("Breakdown: a gear broke in step")
    assert "a gear broke" in life.output().splitlines()[-1]


def test_the_robot_works_until_it_is_stopped(start: Start) -> None:
    life = start("examples.robot:robot", type="robot", args={"step_s": 0.001})
    life.wait_for("STATUS", "step 3")
    life.send(signal.SIGTERM)
    assert life.reason().kind is ExitKind.SHUTDOWN
    assert life.output().startswith("INFO parked after")


def test_the_worker_counts_primes_and_ends(start: Start) -> None:
    life = start("examples.worker:Worker", extra={"below": 5_000})
    assert life.reason().kind is ExitKind.NORMAL
    assert life.output() == "INFO 669 primes below 5000\n"


def test_the_worker_does_not_start_with_arguments_that_make_no_sense(start: Start) -> None:
    life = start("examples.worker:Worker", extra={"below": -1})
    assert life.end() == 1
    assert life.said() == ["ERRNO"]


def test_the_worker_can_be_stopped_while_it_works(start: Start) -> None:
    life = start("examples.worker:Worker", extra={"below": 10**9})
    life.wait_for("STATUS")
    life.send(signal.SIGTERM)
    assert life.reason().kind is ExitKind.SHUTDOWN


def test_bots_are_heard_in_the_room_and_join_its_successor() -> None:
    bot = ChildSpec(id="ping", agent="examples.chat:Bot", args={"says": "hi", "every_s": 0.01})
    room = ChildSpec(id="room", agent="examples.chat:Room")
    spec = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=(room, bot))
    with supervisor_tree.run(spec) as tree:
        tree.subscribe("chat.>")
        assert tree.receive(timeout=30).message == "/ping: hi"
        assert tree.call("/room", "who") == ["/ping"]
        tree.kill("/room")
        ready = (e for e in tree.events(timeout=30) if e["event"] == "child_ready")
        next(e for e in ready if (e["path"], e["generation"]) == ("/ping", 2))
        assert tree.call("/room", "who") == ["/ping"]


def test_without_a_room_no_bot_starts() -> None:
    bot = ChildSpec(id="ping", agent="examples.chat:Bot", args={"says": "hi"})
    with pytest.raises(OperationFailed, match="NoProcess"):
        supervisor_tree.run(SupervisorSpec(children=(bot,)))
