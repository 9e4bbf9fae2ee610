"""Deadlines by key: the newest deadline of a key counts, a cancelled one never fires."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from itertools import count

__all__ = ["Timers"]


class Timers:
    """A heap with lazy removal; its size stays within twice the number of live timers."""

    def __init__(self) -> None:
        self._at: dict[Hashable, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._order = count()

    def set(self, key: Hashable, at: float) -> None:
        """Fire `key` at time `at`; replaces an older deadline of the same key."""
        entry = (at, next(self._order))
        self._at[key] = entry
        heapq.heappush(self._heap, (*entry, key))
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = [(at, order, key) for key, (at, order) in self._at.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: Hashable) -> None:
        """Forget `key`; unknown keys are passed over."""
        self._at.pop(key, None)

    def next_at(self) -> float | None:
        """The earliest deadline, or None."""
        while self._heap:
            at, order, key = self._heap[0]
            if self._at.get(key) == (at, order):
                return at
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: float) -> list[Hashable]:
        """Remove and return the keys whose deadline has come, earliest first."""
        due: list[Hashable] = []
        while (at := self.next_at()) is not None and at <= now:
            key = heapq.heappop(self._heap)[2]
            del self._at[key]
            due.append(key)
        return due

    def __len__(self) -> int:
        return len(self._at)
