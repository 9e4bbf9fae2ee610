"""`start` of a group is about all below it: what an operator has stopped there comes up again.

`stop /group` takes everything below with it, and so does `start /group` bring everything
back, whether it was stopped with the group or by itself.  What is down by its specification
(`enabled: false`), by OTP's terminate_child, or has given up is not an operator's stop, and stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from supervisor_tree.core.child import Child
from supervisor_tree.core.exits import Term
from supervisor_tree.core.holds import forget_hold
from supervisor_tree.core.stimuli import ReleaseRequested

if TYPE_CHECKING:
    from supervisor_tree.core.tree import Tree

__all__ = ["Parts", "Whole", "release_below", "start_all"]


def release_below(tree: Tree, path: str, request: int) -> list[Child]:
    """Nothing below `path` is held any more; those of it that are there and may now start."""
    held = [each for each, down in tree.held.items() if down and each.startswith(f"{path}/")]
    for each in held:
        forget_hold(tree, each, request)
    found = (tree.children.get(each) for each in held)
    return [child for child in found if child is not None and child.spec.enabled]


def start_all(tree: Tree, request: int, children: list[Child]) -> None:
    """Start each; `request` is answered when all of these starts are."""
    parts = Parts(request, len(children))
    for child in children:
        tree.arrive(ReleaseRequested(tree.part(child.path, parts), child.path))


class Whole(Protocol):
    """A request that has parts."""

    def take(self, tree: Tree, path: str, result: tuple[Term, ...]) -> None:
        """The part about this path has its answer."""
        ...


class Parts:
    """A request that is answered when several others are: ok, or the first error with its path."""

    def __init__(self, request: int, count: int) -> None:
        self.request = request
        self.missing = count
        self.error: Term = None

    def take(self, tree: Tree, path: str, result: tuple[Term, ...]) -> None:
        """One of them has its answer."""
        self.missing -= 1
        if result[0] != "ok" and self.error is None:
            self.error = (path, *result[1:])
        if self.missing == 0:
            tree.reply(self.request, ("ok",) if self.error is None else ("error", self.error))
