"""Children forked ahead: set up, and held back at a gate until a life needs them.

A spare is a life of generation 0 or below that nobody is told of.  It costs its memory and
saves a launch the fork and the set-up.

A child with `warm` has spares of its own.  Beside them there is one for any agent that is
started alone, as one is after a crash; orders that come together are forked together, and
no spare is forked as long as orders keep coming.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from supervisor_tree.runtime.cgroups import Cgroup, enter
from supervisor_tree.spawner import child
from supervisor_tree.spawner.forking import Birth, Cradle, give_births
from supervisor_tree.spawner.gate import pass_letter
from supervisor_tree.spawner.lives import Life, mark_of
from supervisor_tree.spawner.scope import Warden
from supervisor_tree.spawner.title import MarkSlot

__all__ = ["ANYONE", "SparePool"]

ANYONE = "/"  # the path of the spare that is for any agent: no child has it
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
    """All spares of one spawner.  `anyone` is the order to which the one for any is made."""

    def __init__(self, warden: Warden, slot: MarkSlot, instance: str, anyone: child.Order) -> None:
        self._instance = instance
        self._warden = warden
        self._slot = slot
        self._anyone: _Shelf | None = _Shelf(anyone, b"", capture=False, size=1)
        self._shelves: dict[str, _Shelf] = {ANYONE: self._anyone}
        self._serial = count(1)
        self.settle()

    def settle(self) -> None:
        """There is something else to do: no spare for any agent is forked for a while."""
        if self._anyone is not None:
            self._anyone.fill_at = time.monotonic() + SETTLE_S

    def take(self, order: child.Order, packed: bytes, capture: bool) -> Birth | None:
        """A spare of its own that is now the life of `order`, None if there is none.

        Keeps the shelf full.
        """
        if order.spec.warm <= 0:
            self.drop(order.path)
            return None
        shelf = self._shelves.get(order.path)
        if shelf is None or (shelf.packed, shelf.capture) != (packed, capture):
            self.drop(order.path)
            places = order.stdio[:1] * len(order.sockets)  # what is sent with the letter goes there
            shelf = _Shelf(replace(order, sockets=places), packed, capture, order.spec.warm)
            self._shelves[order.path] = shelf
        shelf.drop_at = None
        shelf.fill_at = time.monotonic() + SETTLE_S
        birth = self._take_from(shelf, order, packed, order.sockets)
        for fd in () if birth is None else order.sockets:
            os.close(fd)
        return birth

    def take_any(self, cradle: Cradle, packed: bytes) -> Birth | None:
        """The spare for any agent, now the life of this order and with these pipes; or None."""
        order = cradle.order
        if self._anyone is None or order.spec.command is not None or order.sockets:
            return None
        birth = self._take_from(self._anyone, cradle.order, packed, cradle.theirs)
        if birth is not None:
            birth.outputs, birth.status = cradle.outputs, cradle.status
            for fd in cradle.theirs:
                os.close(fd)
        return birth

    def _take_from(
        self, shelf: _Shelf, order: child.Order, packed: bytes, fds: Sequence[int]
    ) -> Birth | None:
        while shelf.spares:
            birth = shelf.spares.popleft()
            if self._send_off(birth, order, packed, fds):
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
        """Let all end, for good."""
        self._anyone = None
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
            cgroup=None,  # it is put into that of its life
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

    def _send_off(
        self, birth: Birth, order: child.Order, packed: bytes, fds: Sequence[int]
    ) -> bool:
        """Let a spare go as the life of `order`; False if it cannot."""
        letter = child.letter_of(order, packed)
        life = birth.life
        life.on_gone = None
        if not _put(life, order.cgroup) or not pass_letter(birth.gate, letter, fds):
            birth.close()
            return False
        os.close(birth.gate)
        birth.gate = -1
        life.silent = False
        life.obey(order.spec)
        self._warden.rename(life, (order.path, order.generation))
        return True


def _put(life: Life, cgroup: Cgroup | None) -> bool:
    """Put a spare that lives into this cgroup; False if it cannot be."""
    if life.ended is not None:
        return False
    if cgroup is not None:
        try:
            enter(cgroup, life.pid)
        except OSError:  # the child that is forked instead says why
            return False
        life.cgroup = cgroup.directory
    return True


@dataclass(slots=True)
class _Lost:
    pool: SparePool
    shelf: _Shelf
    birth: Birth

    def __call__(self) -> None:
        self.pool.lost(self.shelf, self.birth)
