"""Any tree becomes any other: the plan of equal trees is empty, and what is applied is in force."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor_tree.core.actions import Reply, SignalChild, StartChild
from supervisor_tree.core.applying import Outcome, Result, in_force, plan
from supervisor_tree.core.diff import ChangeAction, diff, same_shape
from supervisor_tree.core.exits import SHUTDOWN
from supervisor_tree.core.graft import graft
from supervisor_tree.core.specs import (
    AutoShutdown,
    ChildSpec,
    Restart,
    StartMode,
    Strategy,
    SupervisorSpec,
)
from supervisor_tree.core.stimuli import (
    ApplyRequested,
    BootRequested,
    ChildExited,
    ChildReady,
    ChildSpawned,
    Stimulus,
)
from supervisor_tree.core.tree import Tree

IDS = ("a", "b", "c")


@st.composite
def children(draw: st.DrawFn, child_id: str, depth: int) -> ChildSpec:
    nested = depth > 0 and draw(st.integers(0, 2)) == 0
    return ChildSpec(
        id=child_id,
        agent=None if nested else draw(st.sampled_from(["m:one", "m:two"])),
        supervisor=draw(trees(depth - 1)) if nested else None,
        restart=draw(st.sampled_from(Restart)),
        enabled=draw(st.integers(0, 4)) > 0,
        user=None if nested else draw(st.sampled_from([None, "me"])),
    )


@st.composite
def trees(draw: st.DrawFn, depth: int = 1) -> SupervisorSpec:
    names = draw(st.lists(st.sampled_from(IDS), unique=True, max_size=3))
    return SupervisorSpec(
        strategy=draw(st.sampled_from([Strategy.ONE_FOR_ONE, Strategy.REST_FOR_ONE])),
        intensity=draw(st.integers(1, 3)),
        auto_shutdown=AutoShutdown.NEVER,
        start=draw(st.sampled_from(StartMode)),
        children=tuple(draw(children(name, depth)) for name in names),
    )


class World:
    """A tree whose processes do at once what they should."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self.tree = Tree()
        self.started: list[str] = []
        self.outcomes: tuple[Outcome, ...] | None = None
        self.feed(BootRequested("/", spec))

    def feed(self, stimulus: Stimulus) -> None:
        todo = [stimulus]
        while todo:
            for action in self.tree.handle(todo.pop(0), 0.0):
                match action:
                    case StartChild(path, generation):
                        self.started.append(path)
                        todo += [ChildSpawned(path, generation, 7), ChildReady(path, generation)]
                    case SignalChild(path, generation):
                        todo.append(ChildExited(path, generation, SHUTDOWN))
                    case Reply(_, ("ok", tuple() as outcomes)):
                        self.outcomes = outcomes
            self.tree.validate()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(spec=trees())
def test_equal_trees_have_no_difference(spec):
    assert list(diff(spec, spec, {})) == []


@given(old=trees(), new=trees())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_applied_is_in_force_and_only_what_is_named_was_started(old, new):
    if not same_shape(old, new):
        new = replace(new, strategy=old.strategy, start=old.start)
    world = World(old)
    planned = plan(world.tree, new, {})
    world.started.clear()
    world.feed(ApplyRequested(1, new))
    assert world.outcomes is not None
    assert [outcome.change for outcome in world.outcomes] == planned
    assert {outcome.result for outcome in world.outcomes} <= {Result.DONE}
    assert in_force(world.tree, new) == new
    assert plan(world.tree, new, {}) == []
    assert not world.tree.parts
    births = [
        change.path
        for change in planned
        if change.action in (ChangeAction.CREATE, ChangeAction.RESTART) and not change.stays
    ]
    for path in world.started:
        assert any(path == birth or path.startswith(f"{birth}/") for birth in births)
    fresh = World(new)
    told = [(row.path, row.state, row.wanted) for row in world.tree.rows()]
    assert told == [(row.path, row.state, row.wanted) for row in fresh.tree.rows()]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(old=trees(), new=trees(), path=st.sampled_from(["/a", "/b", "/a/b", "/b/c", "/c/c/a"]))
def test_a_graft_changes_nothing_but_what_is_below_its_path(old, new, path):
    mixed = graft(old, new, [path])
    if not same_shape(old, mixed):
        return
    for change in diff(old, mixed, {}):
        assert change.path == path or change.path.startswith(f"{path}/"), change
    assert graft(old, old, [path]) == old
