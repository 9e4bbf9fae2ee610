"""What the next host must know if this one dies together with its spawner.

The file names every process of every child by pid and start time, under the boot id and
the instance.  It is written whole to a second name and renamed over the first
(rename(2) is atomic), at most once per `interval_s`, and holds nothing that is needed
while the host lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supervisor_tree.runtime.lock import boot_id, start_ticks

__all__ = ["Leftover", "StateFile", "find_leftovers"]

_MARK = b"SUPERVISOR_TREE_SCOPE="
_MAX_STATE_BYTES = 16_000_000


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process of a former host's child."""

    pid: int
    path: str
    command: str

    def kill(self) -> None:
        """SIGKILL, unless it has ended meanwhile."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class StateFile:
    """`<run_dir>/state.json`."""

    def __init__(self, run_dir: Path, instance: str) -> None:
        self.path = run_dir / "state.json"
        self._instance = instance

    def write(self, children: Iterable[tuple[str, int, int, int]]) -> None:
        """Write (path, generation, pid, start_ticks) of each living child.

        A full disk must not stop supervision: the old file then stays as it is.
        """
        content = {
            "instance": self._instance,
            "boot_id": boot_id(),
            "root": [os.getpid(), start_ticks(os.getpid())],
            "children": [list(child) for child in children],
        }
        fresh = self.path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(content))
            fresh.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)

    def remove(self) -> None:
        """The host has ended in order: nothing is left over."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def find_leftovers(run_dir: Path) -> list[Leftover]:
    """Processes that a former host of this run directory has left behind.

    Known by pid and start time, by the session of such a process, or by the mark that
    every child carries in its environment.  Empty after a reboot.
    """
    try:
        state = json.loads(_read_file(run_dir / "state.json"))
        if state["boot_id"] != boot_id():
            return []
        instance = str(state["instance"])
        leaders = {
            int(pid): str(path)
            for path, _generation, pid, ticks in state["children"]
            if start_ticks(int(pid)) == ticks
        }
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return []
    mark = _MARK + instance.encode() + b":"
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        path = _owner(int(entry.name), leaders, mark)
        if path is not None:
            found.append(Leftover(int(entry.name), path, _command(entry)))
    return found


def _read_file(path: Path) -> bytes:
    """A regular file's content: whatever else bears the name must not hold the host up."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError(f"{path} is no file")
        return file.read(_MAX_STATE_BYTES)


def _owner(pid: int, leaders: dict[int, str], mark: bytes) -> str | None:
    try:
        session = os.getsid(pid)
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    for candidate in (pid, session):
        if candidate in leaders:
            return leaders[candidate]
    at = environment.find(mark)
    if at < 0:
        return None
    value = environment[at + len(mark) :].split(b"\0", 1)[0]
    return value.rsplit(b":", 1)[0].decode("utf-8", "replace")


def _command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return "?"
