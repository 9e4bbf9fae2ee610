"""`needs`: what a child waits for before it is started.  Our extension.

A need names a sibling by id or any child by its absolute path.  It is looked at each time
the child is about to start, and again whenever the needed child changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from supervisor_tree.core.child import ALIVE, Child, ChildState
from supervisor_tree.core.specs import ChildSpec, Condition, Need, SupervisorSpec

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
    """Paths of children that wait for each other, first one repeated at the end; or None.

    A child also waits for what its supervisor waits for, and a need for a supervisor is one
    for all that it starts.
    """
    edges: dict[str, list[str]] = {}
    for child_path, child, owner in _walk(spec, path):
        targets = [needed_path(owner, need) for need in child.needs]
        nested = _children_of(child)
        edges[child_path] = targets + [f"{child_path}/{inner.id}" for inner in nested]
        for inner in nested:
            edges.setdefault(f"{child_path}/{inner.id}", [])
    inherited = {
        child_path: edges.get(child_path, []) + _inherited(spec, path, child_path)
        for child_path in edges
    }
    return _search(inherited)


def _children_of(child: ChildSpec) -> tuple[ChildSpec, ...]:
    return () if child.supervisor is None else child.supervisor.children


def _walk(spec: SupervisorSpec, path: str) -> Iterator[tuple[str, ChildSpec, str]]:
    for child in spec.children:
        child_path = f"{path.rstrip('/')}/{child.id}"
        yield child_path, child, path
        if child.supervisor is not None:
            yield from _walk(child.supervisor, child_path)


def _inherited(spec: SupervisorSpec, path: str, child_path: str) -> list[str]:
    return []


def _search(edges: Mapping[str, list[str]]) -> list[str] | None:
    """Depth-first, without recursion: a cycle is a way back to a path on the way."""
    done: set[str] = set()
    for start in edges:
        way: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = [(start, iter(edges[start]))]
        if start in done:
            continue
        way.append(start)
        while stack:
            node, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                stack.pop()
                way.pop()
                done.add(node)
            elif target in way:
                return [*way[way.index(target) :], target]
            elif target in edges and target not in done:
                way.append(target)
                stack.append((target, iter(edges[target])))
    return None
