"""Orphans that no mark and no session gives to a life."""

from __future__ import annotations

from collections.abc import Collection, Iterator

__all__ = ["Strays"]

SURE_S = 0.2  # a process in its exec or exit shows no mark, for a moment


class Strays:
    """Our children that nobody can place: when that is certain, None once it is told."""

    def __init__(self) -> None:
        self._due: dict[int, float | None] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(self._due)

    def keep(self, pids: Collection[int]) -> None:
        """These there are now, and no others."""
        self._due = {pid: self._due.get(pid, 0.0) for pid in pids}

    def discard(self, pid: int) -> None:
        """It has ended."""
        self._due.pop(pid, None)

    @property
    def uncertain(self) -> bool:
        """Whether one may still turn out to be of some life."""
        return any(due is not None for due in self._due.values())

    def deadline(self) -> float | None:
        """When the next one is certain."""
        return min((due for due in self._due.values() if due is not None), default=None)

    def certain(self, now: float) -> list[int]:
        """Those of whom it is certain since the last call; a new one is given its time."""
        found = []
        for pid, due in self._due.items():
            if due == 0.0:
                self._due[pid] = now + SURE_S
            elif due is not None and due <= now:
                self._due[pid] = None
                found.append(pid)
        return found
