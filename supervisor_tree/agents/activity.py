"""What an agent says that it is doing: its status line, and what it is busy with.

Busy sections may be nested, and several may be open at once, in threads or tasks.  The host
hears a level and no edges: each time the label of the one that began last and is still open, or
that there is none.  A datagram that is lost or said twice then does no lasting harm.
"""

from __future__ import annotations

import threading
from types import TracebackType

from supervisor_tree.notify import Notifier

__all__ = ["Activity", "Busy"]


class Activity:
    """Of one life."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._status = ""
        self._sections: list[Busy] = []  # that are open, in the order of their beginning
        self._lock = threading.Lock()

    def say(self, status: str) -> None:
        """Set the status line; it is back when a busy section ends."""
        self._status = status
        self._notifier.status(status)

    def is_alive(self) -> None:
        """A sign of life: within a busy section, that its work goes on."""
        with self._lock:
            if self._sections:
                self._tell()
            else:
                self._notifier.alive()

    def begin(self, section: Busy) -> None:
        with self._lock:
            self._sections.append(section)
            self._tell()

    def end(self, section: Busy) -> None:
        with self._lock:
            self._sections.remove(section)
            self._tell()

    def _tell(self) -> None:
        label = self._sections[-1].label if self._sections else ""
        self._notifier.busy(label, label or self._status)


class Busy:
    """A block of work that is announced; for `with` and `async with` alike."""

    def __init__(self, activity: Activity, label: str) -> None:
        self.label = label or "busy"
        self._activity = activity

    def __enter__(self) -> None:
        self._activity.begin(self)

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._activity.end(self)

    async def __aenter__(self) -> None:
        self._activity.begin(self)

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._activity.end(self)
