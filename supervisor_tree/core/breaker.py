"""When a host must not start its tree by itself: it has just been cut down several times.

A host that ends in order writes so.  One that was killed, has crashed or lost its power does not,
and if that happens again and again within minutes, what it starts may well be the reason.
It then comes up in safe mode: the control plane answers, and no child is started before an
operator says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["STOPPED", "UNCLEAN_ALLOWED", "WINDOW_S", "Boot", "is_safe_mode", "unclean"]

UNCLEAN_ALLOWED = 2  # the third is one too many
WINDOW_S = 300.0
STOPPED = "stopped"  # the outcome of a life that an operator, or a service manager, has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One life of a host: when it began, in seconds of the wall clock, and whether it lives or
    has said how it ended."""

    began: float
    lives: bool = False
    outcome: str | None = None


def unclean(boots: Iterable[Boot], wall: float) -> list[Boot]:
    """Those within the window whose end nobody has written down, and after which none was stopped.

    `boots` are in the order in which they began: one that was stopped in order shows that it is
    not the tree which ends the host.  A clock that was set back makes a boot look as if it were
    still to come: it counts.
    """
    found: list[Boot] = []
    for boot in boots:
        if boot.outcome == STOPPED:
            found.clear()
        elif boot.outcome is None and not boot.lives and boot.began >= wall - WINDOW_S:
            found.append(boot)
    return found


def is_safe_mode(boots: Iterable[Boot], wall: float) -> bool:
    """Whether a host that comes up at `wall` after these must leave its tree alone."""
    return len(unclean(boots, wall)) > UNCLEAN_ALLOWED
