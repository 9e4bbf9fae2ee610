"""What becomes of the lives of a spawner that has died: its children are the root's own now.

A life that was told of is adopted as it is.  A launch that was not answered is given to the
next spawner, once the process that may have come of it is ended.  What cannot be looked at
for want of descriptors waits for `try_again`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from supervisor_tree.spawner.lives import Key, Life
from supervisor_tree.spawner.records import Record, children_marked, obey
from supervisor_tree.spawner.scope import Warden

__all__ = ["Succession"]


class Succession:
    """For one launcher.  `records` are all that it keeps; `give` hands a launch to a spawner."""

    def __init__(
        self,
        warden: Warden,
        instance: str,
        records: Mapping[Key, Record],
        give: Callable[[Key], None],
    ) -> None:
        self._warden = warden
        self._instance = instance
        self._records = records
        self._give = give
        self._unadopted: list[Record] = []
        self._unplaced: set[Key] = set()  # launches of dead spawners, not looked for yet

    @property
    def waiting(self) -> bool:
        """Something is left for `try_again`."""
        return bool(self._unadopted or self._unplaced)

    def take_over(self, lost: Mapping[Key, Record]) -> int:
        """All that one spawner had been told to make; returns how many lives go on."""
        born = [record for record in lost.values() if record.pid]
        for record in born:
            self._adopt(record)
        self._begin_anew({key for key, record in lost.items() if not record.pid})
        return len(born)

    def try_again(self) -> None:
        """There may be descriptors by now."""
        unadopted, self._unadopted = self._unadopted, []
        for record in unadopted:
            self._adopt(record)
        unplaced, self._unplaced = self._unplaced, set()
        self._begin_anew(unplaced)

    def _adopt(self, record: Record) -> None:
        """Take charge of a life whose spawner is dead; it is unreaped, so the pid is its own."""
        try:
            self._warden.watch(record.life())
        except OSError:  # out of descriptors
            self._unadopted.append(record)
            return
        # Perhaps for the second time: the spawner cannot be asked what it had read.
        for verb in sorted(record.asked, reverse=True):
            obey(self._warden, [verb, record.launch.path, record.launch.generation])

    def _begin_anew(self, keys: Iterable[Key]) -> None:
        """Launches without an answer: end what may have come of each, then give it again."""
        left = set(keys)
        for key in left:
            self._records[key].spawner = None
        try:
            found = children_marked(self._instance, left)
            for key in sorted(left):
                if key in found:
                    self._end_half_born(key, found[key])
                else:
                    self._give(key)
                left.discard(key)
        except OSError:  # out of descriptors
            self._unplaced |= left

    def _end_half_born(self, key: Key, pid: int) -> None:
        life = Life(*key, pid, os.pidfd_open(pid), 0, grace=0.0, silent=True)
        life.on_gone = lambda: self._give(key)
        self._warden.watch(life)
        self._warden.kill(*key)
