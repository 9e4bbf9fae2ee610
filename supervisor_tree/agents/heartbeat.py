"""An agent's signs of life: WATCHDOG=1 of sd_notify(3), a third of the budget apart.

They must come from the code that is to be watched.  With a loop they are a timer of that loop,
so that one that is blocked is silent; code without a loop gives one whenever it looks at
`ctx.stopping`.  So no thread beats on for code that hangs.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from supervisor_tree.notify import Notifier

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["Heartbeat"]

_BEATS = 3  # within one budget: two may be lost
_RETRIES = 40  # within the time of one, of a beat that the host had no room for


class Heartbeat:
    """Of one life that is held to `budget_s` seconds of silence."""

    def __init__(self, notifier: Notifier, budget_s: float) -> None:
        self._notifier = notifier
        self._interval_s = budget_s / _BEATS
        # Those of many agents that are started together shall not come together for ever.
        self._first_s = self._interval_s * (os.getpid() % 64 / 64)
        self._due = time.monotonic() + self._first_s

    @classmethod
    def from_environment(cls, notifier: Notifier) -> Heartbeat | None:
        """That of WATCHDOG_USEC (sd_watchdog_enabled(3)); None: nobody asks for any."""
        given = os.environ.get("WATCHDOG_USEC", "")
        if given.isascii() and given.isdigit() and 0 < int(given) < 10**16:
            return cls(notifier, int(given) / 1e6)
        return None

    def look(self) -> float:
        """A sign of life of code without a loop.  In so many seconds it should give another."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._send()
        return self._due - now

    def begin(self, loop: AbstractEventLoop) -> None:
        """Let this loop give them from now on."""
        loop.call_later(self._first_s, self._beat, loop)

    def _beat(self, loop: AbstractEventLoop) -> None:
        loop.call_later(self._send(), self._beat, loop)

    def _send(self) -> float:
        """Returns the seconds until the next one."""
        return self._interval_s if self._notifier.alive() else self._interval_s / _RETRIES
