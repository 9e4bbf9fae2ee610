"""What comes late, twice, early or for nobody changes nothing that it should not."""

from __future__ import annotations

import pytest

from supervisor_tree.core import tree as tree_module
from supervisor_tree.core.actions import Action, Reply, SetTimer, StartChild, TreeEnded
from supervisor_tree.core.exits import ExitKind, ExitReason
from supervisor_tree.core.specs import Backoff, ChildSpec, Restart, Strategy, SupervisorSpec
from supervisor_tree.core.stimuli import (
    BootRequested,
    ChildExited,
    ChildReady,
    ChildSpawned,
    ShutdownRequested,
    StartChildRequested,
    Stimulus,
    TerminateChildRequested,
    TimerFired,
    TimerKey,
)
from supervisor_tree.core.tree import Tree

BOOM = ExitReason(kind=ExitKind.ABNORMAL, term="boom", code=1)
DELAY = Backoff(initial=1.0, factor=2.0, max=30.0, jitter=0.0)


def agent(child_id: str, **fields: object) -> ChildSpec:
    return ChildSpec(id=child_id, agent="m:a", **{"start_timeout": None, **fields})  # type: ignore[arg-type]


def booted(*children: ChildSpec, strategy: Strategy = Strategy.ONE_FOR_ONE) -> Tree:
    """A tree of children that have all become ready."""
    tree = Tree()
    spec = SupervisorSpec(strategy=strategy, children=children)
    follow(tree, tree.handle(BootRequested("/", spec), 0.0), 0.0)
    return tree


def follow(tree: Tree, actions: list[Action], now: float) -> None:
    """Let every start that is asked for succeed."""
    todo = list(actions)
    while todo:
        action = todo.pop(0)
        if isinstance(action, StartChild):
            life = (action.path, action.generation)
            todo += tree.handle_all([ChildSpawned(*life, 7), ChildReady(*life)], now)


def state(tree: Tree, path: str) -> str:
    row = tree.row(path)
    assert row is not None
    return row.state.value


def test_notices_about_unknown_children_and_former_lives_are_ignored():
    tree = booted(agent("a"))
    strays: list[Stimulus] = [ChildExited("/nobody", 1, BOOM), ChildExited("/a", 9, BOOM)]
    strays += [TimerFired(TimerKey("/nobody", "start", 1)), TimerFired(TimerKey("/a", "start", 9))]
    assert tree.handle_all(strays, 1.0) == []
    assert state(tree, "/a") == "running"


def test_a_birth_that_is_told_twice_is_one_birth():
    tree = Tree()
    tree.handle(BootRequested("/", SupervisorSpec(children=(agent("a"),))), 0.0)
    assert tree.handle(ChildSpawned("/a", 1, 7), 0.0)
    assert tree.handle(ChildSpawned("/a", 1, 8), 0.0) == []
    tree.handle(ShutdownRequested("/"), 1.0)
    assert state(tree, "/a") == "stopping"
    assert tree.handle(ChildSpawned("/a", 1, 9), 1.0) == []
    assert tree.children["/a"].pid == 7


def test_a_tree_boots_once_and_an_unknown_one_cannot_be_shut_down():
    tree = booted(agent("a"))
    assert tree.handle(BootRequested("/", SupervisorSpec()), 1.0) == []
    assert tree.handle(ShutdownRequested("/_"), 1.0) == []
    assert state(tree, "/a") == "running"


def test_an_order_to_end_a_life_that_is_over_is_fulfilled():
    tree = booted(agent("a"))
    follow(tree, tree.handle(ChildExited("/a", 1, BOOM), 1.0), 1.0)
    late = TerminateChildRequested(1, "/", "a", generation=1)
    assert tree.handle(late, 2.0) == [Reply(1, ("ok",))]
    assert state(tree, "/a") == "running"
    nobody = TerminateChildRequested(2, "/", "b", generation=1)
    assert tree.handle(nobody, 2.0) == [Reply(2, ("ok",))]


