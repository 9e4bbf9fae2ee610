"""Interceptors in a real tree: what passes, what does not, and what their deaths cost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import supervisor_tree
from supervisor_tree import AgentDown, CallTimeout, ChildSpec, NoProcess, Rejected, SupervisorSpec
from supervisor_tree.embed import RunningTree

HERE = "tests.integration.interceptors"
DEADLINE_S = 30.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningTree]]:
    trees: list[RunningTree] = []
    (tmp_path / "journal").touch()

    def start(*children: ChildSpec) -> RunningTree:
        spec = SupervisorSpec(children=children, intensity=100, period=5.0)
        trees.append(supervisor_tree.run(spec))
        return trees[-1]

    yield start
    for tree in trees:
        tree.close()


def agent(id: str, name: str, **more: Any) -> ChildSpec:
    return ChildSpec(id=id, agent=f"{HERE}:{name}", **more)


def guard(id: str = "guard", name: str = "Guard", **args: Any) -> ChildSpec:
    return agent(id, name, intercepts=("/journal", "/pool/>"), args=args)


@pytest.fixture
def journal(tmp_path: Path) -> Callable[..., ChildSpec]:
    def journal(id: str = "journal", **more: Any) -> ChildSpec:
        return agent(id, "Journal", args={"file": str(tmp_path / "journal")}, **more)

    return journal


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[], list[list[str]]]:
    return lambda: [line.split() for line in (tmp_path / "journal").read_text().splitlines()]


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if result := condition():
            return result
        threading.Event().wait(0.01)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def test_an_interceptor_sees_changes_and_refuses_and_the_sender_stays_who_it_is(
    start, journal, rows
) -> None:
    tree = start(guard(), journal(), agent("source", "Source"))
    assert tree.call("/source", ["/journal", ["hello"]]) == ["/source", ["hello", "g"]]
    with pytest.raises(Rejected, match="not this"):
        tree.call("/journal", "bad")
    for message in ("one", "bad", "slow", "two"):
        tree.cast("/journal", message)
    assert tree.flush()
    assert [row[2] for row in rows()] == ["one", "slow", "two"]
    assert all(row[1].startswith("/_/clients/") for row in rows())
    seen = tree.call("/guard", "seen")
    assert seen[0] == ["/source", "/journal", "call", ["hello"]]
    assert [row[2:] for row in seen[2:]] == [["cast", m] for m in ("one", "bad", "slow", "two")]


def test_several_interceptors_stand_in_a_row_in_the_order_of_the_tree(start, journal) -> None:
    tree = start(guard("a", mark="a"), guard("b", "Stamp", mark="b"), journal())
    assert tree.call("/journal", ["x"])[1] == ["x", "a", "b"]
    assert tree.call("/b", "seen")[0][1:] == ["/journal", "call", ["x", "a"]]


def test_a_pool_is_intercepted_by_its_members(start, journal) -> None:
    members = SupervisorSpec(
        children=tuple(journal(id, capabilities=("keeping",)) for id in ("a", "b"))
    )
    tree = start(guard(), ChildSpec(id="pool", supervisor=members))
    for _ in range(4):
        assert tree.call("pool:keeping", ["x"])[1] == ["x", "g"]
    assert {row[1] for row in tree.call("/guard", "seen")} == {"/pool/a", "/pool/b"}


def test_who_goes_past_an_interceptor_is_refused_and_reported(start, journal, rows) -> None:
    tree = start(guard(), journal(), agent("bypass", "Bypass"))
    tree.cast("/bypass", ["/journal", 3])

    events = tree.events(timeout=DEADLINE_S)
    event = next(event for event in events if event["event"] == "message_refused")
    events.close()
    assert (event["path"], event["sender"]) == ("/journal", "/bypass")
    assert rows() == []


def test_an_interceptor_that_is_down_is_named_and_casts_wait_for_it(start, journal, rows) -> None:
    tree = start(guard(), journal())
    tree.stop("/guard")
    with pytest.raises(AgentDown, match="/guard, which intercepts what is for /journal"):
        tree.call("/journal", "hello")
    tree.cast("/journal", "later")
    tree.start("/guard")
    assert tree.flush(DEADLINE_S)
    assert [row[2] for row in rows()] == ["later"]


def test_a_caller_learns_of_the_death_of_the_callee_behind_an_interceptor(start, journal) -> None:
    tree = start(guard(), journal())
    with pytest.raises(AgentDown, match="/journal has ended"):
        tree.call("/journal", "die", timeout=DEADLINE_S)


@pytest.mark.parametrize("victim", ["/guard", "/journal"])
def test_no_cast_is_lost_or_handled_twice_by_one_life_whoever_is_killed(
    start, journal, rows, victim
) -> None:
    count, kills = 3000, 6
    tree = start(guard(), journal(), agent("source", "Source"))
    tree.cast("/source", ["/journal", count])
    for _ in range(kills):
        before = len(rows())
        until(lambda before=before: len(rows()) > min(before + 100, count - 1), "progress")
        with contextlib.suppress(AgentDown, CallTimeout, NoProcess):
            os.kill(tree.call(victim, "pid"), signal.SIGKILL)
    until(lambda: {row[2] for row in rows()} == {str(n + 1) for n in range(count)}, "the rest")
    assert tree.call("/source", "flush", timeout=DEADLINE_S) is True
    by_life: dict[str, list[int]] = {}
    seen: set[int] = set()
    for life, _sender, number, redelivered in rows():
        by_life.setdefault(life, []).append(int(number))
        assert int(number) not in seen or redelivered == "1"
        seen.add(int(number))
    for numbers in by_life.values():
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "out of order, or with a hole"
