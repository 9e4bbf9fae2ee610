"""What a host has in its run directory, and that it stays there.

Temporary directories are swept by age, and operators mistype: a host whose lock or sockets
were deleted could be reached by nobody, and a second one could start beside it.  So it
looks, once per second, whether each name still leads to what it has made, and makes anew
what is gone; children notice nothing.  inotify(7) would cost a descriptor, of which a user
has few, and must be told of each parent directory too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from supervisor_tree.errors import AlreadyRunning, SupervisorTreeError
from supervisor_tree.runtime.lock import RunDirectoryLock
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.settings import unusable
from supervisor_tree.runtime.state import (
    Leftover,
    end_leftovers,
    find_leftovers,
    living_root,
)

__all__ = ["RunDirectory"]

_LOOK_S = 1.0


@dataclass(slots=True)
class _Kept:
    path: Path
    put_back: Callable[[], None]
    place: tuple[int, int] | None  # device and inode; None: any file of that name will do


class RunDirectory:
    """One host's.  `mode` is what a directory that has to be made anew gets."""

    def __init__(self, path: Path, mode: int) -> None:
        self.path = path
        self.taken = False  # another host has it now
        self._mode = mode
        self._lock = RunDirectoryLock(path)
        self._kept: list[_Kept] = []
        self._problem = ""
        self.ended: list[Leftover] = []

    def enter(self, *, leave: bool = False, **facts: Any) -> list[Leftover]:
        """Take the lock, naming `facts` in it, and end what a former host has left behind.

        That is in `ended` then.  With `leave` it is left alone, and returned.
        Raises AlreadyRunning, or ConfigError if there can be no lock here.
        """
        try:
            started = datetime.now(UTC).isoformat(timespec="seconds")
            self._lock.acquire(started=started, **facts)
        except OSError as error:
            raise unusable(self.path, error.strerror or str(error)) from None
        pid = living_root(self.path)
        if pid is not None:
            self._lock.release()
            raise AlreadyRunning(
                f"cannot run here: the host with pid {pid} uses {self.path} and is about to take "
                "its lock again, which was deleted"
            )
        if leave:
            return find_leftovers(self.path)
        self.ended = end_leftovers(self.path)
        return []

    def keep(self, path: Path, put_back: Callable[[], None], *, replaceable: bool = False) -> None:
        """Watch over a file that is there.  `replaceable`: it only has to bear this name."""
        self._kept.append(_Kept(path, put_back, None if replaceable else _place_of(path)))

    def watch(
        self, reactor: Reactor, tell: Callable[[str], None], on_taken: Callable[[], None]
    ) -> None:
        """Look at once and from now on, once per `_LOOK_S`, until another host has come in."""
        for line in self.look():
            tell(line)
        if self.taken:
            on_taken()
        else:
            again = partial(self.watch, reactor, tell, on_taken)
            reactor.call_in("run-directory", _LOOK_S, again)

    def look(self) -> list[str]:
        """Put back what is gone.  Returns what there is to say about it; a failure is said once.

        `taken` is set if that cannot be, as another host has come in meanwhile.
        """
        gone = [kept for kept in self._kept if _is_gone(kept)]
        lock_gone = not self._lock.in_place()
        if not gone and not lock_gone:
            self._problem = ""
            return []
        try:
            self._put_back(gone, lock_gone=lock_gone)
        except AlreadyRunning as error:
            self.taken = True
            return [f"the lock of this host was deleted, and another has taken it: {error}"]
        except (OSError, SupervisorTreeError) as error:
            problem = f"cannot put back what was deleted from {self.path}: {error}"
            news = [] if problem == self._problem else [problem]
            self._problem = problem
            return news
        self._problem = ""
        names = [kept.path.name for kept in gone if _place_of(kept.path)]
        names += ["lock"] if lock_gone else []
        return [f"deleted from {self.path}, made anew: {', '.join(names)}"] if names else []

    def remove(self) -> None:
        """Delete the files that are ours, but not those that the next host has a use for."""
        for kept in self._kept:
            if kept.place is not None and not _is_gone(kept):
                with contextlib.suppress(OSError):
                    kept.path.unlink()

    def leave(self) -> None:
        """Delete what is ours and let the lock go."""
        self.remove()
        self._lock.release()

    def _put_back(self, gone: list[_Kept], *, lock_gone: bool) -> None:
        if not self.path.is_dir():
            self.path.mkdir(parents=True, mode=0o700)
            os.chmod(self.path, self._mode)
        if lock_gone:
            self._lock.retake()
        for kept in gone:
            kept.put_back()
            if kept.place is not None:
                kept.place = _place_of(kept.path)


def _place_of(path: Path) -> tuple[int, int] | None:
    try:
        facts = os.lstat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _is_gone(kept: _Kept) -> bool:
    place = _place_of(kept.path)
    return place is None or kept.place not in {None, place}
