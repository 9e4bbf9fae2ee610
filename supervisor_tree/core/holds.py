"""What operators want up or down, whatever the rules and the specification say.

A hold outlives the child it is about: restarts of what is above it, the child's removal, and,
as each change is told by `HoldChanged` and handed back with `BootRequested`, the host itself.
Only an order changes it.  For a path that no child has it does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from supervisor_tree.core.actions import HoldChanged
from supervisor_tree.core.child import Child
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.core.stimuli import HoldRequested, ReleaseRequested

if TYPE_CHECKING:
    from supervisor_tree.core.tree import Tree

__all__ = ["amend_absent", "forget_hold", "hold", "is_held", "kept_down_by", "release", "revive"]


def hold(tree: Tree, child: Child, order: HoldRequested) -> None:
    """Keep it down, by the order alone or, if that amends it, by the specification."""
    if order.amend:
        _set_enabled(tree, child, False)
        forget_hold(tree, child.path, order.request)
    else:
        _set(tree, child.path, True, order.request)


def release(tree: Tree, child: Child, order: ReleaseRequested) -> None:
    """`start` of it: the opposite, also of `enabled: false`."""
    if order.amend:
        _set_enabled(tree, child, True)
    revive(tree, child, order.request)


def amend_absent(tree: Tree, order: HoldRequested | ReleaseRequested) -> bool:
    """The same for a child that is not there, as its supervisor does not run: its next life.

    False if nobody is named so.
    """
    above, ids = order.path, list[str]()
    while above and above not in tree.children:
        above, _, child_id = above.rpartition("/")
        ids.insert(0, child_id)
    record = tree.children.get(above)
    enabled = isinstance(order, ReleaseRequested)
    spec = None if record is None else _with_enabled(record.spec, ids, enabled)
    if record is None or spec is None:
        return False
    _put_in_force(tree, record, spec)
    forget_hold(tree, order.path, order.request)
    return True


def revive(tree: Tree, child: Child, request: int) -> None:
    """It is to be up by order `request`, which its specification may not say."""
    _set(tree, child.path, None if child.spec.enabled else False, request)


def forget_hold(tree: Tree, path: str, request: int) -> None:
    """No order about this path is remembered any more."""
    _set(tree, path, None, request)


def is_held(tree: Tree, child: Child) -> bool:
    """Not to be started by any rule."""
    return tree.held.get(child.path, not child.spec.enabled)


def kept_down_by(tree: Tree, child: Child) -> str | None:
    """What keeps it down: an "order", its "specification", or neither."""
    down = tree.held.get(child.path)
    if down is None:
        return None if child.spec.enabled else "specification"
    return "order" if down else None


def _set(tree: Tree, path: str, down: bool | None, request: int) -> None:
    if tree.held.get(path) is down:
        return
    if down is None:
        del tree.held[path]
    else:
        tree.held[path] = down
    tree.emit(HoldChanged(path, down, request))


def _set_enabled(tree: Tree, child: Child, enabled: bool) -> None:
    """Later lives of the child, and of the supervisors above it, begin with this."""
    _put_in_force(tree, child, replace(child.spec, enabled=enabled))


def _put_in_force(tree: Tree, child: Child, new: ChildSpec) -> None:
    old, sup = child.spec, child.owner
    spec = replace(sup.spec, children=tuple(new if c is old else c for c in sup.spec.children))
    tree.remember_spec(sup, spec)
    child.spec, sup.spec = new, spec


def _with_enabled(spec: ChildSpec, ids: Sequence[str], enabled: bool) -> ChildSpec | None:
    """The same with that of the child at the end of `ids` changed; None if there is no such."""
    if not ids:
        return replace(spec, enabled=enabled)
    nested = spec.supervisor
    if nested is None:
        return None
    old = next((child for child in nested.children if child.id == ids[0]), None)
    new = None if old is None else _with_enabled(old, ids[1:], enabled)
    if new is None:
        return None
    children = tuple(new if child is old else child for child in nested.children)
    return replace(spec, supervisor=replace(nested, children=children))
