"""Rings of needs: what is refused when a configuration is read is just what would never be up."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervisor_tree.core.actions import StartChild
from supervisor_tree.core.needs import find_cycle
from supervisor_tree.core.specs import (
    ChildSpec,
    Condition,
    Need,
    StartMode,
    Strategy,
    SupervisorSpec,
)
from supervisor_tree.core.stimuli import BootRequested, ChildReady, ChildSpawned
from supervisor_tree.core.tree import Tree

NEEDED = ("/a", "/b", "/c", "/a/a", "/a/b", "/b/a", "/b/b", "/c/a")

coins = st.integers(0, 2).map(lambda n: n == 0)


@st.composite
def supervisors(draw: st.DrawFn, depth: int = 2) -> SupervisorSpec:
    """Up to three children at each of three levels, many of them with a need."""
    strategy, mode = draw(st.sampled_from(Strategy)), draw(st.sampled_from(StartMode))
    names = "a" if strategy is Strategy.SIMPLE_ONE_FOR_ONE else "abc"[: draw(st.integers(1, 3))]
    children = []
    for name in names:
        needed = draw(st.one_of(st.none(), st.sampled_from(NEEDED)))
        nested = depth > 0 and draw(coins)
        children.append(
            ChildSpec(
                id=name,
                agent=None if nested else "m:a",
                supervisor=draw(supervisors(depth - 1)) if nested else None,
                needs=() if needed is None else (Need(child=needed, condition=Condition.READY),),
            )
        )
    return SupervisorSpec(strategy=strategy, start=mode, children=tuple(children))


def started(spec: SupervisorSpec, path: str = "") -> Iterator[tuple[str, ChildSpec]]:
    """All children of the specification, by path; a template is none."""
    if spec.strategy is not Strategy.SIMPLE_ONE_FOR_ONE:
        for child in spec.children:
            yield f"{path}/{child.id}", child
            if child.supervisor is not None:
                yield from started(child.supervisor, f"{path}/{child.id}")


def comes_up(spec: SupervisorSpec, paths: list[str], order: Random) -> bool:
    """Whether all are running in the end, if every start succeeds, in any order."""
    tree = Tree()
    todo = tree.handle(BootRequested("/", spec), 0.0)
    while todo:
        action = todo.pop(order.randrange(len(todo)))
        if isinstance(action, StartChild):
            life = (action.path, action.generation)
            todo += tree.handle_all([ChildSpawned(*life, 7), ChildReady(*life)], 0.0)
    rows = [tree.row(path) for path in ["/", *paths]]
    return all(row is not None and row.state == "running" for row in rows)


def depends_on_who_is_first(spec: SupervisorSpec) -> bool:
    """A supervisor with a need is below a concurrent one, which waits for it if the need is met."""
    return any(
        (spec.concurrent and bool(child.needs)) or depends_on_who_is_first(child.supervisor)
        for child in spec.children
        if child.supervisor is not None
    )


def needing(child_id: str, need: str, inner: SupervisorSpec | None = None) -> ChildSpec:
    agent = None if inner else "m:a"
    return ChildSpec(id=child_id, agent=agent, supervisor=inner, needs=(Need(child=need),))


# /b/a is started at once, as /a is there, and waits for its child, which waits for /b.
EAGER = SupervisorSpec(
    children=(
        ChildSpec(id="a", agent="m:a"),
        ChildSpec(
            id="b",
            supervisor=SupervisorSpec(
                start=StartMode.CONCURRENT,
                children=(needing("a", "/a", SupervisorSpec(children=(needing("a", "/b"),))),),
            ),
        ),
    )
)


@example(spec=EAGER, order=Random(0))
@settings(max_examples=600)
@given(spec=supervisors(), order=st.randoms(use_true_random=False))
def test_a_tree_without_a_ring_comes_up_and_one_with_a_ring_never_does(
    spec: SupervisorSpec, order: Random
) -> None:
    children = dict(started(spec))
    known = all(need.child in children for child in children.values() for need in child.needs)
    if find_cycle(spec) is None:
        assert not known or comes_up(spec, list(children), order)
    elif not depends_on_who_is_first(spec):
        assert not comes_up(spec, list(children), order)
