"""Of what a child's environment is made, and which part of it is the host's alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["Variable", "is_owned", "layered"]

_OWNED_PREFIXES = ("SUPERVISOR_TREE_", "LISTEN_")
_OWNED_KEYS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})


class Variable(NamedTuple):
    """One variable, where its value comes from, and which layers had said something else."""

    key: str
    value: str
    origin: str
    instead_of: tuple[str, ...]


def is_owned(key: str) -> bool:
    """Keys that only the host sets: they are neither inherited nor overridden."""
    return key in _OWNED_KEYS or key.startswith(_OWNED_PREFIXES)


def layered(layers: Iterable[tuple[str, Mapping[str, str]]]) -> list[Variable]:
    """What is in force of (origin, variables), of which the later ones win; sorted by key."""
    found: dict[str, Variable] = {}
    for origin, variables in layers:
        for key, value in variables.items():
            former = found.get(key)
            beaten = () if former is None else (*former.instead_of, former.origin)
            found[key] = Variable(key, value, origin, beaten)
    return sorted(found.values())
