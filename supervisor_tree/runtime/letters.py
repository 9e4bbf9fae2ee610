"""Dead letters: casts that were given up, kept for inspection in the host's state directory.

One file each, 0600, numbered; the oldest go when there are too many.  What is in them is the
users' own data and is shown to nobody but the host's user.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack

from supervisor_tree.files import write_whole

__all__ = ["DeadLetters"]

_MAX_LETTERS = 1000
_MAX_BYTES = 64 * 1024 * 1024
_SUFFIX = ".letter"


class DeadLetters:
    """The letters of one host.  The directory is made when the first is kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sizes: dict[int, int] = {}
        for path in directory.glob(f"*{_SUFFIX}"):
            if path.stem.isdigit():
                self._sizes[int(path.stem)] = path.stat().st_size
        self._sizes = dict(sorted(self._sizes.items()))

    def keep(self, facts: Mapping[str, Any]) -> int:
        """Store one; returns its number.  Raises OSError if it cannot be written."""
        number = max(self._sizes, default=0) + 1
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        packed: bytes = msgpack.packb(dict(facts), default=repr)
        path = self._path(number)
        write_whole(path, packed)
        self._sizes[number] = len(packed)
        while len(self._sizes) > _MAX_LETTERS or sum(self._sizes.values()) > _MAX_BYTES:
            self.discard(next(iter(self._sizes)))
        return number

    def numbers(self) -> list[int]:
        """Those that are kept, oldest first."""
        return list(self._sizes)

    def read(self, number: int) -> dict[str, Any] | None:
        """One letter with its `number`; None if there is none, or it cannot be read."""
        if number not in self._sizes:
            return None
        try:
            facts = msgpack.unpackb(self._path(number).read_bytes())
        except (OSError, ValueError, msgpack.UnpackException):
            return None
        return {"number": number, **facts} if isinstance(facts, dict) else None

    def discard(self, number: int) -> bool:
        """Delete one; False if there is none."""
        if self._sizes.pop(number, None) is None:
            return False
        self._path(number).unlink(missing_ok=True)
        return True

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:08d}{_SUFFIX}"
