"""A tree with some of its children as another tree has them.

So one child alone is reloaded from a file, so the child of a file that cannot be read goes on as
it was, and so an order of `disable` is kept that was given after a file was read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from supervisor_tree.core.specs import ChildSpec, SupervisorSpec

__all__ = ["amended", "graft"]


def graft(spec: SupervisorSpec, other: SupervisorSpec, paths: Iterable[str]) -> SupervisorSpec:
    """`spec` in which the children at `paths` are what they are in `other`, or are not there.

    One that is new comes after the sibling that it follows in `other`.  What has no supervisor
    here is passed over.
    """
    for path in paths:
        spec = _grafted(spec, other, path.strip("/").split("/"))
    return spec


def amended(spec: SupervisorSpec, was: SupervisorSpec, now: SupervisorSpec) -> SupervisorSpec:
    """`spec` in which is disabled or enabled what has become so between `was` and `now`."""
    before = {child.id: child for child in was.children}
    after = {child.id: child for child in now.children}

    def turned(child: ChildSpec) -> ChildSpec:
        old, new = before.get(child.id), after.get(child.id)
        if old is None or new is None or old is new:
            return child
        if old.enabled != new.enabled:
            child = replace(child, enabled=new.enabled)
        match (child.supervisor, old.supervisor, new.supervisor):
            case SupervisorSpec() as mine, SupervisorSpec() as its, SupervisorSpec() as present:
                return replace(child, supervisor=amended(mine, its, present))
        return child

    return replace(spec, children=tuple(map(turned, spec.children)))


def _grafted(spec: SupervisorSpec, other: SupervisorSpec, steps: list[str]) -> SupervisorSpec:
    name, *below = steps
    mine = {child.id: child for child in spec.children}
    theirs = {child.id: child for child in other.children}
    if below:
        inner = mine.get(name)
        if inner is None or inner.supervisor is None:
            return spec
        given = theirs.get(name)
        beside = given.supervisor if given is not None else None
        nested = _grafted(inner.supervisor, beside or SupervisorSpec(), below)
        mine[name] = replace(inner, supervisor=nested)
        return replace(spec, children=tuple(mine.values()))
    if name not in theirs:
        mine.pop(name, None)
    elif name in mine:
        mine[name] = theirs[name]
    else:
        before = list(theirs)[: list(theirs).index(name)]
        place = max((list(mine).index(each) + 1 for each in before if each in mine), default=0)
        children = list(spec.children)
        children.insert(place, theirs[name])
        return replace(spec, children=tuple(children))
    return replace(spec, children=tuple(mine.values()))
