"""How long a tree may take to stop, by its own specification.

The way down as `stops` goes it: one after the other, or all at once where children are
independent, and then what is needed by others after those.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from supervisor_tree.core.needs import needed_path
from supervisor_tree.core.specs import ChildSpec, Strategy, SupervisorSpec

__all__ = ["stop_budget"]


def stop_budget(spec: SupervisorSpec, path: str = "/") -> float:
    """Seconds until the last child of the tree has had its SIGKILL at the latest; inf: for ever."""
    if spec.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        return 0.0 if spec.child is None else _of_child(spec.child, path)
    children = [child for child in spec.children if child.enabled]
    if not spec.concurrent:
        return sum(_of_child(child, path) for child in children)
    return _of_independent(children, path)


def _of_child(child: ChildSpec, above: str) -> float:
    shutdown = child.shutdown_or_default
    if child.supervisor is not None:
        path = f"{above.rstrip('/')}/{child.id}"
        inner = stop_budget(child.supervisor, path)
        limit = inf if shutdown == "infinity" else _seconds(shutdown)
        return min(inner, limit)
    return inf if shutdown == "infinity" else _seconds(shutdown)


def _seconds(shutdown: object) -> float:
    return float(shutdown) if isinstance(shutdown, int | float) else 0.0  # brutal_kill


def _of_independent(children: Sequence[ChildSpec], path: str) -> float:
    """All at once, but a child after those that need it: the longest chain of needs counts."""
    own = {f"{path.rstrip('/')}/{child.id}": _of_child(child, path) for child in children}
    done = dict(own)
    needs = [
        (f"{path.rstrip('/')}/{child.id}", needed_path(path, need))
        for child in children
        for need in child.needs
    ]
    # A chain has no more links than there are children; a ring would go on for ever.
    for _ in children:
        for needing, needed in needs:
            if needed in own:
                done[needed] = max(done[needed], own[needed] + done[needing])
    return max(done.values(), default=0.0)
