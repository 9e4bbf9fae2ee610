"""Children forked ahead: set up, and held back at a gate until a life needs them.

A spare is a life of generation 0 or below that nobody is told of.  It costs its memory and
saves a launch the fork and the set-up.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import count

from supervisor_tree.spawner import child
from supervisor_tree.spawner.forking import Birth, Cradle, give_births
from supervisor_tree.spawner.lives import mark_of
from supervisor_tree.spawner.scope import Warden
from supervisor_tree.spawner.title import MarkSlot

__all__ = ["SparePool"]

SETTLE_S = 0.005  # a new life has the processor to itself before spares are forked
KEEP_S = 60.0  # spares of a child that has ended and may be started again
RETRY_S = 1.0  # after a fork that the kernel has refused


@dataclass(slots=True)
class _Shelf:
    """The spares of one path, all made to one order."""

    order: child.Order
    packed: bytes
    capture: bool
    size: int
    spares: deque[Birth] = field(default_factory=deque)
    fill_at: float | None = None
    drop_at: float | None = None


class SparePool:
    """All spares of one spawner."""

    def __init__(self, instance: str, warden: Warden, slot: MarkSlot) -> None:
        self._instance = instance
        self._warden = warden
        self._slot = slot
        self._shelves: dict[str, _Shelf] = {}
        self._serial = count()

    def take(self, order: child.Order, packed: bytes, capture: bool) -> Birth | None:
        """A spare that is now the life of `order`, None if there is none; keeps the shelf full."""
        if order.spec.warm <= 0:
            self.drop(order.path)
            return None
        shelf = self._shelves.get(order.path)
        if shelf is None or (shelf.packed, shelf.capture) != (packed, capture):
            self.drop(order.path)
            shelf = _Shelf(order, packed, capture, order.spec.warm)
            self._shelves[order.path] = shelf
        shelf.drop_at = None
        shelf.fill_at = time.monotonic() + SETTLE_S
        while shelf.spares:
            birth = shelf.spares.popleft()
            if self._send_off(birth, order):
                return birth
        return None

    def life_ended(self, path: str, asked: bool) -> None:
        """Keep spares for another life, but not for long; at once none if it was to end."""
        shelf = self._shelves.get(path)
        if shelf is not None:
            shelf.drop_at = time.monotonic() + (0.0 if asked else KEEP_S)
            shelf.fill_at = None

    def drop(self, path: str) -> None:
        """Let the spares of a path end."""
        shelf = self._shelves.pop(path, None)
        for birth in () if shelf is None else shelf.spares:
            birth.life.on_gone = None
            birth.close()

    def drop_all(self) -> None:
        """Let all end."""
        for path in list(self._shelves):
            self.drop(path)

    def deadline(self) -> float | None:
        """When `work` wants to be called."""
        times = [
            due
            for shelf in self._shelves.values()
            for due in (shelf.fill_at, shelf.drop_at)
            if due is not None
        ]
        return min(times, default=None)

    def work(self, now: float) -> None:
        """In an idle moment: drop what is not needed, fork one that is."""
        for path, shelf in list(self._shelves.items()):
            if shelf.drop_at is not None and shelf.drop_at <= now:
                self.drop(path)
        for shelf in self._shelves.values():
            if shelf.fill_at is not None and shelf.fill_at <= now:
                self._fill(shelf, now)
                return  # one at a time: orders come first

    def _fill(self, shelf: _Shelf, now: float) -> None:
        if len(shelf.spares) >= shelf.size:
            shelf.fill_at = None
            return
        order = replace(
            shelf.order,
            generation=-next(self._serial),
            mark=mark_of(self._instance, shelf.order.path, 0),
        )
        try:
            cradle = Cradle.make(order, shelf.capture, gated=True)
        except OSError:
            shelf.fill_at = now + RETRY_S
            return
        (birth,) = give_births([cradle], self._slot)
        if isinstance(birth, OSError):
            shelf.fill_at = now + RETRY_S
            return
        birth.life.silent = True
        birth.life.on_gone = _Lost(self, shelf, birth)
        shelf.spares.append(birth)
        self._warden.watch(birth.life)

    def lost(self, shelf: _Shelf, birth: Birth) -> None:
        """A spare has ended by itself: make no other until the next launch."""
        if birth in shelf.spares:
            shelf.spares.remove(birth)
            birth.close()
            shelf.fill_at = None

    def _send_off(self, birth: Birth, order: child.Order) -> bool:
        """Let a spare go as the life of `order`; False if it cannot."""
        message = child.go(order)
        life = birth.life
        try:
            if life.ended is not None or os.write(birth.gate, message) != len(message):
                raise BrokenPipeError
        except OSError:  # also if the order is more than a pipe takes at once
            life.on_gone = None
            birth.close()
            return False
        os.close(birth.gate)
        birth.gate = -1
        life.silent = False
        life.on_gone = None
        self._warden.rename(life, order.generation)
        return True


@dataclass(slots=True)
class _Lost:
    pool: SparePool
    shelf: _Shelf
    birth: Birth

    def __call__(self) -> None:
        self.pool.lost(self.shelf, self.birth)
