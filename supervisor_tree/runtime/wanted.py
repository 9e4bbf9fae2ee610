"""Keeps on the disk what operators want, and says when it is there.

The core tells each change (`HoldChanged`); the changes of one turn become one file
(`wantedfile`), which a child of `/_` writes and whose outcome is the answer to its start.  One is
under way at a time; what changes meanwhile is in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from supervisor_tree.control.events import rfc3339
from supervisor_tree.control.holds import Asker, Hold
from supervisor_tree.core.actions import HoldChanged
from supervisor_tree.core.specs import ChildSpec, Restart
from supervisor_tree.core.stimuli import StartChildRequested, Stimulus
from supervisor_tree.runtime.wantedfile import read_holds, write_holds

__all__ = ["WantedState"]

_RETRY_S = 5.0
_LIMIT_S = 10.0  # for one file; a disk that takes longer is as good as none
_PATIENCE_S = 12.0  # of whoever has given an order, should that limit not be kept either


class _Core(Protocol):
    """What is needed of the driver."""

    def submit(self, make: Callable[[int], Stimulus], answer: Callable[[Any], None]) -> None: ...


class _Loop(Protocol):
    """What is needed of the reactor."""

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None: ...


class WantedState:
    """What is remembered of one host.

    `directory` is None for a host whose tree comes from a program: there it lasts as long as the
    host.  `tell` hears what an operator should know, each thing once.
    """

    def __init__(
        self,
        directory: Path | None,
        core: _Core,
        loop: _Loop,
        wall: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self.holds: dict[str, Hold] = {}
        self.problem = ""  # why the last file could not be written
        self._directory = directory
        self._core = core
        self._loop = loop
        self._wall = wall
        self._tell = tell
        self._number = 0  # of the file that is written, or was last
        self._writing = False
        self._changed = False  # since that file was begun
        self._due: dict[Asker, int] = {}  # the file that has what each has changed
        self._waiting: list[tuple[int, Callable[[str], None]]] = []

    def load(self) -> dict[str, bool]:
        """What former lives of the host have been told, for the core."""
        if self._directory is not None:
            self.holds, self._number, problems = read_holds(self._directory)
            for problem in problems:
                self._tell(problem)
        return {path: hold.down for path, hold in self.holds.items()}

    def remember(self, change: HoldChanged, asker: Asker | None) -> None:
        """One change, by this order."""
        if change.down is None:
            self.holds.pop(change.path, None)
        else:
            by = asker or Asker("")
            self.holds[change.path] = Hold(
                path=change.path,
                down=change.down,
                since=rfc3339(self._wall()),
                uid=by.uid,
                pid=by.pid,
                verb=by.verb,
                why=by.why,
            )
        if self._directory is None:
            return
        self._changed = True
        if asker is not None:
            self._due[asker] = self._number + 1
        if not self._writing:
            self._loop.call_in("wanted", 0.0, self._write)

    def when_kept(self, asker: Asker | None, done: Callable[[str], None]) -> None:
        """Call `done` when what `asker` has changed is on the disk, with "" or why it is not."""
        number = None if asker is None else self._due.pop(asker, None)
        if number is None:
            done("")
        elif number <= self._number and not self._writing:
            done(self.problem)
        else:
            entry = (number, done)
            self._waiting.append(entry)
            self._loop.call_in(("wanted", id(entry)), _PATIENCE_S, partial(self._too_late, entry))

    def close(self) -> None:
        """The host ends; nobody is held up any more by a slow disk."""
        if self._directory is not None and (self._changed or self._writing or self.problem):
            try:
                write_holds(self._directory, self._number + 1, self._data())
            except OSError as error:
                self._tell(self._complaint(error.strerror or str(error)))

    def _write(self) -> None:
        if self._writing or not (self._changed or self.problem):
            return
        self._writing, self._changed = True, False
        self._number += 1
        spec = ChildSpec(
            id="wanted",
            agent="supervisor_tree.runtime.wantedfile:Saver",
            restart=Restart.TEMPORARY,
            start_timeout=_LIMIT_S,
            args={
                "directory": str(self._directory),
                "number": self._number,
                "holds": self._data(),
            },
        )
        self._core.submit(lambda request: StartChildRequested(request, "/_", spec), self._written)

    def _data(self) -> list[dict[str, Any]]:
        return [asdict(hold) for hold in self.holds.values()]

    def _written(self, result: Any) -> None:
        self._writing = False
        if result[0] == "exit":  # the host ends, and with it `/_`
            self._changed = True
            return
        problem = "" if result[0] == "ok" else _words(result[1])
        if problem != self.problem:
            self.problem = problem
            self._tell(self._complaint(problem) if problem else f"{self._directory}: written again")
        over = [entry for entry in self._waiting if entry[0] <= self._number]
        self._waiting = [entry for entry in self._waiting if entry[0] > self._number]
        for _number, done in over:
            done(problem)
        if self._changed:
            self._write()
        elif problem:
            self._loop.call_in("wanted", _RETRY_S, self._write)

    def _too_late(self, entry: tuple[int, Callable[[str], None]]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
            entry[1]("the disk is too slow")

    def _complaint(self, problem: str) -> str:
        return (
            f"cannot remember what operators want: {self._directory}: {problem}; "
            "it is forgotten when the host ends"
        )


def _words(reason: Any) -> str:
    """Of a failed start: `(("init", "OSError: [Errno 28] No space left on device"), "child")`."""
    match reason:
        case (("init" | "start_error", str(text)), "child"):
            return text
        case (inner, "child"):
            return str(inner)
    return str(reason)
