"""The leak ledger: processes that had escaped from their scope, and what became of them.

One line of JSON per process, appended; what a former life of the host has written stays.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor_tree.files import read_regular, write_whole

__all__ = ["LeakLedger"]

_KEPT = 1000
_ENTRY = {"time": str, "path": str, "generation": int, "pid": int, "command": str, "ended": bool}
# A pipe of that name that nobody reads is an error, and does not hold the host up.
_APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_BYTES = 500_000  # of the file, before it is written anew with those that are kept


class LeakLedger:
    """`<state_dir>/leaks.jsonl`.  The last thousand; what cannot be written goes with the host."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "leaks.jsonl"
        self.lost = 0  # entries that are not in the file
        self._entries: deque[dict[str, Any]] = deque(_read(self.path), maxlen=_KEPT)
        self._bytes = 0
        with contextlib.suppress(OSError):
            self._bytes = self.path.stat().st_size

    def heard(self, record: Mapping[str, Any]) -> None:
        """An event has been published."""
        if record["event"] != "child_leaked":
            return
        common = {key: record[key] for key in ("time", "path", "generation")}
        found = [
            {**common, "pid": each["pid"], "command": each["command"], "ended": record["ended"]}
            for each in record["processes"]
        ]
        self._entries.extend(found)
        self._append(found)

    def entries(self) -> list[dict[str, Any]]:
        """`{time, path, generation, pid, command, ended}` of the last ones, oldest first."""
        return list(self._entries)

    def _append(self, found: list[dict[str, Any]]) -> None:
        data = b"".join(json.dumps(entry).encode() + b"\n" for entry in found)
        anew = self._bytes + len(data) > _MOST_BYTES
        if anew:
            data = b"".join(json.dumps(entry).encode() + b"\n" for entry in self._entries)
        try:
            if anew:
                write_whole(self.path, data)
                self._bytes = 0
            else:
                with open(os.open(self.path, _APPENDING, 0o600), "wb") as file:
                    file.write(data)
            self._bytes += len(data)
        except OSError:
            self.lost += len(found)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        lines = read_regular(path, 2 * _MOST_BYTES).split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        # Cut off by a full disk or the power, or not of our writing.
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if _is_whole(entry):
                found.append({key: entry[key] for key in _ENTRY})
    return found


def _is_whole(entry: object) -> bool:
    return isinstance(entry, dict) and all(
        type(entry.get(key)) is kind for key, kind in _ENTRY.items()
    )
