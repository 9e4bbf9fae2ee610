"""OTP's rules as plain functions: who is restarted, who with him, what counts as an error.

Each function quotes the rule that it is (supervisor manual, "Restart strategy and
maximum restart intensity", "Child specification"; supervisor.erl where the manual is silent).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from supervisor_tree.core.exits import ExitKind, ExitReason
from supervisor_tree.core.specs import Restart, Shutdown, Strategy

__all__ = ["group", "is_reported", "is_shutdown_error", "must_restart"]

C = TypeVar("C")


def must_restart(restart: Restart, reason: ExitReason) -> bool:
    """Permanent: always.  Transient: after an abnormal exit.  Temporary: never."""
    if restart is Restart.PERMANENT:
        return True
    return restart is Restart.TRANSIENT and not reason.clean


def is_reported(restart: Restart, reason: ExitReason) -> bool:
    """Whether an exit by itself is worth a `child_terminated` report."""
    return restart is Restart.PERMANENT or not reason.clean


def is_shutdown_error(shutdown: Shutdown, restart: Restart, reason: ExitReason) -> bool:
    """Whether the end of a child that was told to stop is worth a `shutdown_error` report.

    Expected is `killed` under brutal_kill and `shutdown` otherwise; a child that is not
    permanent may also end cleanly in its own way.
    """
    expected = "killed" if shutdown == "brutal_kill" else "shutdown"
    if reason.term == expected and (reason.kind is ExitKind.ABNORMAL) == (expected == "killed"):
        return False
    return restart is Restart.PERMANENT or not reason.clean


def group(strategy: Strategy, children: Iterable[C], failed: C) -> list[C]:
    """Those that are stopped and started together because `failed` has ended, in start order."""
    if strategy is Strategy.ONE_FOR_ALL:
        return list(children)
    if strategy is not Strategy.REST_FOR_ONE:
        return [failed]
    rest: list[C] = []
    for child in children:
        if rest or child is failed:
            rest.append(child)
    return rest
