"""How often a supervisor may restart before it gives up (OTP `intensity` and `period`).

OTP reads its clock in whole seconds, and so do we: a restart exactly `period` seconds
old still counts, and what counts together depends on where second boundaries fall
(supervisor.erl, add_restart/1).
"""

from __future__ import annotations

from collections import deque
from math import floor

__all__ = ["RestartWindow"]


class RestartWindow:
    """The restarts that are remembered, as whole seconds, oldest first."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._times)

    def record(self, now: float, *, intensity: int, period: float) -> bool:
        """Remember a restart at `now` (seconds); False if that is one too many.

        A restart that is one too many is remembered, too, as OTP does; who calls is
        about to give up.
        """
        second = floor(now)
        oldest = second - period
        times = self._times
        while times and times[0] < oldest:
            times.popleft()
        times.append(second)
        return len(times) <= intensity

    def remembered(self, now: float, period: float) -> tuple[int, ...]:
        """The restarts that a restart at `now` would be counted with, oldest first."""
        oldest = floor(now) - period
        return tuple(second for second in self._times if second >= oldest)

    def copy(self) -> RestartWindow:
        """Another one that remembers the same."""
        other = RestartWindow()
        other._times.extend(self._times)
        return other

    def clear(self) -> None:
        """Forget all (an operator's `reset-failed`)."""
        self._times.clear()
