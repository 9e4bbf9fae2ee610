"""Time as an argument: everything that needs the time is given a Clock."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Seconds of a clock that never goes back, and the time of day."""

    def now(self) -> float:
        """Seconds since some fixed moment; what deadlines are made of."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, UTC; what people are shown."""
        ...


class SystemClock:
    """CLOCK_MONOTONIC, which a step of the wall clock does not move, and time(2)."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()
