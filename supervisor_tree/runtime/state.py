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
import select
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor_tree.files import read_regular, write_whole
from supervisor_tree.runtime.lock import boot_id, start_ticks

__all__ = ["Leftover", "StateFile", "end_leftovers", "find_leftovers", "former", "living_root"]

_MARK = b"SUPERVISOR_TREE_SCOPE="
_DYING_S = 2.0
_MAX_STATE_BYTES = 16_000_000
_FORMER_KEPT = 10


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
    """`<run_dir>/state.json`.  `former`: what to carry on of a former host's (see `former`)."""

    def __init__(self, run_dir: Path, instance: str, former: Sequence[Any] = ()) -> None:
        self.path = run_dir / "state.json"
        self._instance = instance
        self._former = list(former)
        self.problem = ""  # why the last write has failed

    def write(self, children: Iterable[tuple[str, int, int, int]]) -> bool:
        """Write (path, generation, pid, start_ticks) of each living child.

        A full disk must not stop supervision: the old file then stays as it is, and `problem`
        says why.  True if `problem` is another one than before.
        """
        content = {
            "instance": self._instance,
            "boot_id": boot_id(),
            "root": [os.getpid(), start_ticks(os.getpid())],
            "children": [list(child) for child in children],
            "former": self._former,
        }
        try:
            write_whole(self.path, json.dumps(content).encode())
            problem = ""
        except OSError as error:
            problem = error.strerror or str(error)
        news, self.problem = problem != self.problem, problem
        return news

    def remove(self) -> None:
        """The host has ended in order: nothing is left over."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def living_root(run_dir: Path) -> int | None:
    """The pid of the other root that has written the state file here, if it lives.

    One that has just been killed is waited for: its lock is free before its end is complete.
    """
    try:
        state = json.loads(read_regular(run_dir / "state.json", _MAX_STATE_BYTES))
        pid, ticks = (int(number) for number in state["root"])
        if state["boot_id"] != boot_id() or pid == os.getpid() or start_ticks(pid) != ticks:
            return None
        process = os.pidfd_open(pid)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    try:
        return None if select.select([process], [], [], _DYING_S)[0] else pid
    finally:
        os.close(process)


def former(run_dir: Path) -> list[Any]:
    """What the next host must know of those before it whose leftovers it leaves alone."""
    try:
        state = json.loads(read_regular(run_dir / "state.json", _MAX_STATE_BYTES))
        if state["boot_id"] != boot_id():
            return []
        last = {"instance": state["instance"], "children": state["children"]}
        return [*state.get("former", ()), last][-_FORMER_KEPT:]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def find_leftovers(run_dir: Path) -> list[Leftover]:
    """Processes that a former host of this run directory has left behind.

    Known by pid and start time, by the session of such a process, or by the mark that
    every child carries in its environment.  Empty after a reboot.
    """
    try:
        lives = former(run_dir)
        marks = [_MARK + str(life["instance"]).encode() + b":" for life in lives]
        leaders = {
            int(pid): str(path)
            for life in lives
            for path, _generation, pid, ticks in life["children"]
            if start_ticks(int(pid)) == ticks
        }
    except (ValueError, KeyError, TypeError, OverflowError):
        return []
    found = []
    for entry in Path("/proc").iterdir() if lives else ():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        path = _owner(int(entry.name), leaders, marks)
        if path is not None:
            found.append(Leftover(int(entry.name), path, _command(entry)))
    return found


def end_leftovers(run_dir: Path) -> list[Leftover]:
    """SIGKILL what a former host of this run directory has left behind, until it is gone."""
    ended: dict[int, Leftover] = {}
    for _ in range(100):
        leftovers = find_leftovers(run_dir)
        if not leftovers:
            break
        for leftover in leftovers:
            ended.setdefault(leftover.pid, leftover)
            leftover.kill()
    return list(ended.values())


def _owner(pid: int, leaders: dict[int, str], marks: Sequence[bytes]) -> str | None:
    try:
        session = os.getsid(pid)
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    for candidate in (pid, session):
        if candidate in leaders:
            return leaders[candidate]
    for mark in marks:
        at = environment.find(mark)
        if at >= 0:
            value = environment[at + len(mark) :].split(b"\0", 1)[0]
            return value.rsplit(b":", 1)[0].decode("utf-8", "replace")
    return None


def _command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return "?"
