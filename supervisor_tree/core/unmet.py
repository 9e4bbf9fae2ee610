"""Needs of a sound specification that can never be met, each with its place."""

from __future__ import annotations

from supervisor_tree.core.needs import find_cycle, needed_path
from supervisor_tree.core.problems import Problem
from supervisor_tree.core.specs import Strategy, SupervisorSpec

__all__ = ["problems_of_cycle", "problems_of_needs"]


def problems_of_needs(spec: SupervisorSpec) -> list[Problem]:
    """Needs, in the otherwise sound specification of a whole tree, that can never be met."""
    known: set[str] = set()
    dynamic: list[str] = []
    needs: list[tuple[str, int, str]] = []
    todo = [("/", spec)]
    while todo:
        path, sup = todo.pop()
        if sup.strategy == Strategy.SIMPLE_ONE_FOR_ONE:
            dynamic.append(f"{path.rstrip('/')}/")
        for child in sup.children:
            child_path = f"{path.rstrip('/')}/{child.id}"
            known.add(child_path)
            for index, need in enumerate(child.needs):
                needs.append((child_path, index, needed_path(path, need)))
            if child.supervisor is not None:
                todo.append((child_path, child.supervisor))
    unknown = [
        Problem(path, f"needs[{index}]", f"must name a sibling or a child's path, not {target}")
        for path, index, target in needs
        if target not in known and not target.startswith(tuple(dynamic))
    ]
    return unknown or problems_of_cycle(spec)


def problems_of_cycle(spec: SupervisorSpec, path: str = "/") -> list[Problem]:
    """Children of an otherwise sound specification that would wait for each other for ever."""
    cycle = find_cycle(spec, path)
    if cycle is None:
        return []
    first, *others = cycle
    message = f"can never be met: {first} waits for {', which waits for '.join(others)}"
    return [Problem(first, "needs", message)]
