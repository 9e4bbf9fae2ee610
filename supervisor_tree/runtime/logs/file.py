"""One log file with its rotation.

Writing, rotation and retention are loguru's; each file has a loguru logger of its own, so
that a record does not pass a thousand other handlers.  A record is a whole batch of lines.
"""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supervisor_tree.core.specs import Logs
from supervisor_tree.runtime.logs.book import parse_time, rotated_files

if TYPE_CHECKING:
    from loguru import Logger

__all__ = ["LogFile", "Placed"]

# Told of the state of the file right before a write: the step that makes a kill survivable.
Placed = Callable[[os.stat_result], None]


class LogFile:
    """A file that is appended to, and begun anew when it is full or half of `max_age` old.

    The file is opened when first written, and anew when it has been moved or deleted.
    """

    def __init__(self, path: str, limits: Logs) -> None:
        self.path = path
        self.limits = limits
        self.rotate_next = False
        self.rotated = False  # since the last look of whoever clears it
        self._logger: Logger | None = None
        self._write: Callable[[str], None] | None = None
        self._placed: Placed = _nothing
        self._length = 0
        self._state: os.stat_result | None = None
        self._begun: float | None = None  # the time of its first line

    @property
    def is_open(self) -> bool:
        """Whether a descriptor is held."""
        return self._write is not None

    def append(self, lines: bytes, placed: Placed) -> None:
        """Write whole lines, all or none.  OSError: none has been written, the file is as before.

        `placed` is called right before with the state of the file; if the batch starts a new
        file, it is still the old one's.
        """
        self._placed, self._length, self._state = placed, len(lines), None
        try:
            if self._write is None:
                self._write = self._open()
            self._write(lines.decode("utf-8", "surrogateescape"))
        except OSError:
            self.release()
            self._undo()
            raise
        finally:
            self._placed = _nothing

    def release(self) -> None:
        """Close; the next write opens the path anew."""
        if self._logger is not None:
            # What could not be written before cannot be flushed now, and is given up.
            with contextlib.suppress(OSError):
                self._logger.remove()
        self._logger = self._write = None

    def _open(self) -> Callable[[str], None]:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        self._begun = _first_time(self.path)
        self._logger = _fresh_logger()
        options: dict[str, Any] = {"errors": "surrogateescape"}
        self._logger.add(
            self.path.replace("{", "{{").replace("}", "}}"),
            format="{message}",
            level=0,
            rotation=self._must_rotate,
            retention=self._retain,
            watch=True,
            enqueue=False,
            catch=False,
            **options,
        )
        return self._logger.opt(raw=True).info

    def _must_rotate(self, _message: object, file: Any) -> bool:
        """loguru asks before each write: here the file's true state is known."""
        state = self._state = os.fstat(file.fileno())
        self._placed(state)
        now = time.time()
        if state.st_size == 0 or self._begun is None:
            self._begun = now
        full = state.st_size + self._length > self.limits.rotation
        age = self.limits.max_age
        old = age is not None and now - self._begun > age / 2
        rotate = state.st_size > 0 and (full or old or self.rotate_next)
        if rotate:
            self._begun = now
            self.rotate_next = False
            self.rotated = True
        return rotate

    def _retain(self, _candidates: list[str]) -> None:
        """Keep the newest; loguru's own choice of names would take /a.b for a former /a."""
        left = self.limits.total_bytes
        for number, file in enumerate(reversed(rotated_files(self.path))):
            with contextlib.suppress(FileNotFoundError):
                left -= os.stat(file).st_size
                if number >= self.limits.retention or left < 0:
                    os.unlink(file)

    def _undo(self) -> None:
        """Cut off what a failed write has left of its lines."""
        before = self._state
        if before is None:
            return  # it failed before the file was open
        with contextlib.suppress(OSError):
            now = os.stat(self.path)
            size = before.st_size if os.path.samestat(before, now) else 0
            if now.st_size > size:
                os.truncate(self.path, size)


def _nothing(_state: os.stat_result) -> None:
    """No one wants to know."""


def _first_time(file: str) -> float | None:
    """When the first line of a file was written; None if it has none."""
    try:
        with open(file, "rb") as handle:
            return parse_time(handle.read(64))
    except OSError:  # none there, or not ours to read
        return None


def _fresh_logger() -> Logger:
    """A loguru logger that shares nothing with any other (loguru's recipe: a deep copy)."""
    from loguru import logger  # noqa: PLC0415 - 20 ms that only the logger process pays

    logger.remove()
    return copy.deepcopy(logger)
