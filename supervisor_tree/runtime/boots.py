"""The boot ledger: every life of a host in its state directory, and how it ended.

Written whole under another name, forced to the disk, and renamed: it is made for the moment in
which the power goes.  A ledger that cannot be read or written never keeps a host from starting.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from supervisor_tree.control.events import rfc3339
from supervisor_tree.core.breaker import Boot, is_safe_mode, unclean
from supervisor_tree.files import read_regular, write_whole
from supervisor_tree.runtime.lock import boot_id, start_ticks

__all__ = ["BootLedger", "read_boots"]

_KEPT = 50
_ENTRY: dict[str, tuple[type, ...]] = {
    "instance": (str,),
    "pid": (int,),
    "start_ticks": (int, type(None)),
    "boot_id": (str,),
    "began": (float,),
    "time": (str,),
    "safe_mode": (bool,),
    "outcome": (str, type(None)),
}
_MOST_BYTES = 1_000_000


class BootLedger:
    """`<state_dir>/boots.json`, for one life."""

    def __init__(self, state_dir: Path, instance: str) -> None:
        self.path = state_dir / "boots.json"
        self.problem = ""
        self._instance = instance
        self._former = read_boots(state_dir)[-_KEPT + 1 :]
        self._own: dict[str, Any] = {}

    def begin(self, wall: float, *, breaker: bool) -> bool:
        """Write this boot down; whether the host has to come up in safe mode.

        `breaker`: False says that it does not have to, whatever has happened.
        """
        boots = [_boot(entry) for entry in self._former]
        safe_mode = breaker and is_safe_mode(boots, wall)
        self._own = {
            "instance": self._instance,
            "pid": os.getpid(),
            "start_ticks": start_ticks(os.getpid()),
            "boot_id": boot_id(),
            "began": wall,
            "time": rfc3339(wall),
            "safe_mode": safe_mode,
            "outcome": None,
        }
        self._write()
        return safe_mode

    def unclean(self, wall: float) -> int:
        """How many lives before this one were cut off within the breaker's window."""
        return len(unclean([_boot(entry) for entry in self._former], wall))

    def end(self, outcome: str) -> None:
        """This life ends in order, for the reason that `outcome` names."""
        self._own["outcome"] = outcome
        self._write()

    def _write(self) -> None:
        content = json.dumps({"boots": [*self._former, self._own]}, indent=1).encode()
        try:
            write_whole(self.path, content, durable=True)
            self.problem = ""
        except OSError as error:
            self.problem = f"cannot write {self.path}: {error.strerror}"


def read_boots(state_dir: Path) -> list[dict[str, Any]]:
    """All that are kept, oldest first; none if there is no ledger that can be read."""
    try:
        boots = json.loads(read_regular(state_dir / "boots.json", _MOST_BYTES))["boots"]
        return [entry for entry in boots if _is_whole(entry)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _is_whole(entry: object) -> bool:
    """Whether it is one that `begin` has written."""
    return isinstance(entry, dict) and all(
        type(entry.get(key)) in kinds for key, kinds in _ENTRY.items()
    )


def _boot(entry: dict[str, Any]) -> Boot:
    same_boot = entry["boot_id"] == boot_id()
    lives = same_boot and start_ticks(entry["pid"]) == entry["start_ticks"]
    return Boot(began=entry["began"], lives=lives, outcome=entry["outcome"])
