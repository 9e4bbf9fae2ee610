"""A tree with some of its children as another tree has them."""

from __future__ import annotations

from dataclasses import replace

from supervisor_tree.core.graft import amended, graft
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec


def agent(id: str, module: str = "old") -> ChildSpec:
    return ChildSpec(id=id, agent=f"{module}:main")


def tree(*children: ChildSpec) -> SupervisorSpec:
    return SupervisorSpec(children=children)


def group(id: str, *children: ChildSpec) -> ChildSpec:
    return ChildSpec(id=id, supervisor=tree(*children))


def names(spec: SupervisorSpec) -> list[str]:
    return [child.id for child in spec.children]


def test_a_child_is_replaced_at_its_place():
    mixed = graft(tree(agent("a"), agent("b")), tree(agent("b", "new"), agent("a", "new")), ["/a"])
    assert mixed == tree(agent("a", "new"), agent("b"))


def test_a_child_that_the_other_has_not_is_taken_away():
    assert graft(tree(agent("a"), agent("b")), tree(), ["/a"]) == tree(agent("b"))
    assert graft(tree(agent("b")), tree(), ["/a"]) == tree(agent("b"))


def test_a_new_child_comes_after_the_one_that_it_follows():
    other = tree(agent("x"), agent("b"), agent("n"), agent("a"))
    assert names(graft(tree(agent("a"), agent("b")), other, ["/n"])) == ["a", "b", "n"]
    assert names(graft(tree(agent("a"), agent("b")), other, ["/x"])) == ["x", "a", "b"]


def test_a_child_below_a_supervisor_is_grafted_there():
    here = tree(group("s", agent("a"), agent("b")), agent("z"))
    other = tree(group("s", agent("a", "new"), agent("c")))
    mixed = graft(here, other, ["/s/a", "/s/b", "/s/c"])
    assert mixed == tree(group("s", agent("a", "new"), agent("c")), agent("z"))
    alone = tree(group("s", agent("b")), agent("z"))
    assert graft(here, tree(agent("s")), ["/s/a"]) == alone


def test_what_has_no_supervisor_here_is_passed_over():
    here = tree(agent("a"))
    assert graft(here, tree(group("s", agent("x"))), ["/s/x", "/a/x"]) == here


def off(child: ChildSpec) -> ChildSpec:
    return replace(child, enabled=False)


def test_what_was_disabled_or_enabled_meanwhile_is_so_and_nothing_else_is_touched():
    a, b, c = agent("a"), agent("b"), agent("c")
    was = tree(a, off(b), c, group("s", agent("x"), agent("y")), agent("gone"))
    now = tree(off(a), b, replace(c, description="c"), group("s", off(agent("x")), agent("y")))
    new = tree(
        agent("a", "new"),
        off(b),
        off(c),
        group("s", agent("x"), off(agent("y"))),
        agent("n"),
        agent("gone"),
    )
    assert amended(new, was, now) == tree(
        off(agent("a", "new")),
        b,
        off(c),
        group("s", off(agent("x")), off(agent("y"))),
        agent("n"),
        agent("gone"),
    )
    assert amended(new, was, was) == new
    assert amended(tree(agent("s")), was, now) == tree(agent("s"))
