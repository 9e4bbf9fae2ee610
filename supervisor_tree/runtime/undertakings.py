"""Operations that take time: each has a number, and is remembered for a while when it is over."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from supervisor_tree.control.events import rfc3339

__all__ = ["Undertakings"]

_KEPT = 100


class Undertakings:
    """The operations of one host.  `wall()` is the time of day in seconds since the epoch."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._made = 0
        self._all: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._waiting: dict[int, list[Callable[[], None]]] = {}

    @property
    def under_way(self) -> int | None:
        """The number of the one that is not over."""
        return next(iter(self._waiting), None)

    def begin(self, **facts: Any) -> int:
        """Remember a new one."""
        self._made += 1
        self._all[self._made] = {
            "operation": self._made,
            "state": "running",
            "started": rfc3339(self._wall()),
            "ended": None,
            **facts,
        }
        self._waiting[self._made] = []
        while len(self._all) > _KEPT:
            self._all.popitem(last=False)
        return self._made

    def end(self, number: int, **facts: Any) -> None:
        """It is over; who has waited for it is told."""
        self._all[number] |= {"state": "done", "ended": rfc3339(self._wall()), **facts}
        for done in self._waiting.pop(number):
            done()

    def get(self, number: int) -> dict[str, Any] | None:
        """What is known of one."""
        return self._all.get(number)

    def all(self) -> list[dict[str, Any]]:
        """Those that are remembered, oldest first."""
        return list(self._all.values())

    def when_over(self, number: int, done: Callable[[], None]) -> None:
        """Call `done` when it is over; at once if it is."""
        if number in self._waiting:
            self._waiting[number].append(done)
        else:
            done()
