"""Requests that wait for a child to come into a state, looked at once per turn of the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from supervisor_tree.control.naming import few
from supervisor_tree.control.rows import TreeView
from supervisor_tree.core.child import ChildRow
from supervisor_tree.errors import (
    NoSuchChild,
    OperationFailed,
    SupervisorTreeError,
    TimedOut,
    TryAgain,
)

__all__ = ["CONDITIONS", "Waits"]

CONDITIONS = ("ready", "stopped")

_MAX_WAITS = 10_000
_AT_REST = ("stopped", "parked")


@dataclass(slots=True, eq=False)
class _Wait:
    path: str
    condition: str
    deadline: float | None
    done: Callable[[SupervisorTreeError | None], None]
    seen: bool = False
    # What was found to be missing; looked at one by one before the whole sub-tree is again,
    # so that a thousand children that become ready one after the other cost a thousand looks.
    missing: list[str] = field(default_factory=list)


class Waits:
    """All waits of one host."""

    def __init__(self) -> None:
        self._waits: list[_Wait] = []

    @property
    def pending(self) -> bool:
        """True while somebody waits."""
        return bool(self._waits)

    def add(
        self,
        path: str,
        condition: str,
        deadline: float | None,
        done: Callable[[SupervisorTreeError | None], None],
    ) -> None:
        """Call `done(None)` when the condition holds, or `done(error)` when it cannot or is late.

        Nothing is called before the next `look`.  Raises TryAgain when too many wait.
        """
        if len(self._waits) >= _MAX_WAITS:
            raise TryAgain(f"{_MAX_WAITS} requests are waiting already")
        self._waits.append(_Wait(path, condition, deadline, done))

    def look(self, tree: TreeView, now: float, *, booting: bool) -> None:
        """Answer every wait that is over.  `booting`: children may not be in the tree yet."""
        still: list[_Wait] = []
        for wait in self._waits:
            over, error = _outcome(wait, tree, now, booting)
            if over:
                wait.done(error)
            else:
                still.append(wait)
        self._waits = still

    def give_up(self, error: SupervisorTreeError) -> None:
        """The host ends: answer all that still wait."""
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.done(error)


def _outcome(
    wait: _Wait, tree: TreeView, now: float, booting: bool
) -> tuple[bool, SupervisorTreeError | None]:
    """(over, error): whether there is an answer, and what is wrong if it is a bad one."""
    row = tree.row(wait.path)
    if row is None:
        known = wait.seen or bool(tree.story(wait.path))
        if wait.condition == "stopped" and known:
            return True, None
        if not booting:
            return True, NoSuchChild(f"no child has the path {wait.path}")
    else:
        wait.seen = True
        if _holds(wait, row, tree):
            return True, None
        if wait.condition == "ready" and row.state.value == "parked":
            message = (
                f"{wait.path} has given up and will not become ready by itself; "
                f"see `show {wait.path}`, then `reset-failed {wait.path}`"
            )
            return True, OperationFailed(message)
    if wait.deadline is not None and now >= wait.deadline:
        state = "not there yet" if row is None else row.state.value
        state = "in backoff" if state == "backoff" else state
        message = f"{wait.path} is {state}, not {wait.condition}{_blame(wait)}"
        return True, TimedOut(message)
    return False, None


def _holds(wait: _Wait, row: ChildRow, tree: TreeView) -> bool:
    if wait.condition == "stopped":
        return row.state.value in _AT_REST
    return _is_ready(wait, row, tree)


def _is_ready(wait: _Wait, row: ChildRow, tree: TreeView) -> bool:
    """A supervisor is ready with all below it, those apart that have ended for good."""
    if row.strategy is None:
        return row.ready
    while wait.missing:
        blocker = tree.row(wait.missing[-1])
        if blocker is not None and not _settled(blocker):
            return False
        wait.missing.pop()
    wait.missing = [below.path for below in tree.rows(wait.path) if not _settled(below)]
    return not wait.missing


def _settled(row: ChildRow) -> bool:
    return row.ready or (row.state.value in _AT_REST and row.waiting_for is None)


def _blame(wait: _Wait) -> str:
    others = [path for path in wait.missing if path != wait.path]
    return f" (not ready: {few(others)})" if others else ""
