"""`start` of a group: whatever an operator has stopped below it, alone or with more, comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree.core.actions import Action, Reply, SignalChild, StartChild
from supervisor_tree.core.exits import SHUTDOWN
from supervisor_tree.core.specs import ChildSpec, StartMode, Strategy, SupervisorSpec
from supervisor_tree.core.stimuli import (
    BootRequested,
    ChildExited,
    ChildReady,
    ChildSpawned,
    HoldRequested,
    ReleaseRequested,
    Stimulus,
)
from supervisor_tree.core.tree import Tree

PATHS = ("/g", "/g/a", "/g/b", "/g/s", "/g/s/x", "/g/s/y", "/z")


def obeyed(tree: Tree, stimulus: Stimulus) -> list[Reply]:
    """What is answered when every process does at once what it is told."""
    replies: list[Reply] = []
    todo: list[Action] = tree.handle(stimulus, 0.0)
    while todo:
        match todo.pop(0):
            case StartChild(path, generation):
                life = (path, generation)
                todo += tree.handle_all([ChildSpawned(*life, 7), ChildReady(*life)], 0.0)
            case SignalChild(path, generation):
                todo += tree.handle(ChildExited(path, generation, SHUTDOWN), 0.0)
            case Reply() as reply:
                replies.append(reply)
    tree.validate()
    return replies


def group(id: str, *children: ChildSpec, **flags: object) -> ChildSpec:
    return ChildSpec(id=id, supervisor=SupervisorSpec(children=children, **flags))  # type: ignore[arg-type]


@given(
    stops=st.lists(st.sampled_from(PATHS), max_size=6),
    strategy=st.sampled_from([Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]),
    start=st.sampled_from(StartMode),
)
def test_nothing_below_a_group_that_was_started_is_down(
    stops: list[str], strategy: Strategy, start: StartMode
) -> None:
    a, b, x, y, z = (ChildSpec(id=id, agent="m:a") for id in "abxyz")
    inner = group("s", x, y, strategy=strategy, start=start)
    spec = SupervisorSpec(children=(group("g", a, b, inner, start=start), z))
    tree = Tree()
    obeyed(tree, BootRequested("/", spec))
    for number, path in enumerate(stops, 1):
        obeyed(tree, HoldRequested(number, path))
    (reply,) = obeyed(tree, ReleaseRequested(99, "/g"))
    assert (reply.request, reply.result[0]) == (99, "ok")
    assert not tree.parts
    below = tree.rows("/g")
    assert len(below) == len(PATHS) - 1
    assert {row.state for row in below} == {"running"}
    assert {row.wanted for row in below} == {"up"}
    # Who is not below the group stays as it was.
    assert (tree.row("/z").state == "running") == ("/z" not in stops)
