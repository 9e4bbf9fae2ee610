"""How long a tree may take to stop."""

from __future__ import annotations

from math import inf

import pytest

from supervisor_tree.core.budget import stop_budget
from supervisor_tree.core.specs import (
    ChildSpec,
    Need,
    StartMode,
    Strategy,
    SupervisorSpec,
)


def child(id: str, shutdown=None, **keys) -> ChildSpec:
    return ChildSpec(id=id, command=("true",), shutdown=shutdown, **keys)


def group(id: str, *children: ChildSpec, shutdown=None, **flags) -> ChildSpec:
    spec = SupervisorSpec(children=children, **flags)
    return ChildSpec(id=id, supervisor=spec, shutdown=shutdown)


CONCURRENT = StartMode.CONCURRENT


@pytest.mark.parametrize(
    ("spec", "budget_s"),
    [
        (SupervisorSpec(), 0.0),
        (SupervisorSpec(children=(child("a"), child("b", 2.0))), 7.0),
        (SupervisorSpec(children=(child("a"), child("b", 2.0)), start=CONCURRENT), 5.0),
        (SupervisorSpec(children=(child("a", "brutal_kill"),)), 0.0),
        (SupervisorSpec(children=(child("a", "infinity"),)), inf),
        (SupervisorSpec(children=(child("a", 9.0, enabled=False), child("b", 1.0))), 1.0),
        (SupervisorSpec(children=(group("s", child("a"), child("b")),)), 10.0),
        (SupervisorSpec(children=(group("s", child("a"), child("b"), shutdown=3.0),)), 3.0),
        (SupervisorSpec(children=(group("s", child("a"), shutdown="brutal_kill"),)), 0.0),
        (
            SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, child=child("x", 4.0)),
            4.0,
        ),
        (SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE), 0.0),
    ],
)
def test_the_budget_is_the_way_down_at_its_longest(spec, budget_s):
    assert stop_budget(spec) == budget_s


def test_what_is_needed_is_stopped_after_those_that_need_it():
    children = (
        child("db", 4.0),
        child("app", 3.0, needs=(Need(child="db"), Need(child="/elsewhere"))),
        child("web", 2.0, needs=(Need(child="app"),)),
        child("other", 8.0),
    )
    assert stop_budget(SupervisorSpec(children=children, start=CONCURRENT)) == 9.0


def test_a_ring_of_needs_has_an_end_all_the_same():
    ring = (child("a", 1.0, needs=(Need(child="b"),)), child("b", 1.0, needs=(Need(child="a"),)))
    assert stop_budget(SupervisorSpec(children=ring, start=CONCURRENT)) < inf
