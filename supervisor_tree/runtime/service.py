"""The host as a service of the manager above it: what it tells systemd, and when.

sd_notify(3) and systemd.service(5), Type=notify-reload.  Without a NOTIFY_SOCKET nothing
is looked at and nothing sent.

* READY=1 when the start is over: nobody is in the first start of its life any more.  A child
  that fails is the tree's to restart, so it does not keep the unit in "activating", where
  systemd would end the whole tree after TimeoutStartSec=; STATUS= names it instead.
* EXTEND_TIMEOUT_USEC= while a start or a stop of the tree makes progress: something has
  happened since the last time, or a child's own limit is still ahead.  What waits without a
  limit and without news is left to the manager's timeout.
* WATCHDOG=1 only by a turn of the loop: a timer of the reactor asks for it, and the end of the
  next turn sends it, when all descriptors that were readable have been served.

Nothing waits here.  What the manager has no room for is sent again, or is out of date by then.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from supervisor_tree.control.rows import is_missing
from supervisor_tree.core.child import ChildRow, ChildState
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.specs import Kind
from supervisor_tree.runtime.inherited import Inherited
from supervisor_tree.runtime.reactor import Reactor

__all__ = ["Service", "is_starting", "status_of"]

_LOOK_S = 1.0  # between two looks at the tree, and so between two STATUS=
_FIRST_LOOKS_S = 0.1  # the same until READY=1, for which others may wait
_EXTEND_EVERY_S = 5.0
_EXTENSION_S = 15.0
_NAMED = 3  # children that STATUS= names

_LOOK, _EXTEND, _WATCHDOG = "service-look", "service-extend", "service-watchdog"


class Service:
    """Speaks for one host.  `rows` gives the tree's, `pid` is the root's."""

    def __init__(
        self,
        inherited: Inherited,
        reactor: Reactor,
        rows: Callable[[], Sequence[ChildRow]],
        pid: int,
    ) -> None:
        self._notifier = inherited.notifier
        self._watched = inherited.watched
        self._watchdog_s = inherited.watchdog_s if self._watched else None
        self._reactor = reactor
        self._rows = rows
        self._pid = pid
        self._state = "starting"
        # What the manager must hear, and has had no room for; a few, as there are few states.
        self._owed: deque[dict[str, str]] = deque()
        self._looked_at = float("-inf")
        self._moved = True  # something has happened since the last extension
        self._beat_is_due = False
        self._said = ""

    def begin(self) -> None:
        """The loop is about to turn."""
        if self._watched:
            self._extend()
        if self._watchdog_s is not None:
            self._ask_for_beat()

    def heard(self, event: EventName) -> None:
        """Something has happened in the tree."""
        if not self._watched:
            return
        self._moved = True
        if event is EventName.HOST_STOPPING:
            self._stopping()
        self._look_soon()

    def touch(self) -> None:
        """An order was carried out, of which there may be no event."""
        if self._watched:
            self._look_soon()

    def reloading(self) -> None:
        """A reload begins, or another is asked for meanwhile.

        `ready` must follow, however it ends: systemd waits for it (systemd.service(5)).
        """
        if self._watched and self._state in ("ready", "reloading"):
            self._state = "reloading"
            # CLOCK_MONOTONIC, by which the manager knows that this answers its own signal.
            self._tell(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))
            self._extend()

    def ready(self) -> None:
        """The reload is over, well or not."""
        if self._state == "reloading":
            self._become_ready()

    def turned(self) -> None:
        """A turn of the loop has served all who were due."""
        if self._beat_is_due:
            self._beat_is_due = False
            self._notifier.send({"WATCHDOG": "1"})

    def close(self) -> None:
        """Let go of the socket."""
        self._notifier.close()

    # --- the states -----------------------------------------------------------------------

    def _become_ready(self) -> None:
        self._state = "ready"
        self._reactor.cancel(_EXTEND)
        # Inside a PID namespace this number is somebody else's to the manager.
        main = {} if self._pid == 1 else {"MAINPID": str(self._pid)}
        self._tell(READY="1", **main)

    def _stopping(self) -> None:
        if self._state != "stopping":
            self._state = "stopping"
            self._owed.clear()
            self._tell(STOPPING="1")
            self._extend()

    # --- telling --------------------------------------------------------------------------

    def _look_soon(self) -> None:
        if not self._reactor.is_set(_LOOK):
            pause = _FIRST_LOOKS_S if self._state == "starting" else _LOOK_S
            due = max(self._looked_at + pause, self._reactor.clock.now())
            self._reactor.call_at(_LOOK, due, self._look)

    def _look(self) -> None:
        self._looked_at = self._reactor.clock.now()
        self._pay()
        rows = self._rows()
        if self._state == "starting" and rows and not any(map(is_starting, rows)):
            self._become_ready()
        status = status_of(self._state, rows)
        if status != self._said and self._notifier.send({"STATUS": status}):
            self._said = status
        if self._owed or status != self._said:
            self._look_soon()

    def _tell(self, **fields: str) -> None:
        self._owed.append(fields)
        self._pay()
        if self._owed:
            self._look_soon()

    def _pay(self) -> None:
        while self._owed and self._notifier.send(self._owed[0]):
            self._owed.popleft()

    def _extend(self) -> None:
        """Ask for time as long as there is progress; `_moved` counts the beginning as such."""
        now = self._reactor.clock.now()
        ahead = any(row.limit_at is not None and row.limit_at > now for row in self._rows())
        if self._moved or ahead:
            self._moved = False
            self._notifier.send({"EXTEND_TIMEOUT_USEC": str(round(_EXTENSION_S * 1e6))})
        self._reactor.call_in(_EXTEND, _EXTEND_EVERY_S, self._extend)

    def _ask_for_beat(self) -> None:
        assert self._watchdog_s is not None
        self._beat_is_due = True
        self._reactor.call_in(_WATCHDOG, self._watchdog_s / 2, self._ask_for_beat)


def is_starting(row: ChildRow) -> bool:
    """In the first start of its life: neither ready nor failed yet."""
    return row.state is ChildState.STARTING and row.restarts == 0 and row.last_exit is None


def status_of(state: str, rows: Sequence[ChildRow]) -> str:
    """One line for an operator: how many are as they are wanted, and who is not."""
    children = [row for row in rows if row.kind is not Kind.SUPERVISOR]
    if not rows:
        return state
    if state == "stopping":
        left = sum(row.pid is not None for row in children)
        return f"stopping: {_children(left)} left"
    missing = [row for row in children if is_missing(row)]
    ready = sum(row.ready for row in children)
    prefix = "" if state == "ready" else f"{state}: "
    if not missing:
        return f"{prefix}{_children(ready)} ready"
    line = f"{prefix}{ready} of {_children(ready + len(missing))} ready"
    failing = [row for row in missing if not is_starting(row)]
    if failing:
        named = ", ".join(f"{row.path} {_plight(row)}" for row in failing[:_NAMED])
        more = len(failing) - _NAMED
        line += f"; {named}" + (f" and {more} more" if more > 0 else "")
    return line


def _plight(row: ChildRow) -> str:
    if row.waiting_for is not None:
        return f"waiting for {row.waiting_for}"
    in_words = {ChildState.BACKOFF: "in backoff", ChildState.STARTING: "starting again"}
    return in_words.get(row.state, row.state.value)


def _children(count: int) -> str:
    return "1 child" if count == 1 else f"{count} children"
