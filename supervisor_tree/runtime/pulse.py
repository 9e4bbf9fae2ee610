"""Whether another process still does its rounds, by a number that it counts up.  Pure.

Looks are counted and not seconds: who has been stopped together with the other one and
goes on with it has looked once, however long that was.
"""

from __future__ import annotations

__all__ = ["Pulse"]


class Pulse:
    """Of one process.  `patience`: so many looks in a row without a change, and it is frozen."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._beats: int | None = None
        self._missed = 0

    def begin(self) -> None:
        """Another process is looked at from now on."""
        self._beats, self._missed = None, 0

    def look(self, beats: int) -> bool:
        """True once, when the process counts as frozen.  The first look only takes note."""
        if beats != self._beats:
            self._beats, self._missed = beats, 0
            return False
        self._missed += 1
        return self._missed == self._patience
