"""`needs`: what a child waits for before it is started.  Our extension.

A need names a sibling by id or any child by its absolute path.  It is looked at each time
the child is about to start, and again whenever the needed child changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from supervisor_tree.core.child import ALIVE, Child, ChildState
from supervisor_tree.core.specs import Condition, Need, Strategy, SupervisorSpec

if TYPE_CHECKING:
    from supervisor_tree.core.tree import Tree

__all__ = ["find_cycle", "first_missing", "needed_path"]


def needed_path(supervisor: str, need: Need) -> str:
    """The path of the child that `need`, of a child of `supervisor`, is about."""
    if need.child.startswith("/"):
        return need.child
    return f"{supervisor.rstrip('/')}/{need.child}"


def first_missing(tree: Tree, child: Child) -> tuple[str, Need] | None:
    """The first need of `child` that is not met, with the path it is about."""
    for need in child.spec.needs:
        path = needed_path(child.owner.path, need)
        if not _is_met(tree, path, need.condition):
            return path, need
    return None


def _is_met(tree: Tree, path: str, condition: Condition) -> bool:
    target = tree.children.get(path)
    if target is None:
        return condition is Condition.COMPLETED and tree.has_completed(path)
    if condition is Condition.COMPLETED:
        over = target.exit is not None or target.state is ChildState.STOPPED
        return over and target.last_exit is not None and target.last_exit.clean
    if target.exit is not None:
        return False
    if condition is Condition.READY:
        return target.state is ChildState.RUNNING
    return target.state in ALIVE and (target.pid is not None or target.inner is not None)


def find_cycle(spec: SupervisorSpec, path: str = "/") -> list[str] | None:
    """Paths of children that wait for each other, the first repeated at the end; or None.

    A need is one edge.  The order of a start makes others: a child waits for the one before it
    (unless the supervisor is concurrent), for what its supervisor waits for, and a supervisor
    is ready when its children are.  A concurrent one does not wait for those that still have to
    wait for what they need; a supervisor below it whose needs may be met at once counts as one
    that it waits for.  simple_one_for_one has no children when it starts.
    """
    edges: dict[str, list[str]] = {}
    eager: list[_Eager] = []
    _draw(spec, path, [], edges, eager)
    may_wait = [each for each in eager if _may_be_met_at_once(each, edges)]
    for above, child, _ in may_wait:
        edges[above].append(child)
    return _search(edges)


class _Eager(NamedTuple):
    """A nested supervisor with needs, `child`, below a concurrent one that may wait for it."""

    above: str
    child: str
    targets: list[str]


def _draw(
    spec: SupervisorSpec,
    path: str,
    above: list[str],
    edges: dict[str, list[str]],
    eager: list[_Eager],
) -> list[str]:
    """Add the edges of all children; return the paths that the supervisor itself waits for."""
    paths: list[str] = []
    if spec.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        return paths
    for child in spec.children:
        child_path = f"{path.rstrip('/')}/{child.id}"
        targets = [needed_path(path, need) for need in child.needs]
        waits = [*above, *targets, *(() if spec.concurrent else paths[-1:])]
        inner: list[str] = []
        if child.supervisor is not None:
            inner = _draw(child.supervisor, child_path, waits, edges, eager)
        edges[child_path] = [*waits, *inner]
        if not (spec.concurrent and child.needs):
            paths.append(child_path)
        elif child.supervisor is not None and path != "/":
            eager.append(_Eager(path, child_path, targets))
    return paths


def _may_be_met_at_once(eager: _Eager, edges: Mapping[str, list[str]]) -> bool:
    """Whether all that `eager.child` needs may be there when the supervisor above it starts.

    What waits for that supervisor itself cannot be, nor what has yet to be started below it.
    """
    above = eager.above
    return not any(
        _reaches(target, above, edges) or target.startswith(f"{above}/") for target in eager.targets
    )


def _reaches(start: str, goal: str, edges: Mapping[str, list[str]]) -> bool:
    seen: set[str] = set()
    todo = [start]
    while todo:
        node = todo.pop()
        if node == goal:
            return True
        if node not in seen:
            seen.add(node)
            todo.extend(edges.get(node, ()))
    return False


def _search(edges: Mapping[str, list[str]]) -> list[str] | None:
    """Depth first, without recursion: a cycle is an edge back to a path on the way."""
    done: set[str] = set()
    for start in edges:
        way: dict[str, Iterator[str]] = {} if start in done else {start: iter(edges[start])}
        while way:
            node = next(reversed(way))
            target = next(way[node], None)
            if target is None:
                del way[node]
                done.add(node)
            elif target in way:
                names = list(way)
                return [*names[names.index(target) :], target]
            elif target in edges and target not in done:
                way[target] = iter(edges[target])
    return None
