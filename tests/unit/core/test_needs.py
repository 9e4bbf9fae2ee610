"""Rings of needs that a start could never get out of, and what only looks like one."""

from __future__ import annotations

from supervisor_tree.core.needs import find_cycle
from supervisor_tree.core.specs import ChildSpec, Need, StartMode, SupervisorSpec


def child(id: str, *needs: str, below: SupervisorSpec | None = None) -> ChildSpec:
    command = ("true",) if below is None else None
    wants = tuple(Need(child=need) for need in needs)
    return ChildSpec(id=id, command=command, supervisor=below, needs=wants)


def group(*children: ChildSpec) -> SupervisorSpec:
    return SupervisorSpec(start=StartMode.CONCURRENT, children=children)


def test_what_is_needed_by_two_ways_is_looked_at_once_and_no_ring():
    inner = group(child("eager", "/p", below=group(child("x"))))
    tree = group(
        child("s", below=inner),
        child("p", "q", "r"),
        child("q", "t"),
        child("r", "t"),
        child("t"),
    )
    assert find_cycle(tree) is None
