"""Make a failing scenario small: drop what it does not need in order to fail.

Delta debugging on the structure of a scenario: operations, hooks, entries of batches,
children and outcomes are dropped, many at a time and then one by one; then members that have
a default.  What is left is small enough to be read.  Nothing is dropped that would make
the scenario one which `generate` avoids.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

__all__ = ["shrink"]

Json: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str | int, ...]
Cut: TypeAlias = tuple[Place, str | tuple[int, int]]

LISTS = ("ops", "hooks", "items", "do", "children", "plan")
OF_A_SCENARIO = ("hooks",)
OF_A_CHILD = ("plan", "plans", "sup", "on_stop", "significant", "type", "restart", "shutdown")
OF_A_SUPERVISOR = ("auto_shutdown", "intensity", "period", "strategy")
MEMBERS = (*OF_A_SCENARIO, *OF_A_CHILD, *OF_A_SUPERVISOR)


def shrink(scenario: Json, fails: Callable[[Json], bool], *, tries: int = 1500) -> Json:
    """Return a scenario for which `fails` is still true, with as little in it as was found.

    `fails(scenario)` must be true at the beginning.  At most `tries` candidates are tried.
    """
    smallest = copy.deepcopy(scenario)
    position, unchanged_since = 0, 0
    while tries > 0:
        cuts = list(_cuts(smallest))
        if not cuts or unchanged_since >= len(cuts):
            break
        position %= len(cuts)
        candidate = _without(smallest, cuts[position])
        tries -= 1
        if candidate is not None and fails(candidate):
            smallest, unchanged_since = candidate, 0
        else:
            position, unchanged_since = position + 1, unchanged_since + 1
    return smallest


def _cuts(scenario: Json) -> Iterator[Cut]:
    """Everything that may be dropped: large pieces first."""
    containers = list(_containers(scenario, ()))
    lists = [(place, value) for place, value in containers if isinstance(value, list)]
    longest = max((len(value) for _, value in lists), default=0)
    size = longest
    while size >= 1:
        for place, value in lists:
            if len(value) >= size:
                for start in range(0, len(value), size):
                    yield place, (start, min(start + size, len(value)))
        size //= 2
    upgraded = any(op["op"] == "upgrade" for op in scenario["ops"])
    for place, value in containers:
        if isinstance(value, dict):
            for key in MEMBERS:
                if key == "sup" and upgraded:  # it would be a worker before, or after
                    continue
                if key in value and _is_optional(value, key):
                    yield place, key


def _containers(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Every object, and every list of things that can be dropped, the outer ones first."""
    if isinstance(value, dict):
        yield place, value
        for key, member in value.items():
            yield from _containers(member, (*place, key))
    elif isinstance(value, list):
        if place and (place[-1] in LISTS or "plans" in place[-2:]):
            yield place, value
        for index, member in enumerate(value):
            yield from _containers(member, (*place, index))


def _is_optional(value: Json, key: str) -> bool:
    if key == "sup":  # of an operation it is an address, of a child what it is
        return isinstance(value["sup"], dict)
    if key == "strategy":
        return bool(value["strategy"] != "simple_one_for_one")
    if key == "type":  # as a worker it would have 5 s to end its whole tree
        return "sup" not in value
    if key == "shutdown":
        return value.get("on_stop") != "ignore"
    return True


def _without(scenario: Json, cut: Cut) -> Json | None:
    """A copy without what `cut` names, or None if that makes no scenario."""
    place, what = cut
    smaller = copy.deepcopy(scenario)
    target: Any = smaller
    for step in place:
        target = target[step]
    if isinstance(what, tuple):
        del target[slice(*what)]
        return smaller
    del target[what]
    if what == "on_stop":  # a short shutdown is for those alone that ignore the stop
        target.pop("shutdown", None)
    if what == "sup":
        target.pop("type", None)
    return smaller
