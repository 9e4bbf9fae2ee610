"""How long log files are kept: `decide` says which must go, `Budget` sees to it.

Age comes first: a file that nobody has written for the `max_age` of its log goes.  Then
size, all logs together.  Each log has an equal share of the budget as its own, and what
some do not use, others may.  Only when the budget runs out are files deleted, the oldest
first, and only of logs that hold more than their share: a small log keeps all it has,
however much its neighbours write.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from supervisor_tree.runtime.logs.book import is_rotated, log_of_rotated

__all__ = ["Ages", "Budget", "Found", "Verdict", "decide"]

_LOOK_S = 3600.0  # between two looks for what is too old


class Found(NamedTuple):
    """A log file: `log` is the live file it belongs to, or is; `written` is Unix time."""

    file: str
    log: str
    size: int
    written: float


class Verdict(NamedTuple):
    """Files to delete, and live ones that should be begun anew: what is in them is too much."""

    delete: list[str]
    rotate: list[str]


def decide(
    files: Iterable[Found],
    *,
    total: int,
    now: float,
    max_age: Callable[[str], float | None],
    is_open: Callable[[str], bool],
) -> Verdict:
    """What must go so that all files are young enough, and smaller than `total` together.

    `max_age(log)` is in seconds, None: for ever.  A live file that `is_open` is being written,
    and is not deleted.
    """
    delete: list[str] = []
    rotate: list[str] = []
    closed: list[Found] = []
    growing: list[Found] = []
    held: Counter[str] = Counter()
    for found in files:
        age = max_age(found.log)
        if found.file == found.log and is_open(found.log):
            growing.append(found)
        elif age is not None and found.written < now - age:
            delete.append(found.file)
            continue
        else:
            closed.append(found)
        held[found.log] += found.size
    used = sum(held.values())
    # Smaller than all in use together, so that one log at least is beyond its share then.
    share = total * 7 // 8 // max(1, len(held))
    for found in sorted(closed, key=lambda found: found.written):
        if used <= total - total // 32:
            break
        if held[found.log] > share:
            delete.append(found.file)
            held[found.log] -= found.size
            used -= found.size
    for found in sorted(growing, key=lambda found: -found.size):
        if used <= total - total // 8 or found.size <= share:
            break
        if found.size == held[found.log]:  # else it has older files, which go first
            rotate.append(found.file)
            used -= found.size
    return Verdict(delete, rotate)


class Ages:
    """How old each log may get; `longest` holds for those that nothing is known of yet.

    It is the longest limit of any child, so that nothing is deleted too early.
    """

    def __init__(self, longest: float | None) -> None:
        self._longest = longest
        self._known: dict[str, float | None] = {}

    def of(self, log: str) -> float | None:
        """In seconds; None: it may get as old as it likes."""
        return self._known.get(log, self._longest)

    def learn(self, log: str, max_age: float | None) -> None:
        """A child that writes this log has said so."""
        if max_age == self._longest:
            self._known.pop(log, None)
        else:
            self._known[log] = max_age

    @property
    def shortest(self) -> float | None:
        """Of all."""
        ages = [age for age in (self._longest, *self._known.values()) if age is not None]
        return min(ages, default=None)


class Budget:
    """Looks after the log files of a directory.

    They are listed once per 1/64 of the budget written, and once an hour, or oftener where
    `shortest_age` (seconds, of any log) asks for it.  `step` is called with each directory.
    """

    def __init__(
        self,
        log_dir: str,
        total: int,
        *,
        max_age: Callable[[str], float | None],
        is_open: Callable[[str], bool],
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self._log_dir = log_dir
        self._total = total
        self._max_age = max_age
        self._is_open = is_open
        self._step = step
        self._until_look = 0
        self.shortest_age: float | None = None

    def spend(self, written: int) -> bool:
        """Count bytes written; True when it is time to `enforce`."""
        self._until_look -= written
        return self._until_look <= 0

    @property
    def interval_s(self) -> float:
        """How often `enforce` should be called if nothing is written."""
        shortest = self.shortest_age
        return _LOOK_S if shortest is None else max(0.5, min(_LOOK_S, shortest / 8))

    def enforce(self, now: float) -> list[str]:
        """Delete what must go at Unix time `now`.  Returns the live files to begin anew."""
        self._until_look = self._total // 64
        verdict = decide(
            list(self._files()),
            total=self._total,
            now=now,
            max_age=self._max_age,
            is_open=self._is_open,
        )
        for file in verdict.delete:
            self._step()
            with contextlib.suppress(OSError):
                os.unlink(file)
        return verdict.rotate

    def _files(self) -> Iterable[Found]:
        for folder, _, names in os.walk(self._log_dir):
            self._step()
            for name in names:
                file = os.path.join(folder, name)
                if not name.endswith(".log"):
                    continue
                log = log_of_rotated(file) if is_rotated(name) else file
                with contextlib.suppress(OSError):
                    state = os.stat(file)
                    yield Found(file, log, state.st_size, state.st_mtime)