def test_no_specification_is_no_child():
    tree = booted()
    refused = ("error", ("invalid_child_spec", None))
    assert tree.handle(StartChildRequested(1, "/"), 0.0) == [Reply(1, refused)]


@pytest.mark.parametrize("name", ["start", "shutdown", "backoff"])
def test_a_timer_that_fires_although_it_is_not_set_does_nothing(name: str):
    tree = Tree()
    spec = SupervisorSpec(children=(agent("a", backoff=DELAY, start_timeout=3.0, shutdown=2.0),))
    tree.handle(BootRequested("/", spec), 0.0)
    stray = TimerFired(TimerKey("/a", "of another kind", 1))
    if name != "start":
        tree.handle_all([ChildSpawned("/a", 1, 7), ChildReady("/a", 1)], 0.0)
    if name == "shutdown":
        tree.handle(TerminateChildRequested(1, "/", "a"), 0.0)
    if name == "backoff":
        tree.handle(ChildExited("/a", 1, BOOM), 0.0)
    set_to = tree.children["/a"].timer
    assert set_to is not None
    assert set_to.name == name
    assert tree.handle(stray, 99.0) == []
    assert tree.children["/a"].timer == set_to


def test_a_timer_that_fires_too_early_is_set_again():
    tree = Tree()
    spec = SupervisorSpec(children=(agent("a", start_timeout=3.0),))
    tree.handle(BootRequested("/", spec), 0.0)
    key = TimerKey("/a", "start", 1)
    assert tree.handle(TimerFired(key), 2.5) == [SetTimer(key, 3.0)]
    assert state(tree, "/a") == "starting"


def test_a_delay_that_a_failure_has_made_longer_is_not_over_when_the_shorter_one_is():
    """rest_for_one: b waits; its timer fires in the moment in which a, before it, crashes."""
    slow = Backoff(initial=3.0, factor=2.0, max=30.0, jitter=0.0)
    tree = booted(
        agent("a", backoff=slow), agent("b", backoff=DELAY), strategy=Strategy.REST_FOR_ONE
    )
    tree.handle(ChildExited("/b", 1, BOOM), 0.0)
    fired = TimerFired(TimerKey("/b", "backoff", 1))
    actions = tree.handle_all([ChildExited("/a", 1, BOOM), fired], 1.0)
    assert not [action for action in actions if isinstance(action, StartChild)]
    assert [tree.children[path].deadline for path in ("/a", "/b")] == [4.0, 4.0]


def test_without_a_source_of_chance_delays_are_as_short_as_they_can_be():
    tree = booted(agent("a", backoff=Backoff(initial=1.0, max=9.0, jitter=0.5)))
    actions = tree.handle(ChildExited("/a", 1, BOOM), 10.0)
    assert [action.at for action in actions if isinstance(action, SetTimer)] == [11.0]


def test_only_so_many_forgotten_children_are_remembered(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tree_module, "_FORGOTTEN_KEPT", 2)
    tree = booted(*(agent(child_id, restart=Restart.TEMPORARY) for child_id in "abc"))
    for child_id in "abc":
        tree.handle(ChildExited(f"/{child_id}", 1, BOOM), 1.0)
    assert tree.story("/a") == []
    assert [tree.next_generation(path) for path in ("/a", "/c")] == [1, 2]
    assert tree.story("/b")[-1] == (1.0, "running", "stopped", "ended")


def test_readers_learn_nothing_of_a_path_that_is_not_there():
    tree = booted(agent("a"))
    assert tree.rows("/nobody") == []
    assert tree.spec("/a") == agent("a")
    assert tree.spec("/nobody") is None


def test_a_tree_that_ends_answers_with_its_end():
    tree = booted()
    [ended] = tree.handle(ShutdownRequested("/"), 1.0)
    assert isinstance(ended, TreeEnded)
    assert tree.rows() == []
