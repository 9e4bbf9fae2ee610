"""Whether spawners do their rounds: each is asked now and then, and one that is frozen is ended.

A spawner that is stopped or hangs is worse than a dead one: no end is told and no order carried
out, but nobody takes its place.  Dead, it has a successor, and its children are the root's.

Looks are counted and not seconds, so that no time is held against it in which the root was
stopped itself, or the whole machine.  Imports may take long, and it does nothing else meanwhile.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable

from supervisor_tree.spawner import kernel
from supervisor_tree.spawner.birth import SpawnerProcess

__all__ = ["Vigil"]

_LOOK_S = 2.0


class Vigil:
    """Over the spawners of one launcher.  `due` is when to look again, as time.monotonic()."""

    def __init__(self, now: float) -> None:
        self.due = now + _LOOK_S

    def look(self, spawners: Iterable[SpawnerProcess], now: float) -> None:
        """Ask each for a sign of life if it is time, and SIGKILL those that have given none.

        Call it when all that they have said so far is read.
        """
        if now < self.due:
            return
        self.due = now + _LOOK_S
        for spawner in spawners:
            if spawner.lost:
                continue
            if spawner.pulse.look(spawner.heard):
                spawner.frozen = True
                kernel.send_signal(spawner.pidfd, signal.SIGKILL)
            elif not spawner.channel.backlog:
                spawner.channel.send(["ping"])
