"""New flags and specifications for a supervisor that runs (OTP: sys:change_code, release handling).

Known ids keep their process, new ones are not started, missing ones are kept.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from supervisor_tree.core.checks import check_flags, check_supervisor, template_of
from supervisor_tree.core.diff import same_shape
from supervisor_tree.core.exits import Term
from supervisor_tree.core.specs import SupervisorSpec

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor

__all__ = ["put_in_force", "upgrade"]


def upgrade(sup: Supervisor, spec: SupervisorSpec | None) -> Term:
    """On an error nothing changes (OTP).  None is `ignore`."""
    if spec is None:
        return ("ok",)
    error: Term = check_flags(spec)
    if error is None:
        checked = check_supervisor(spec)
        if isinstance(checked, tuple):
            error = checked[1] if checked[0] == "start_spec" else checked
    if error is not None:
        return ("error", error)
    if not same_shape(spec, sup.spec):
        return ("error", ("invalid_strategy", spec.strategy.value))
    sup.tree.remember_spec(sup, spec)
    put_in_force(sup, spec)
    return ("ok",)


def put_in_force(sup: Supervisor, spec: SupervisorSpec, absent: Container[str] = ()) -> None:
    """The supervisor and its children go on with a specification of the same shape.

    `absent`: ids of those that need not be listed, as they have done their work and are forgotten.
    """
    sup.spec = spec
    template = template_of(spec) if sup.simple else None
    if template is not None:
        for child in sup.children.values():
            child.spec = template
        return
    # OTP: the new list, then those that are only in the old one.
    old = sup.children
    sup.children = {}
    for new in spec.children:
        if new.id in old:
            child = old.pop(new.id)
            child.spec = new
            sup.children[new.id] = child
        elif new.id not in absent:
            sup.add_child(new.id, new).wanted = False
    sup.children.update(old)
