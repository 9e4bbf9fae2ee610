"""Real spawners under test: launch, wait, look, and be sure that nothing is left."""

from __future__ import annotations

import os
import select
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.runtime.launcher import Exited, Launch, LaunchFailed, Spawned
from supervisor_tree.spawner import procfs
from supervisor_tree.spawner.client import SpawnerLauncher
from supervisor_tree.spawner.remarks import Remark
from supervisor_tree.spawner.spares import ANYONE
from supervisor_tree.testing import Probe

__all__ = [
    "DEADLINE_S",
    "Spawning",
    "alive",
    "gone_within",
    "is_spare",
    "marked",
    "read_all",
    "wait_for",
]

DEADLINE_S = 10.0


class Spawning:
    """One SpawnerLauncher, its probe, and the output of what it launches."""

    def __init__(self, **options: Any) -> None:
        self.instance = uuid.uuid4().hex
        self.launcher = SpawnerLauncher.start(instance=self.instance, **options)
        self.probe = Probe(self.launcher, DEADLINE_S)
        self.remarks: list[Remark] = []

    def launch(self, path: str, *command: str, generation: int = 1, **spec: Any) -> Launch:
        """Launch a program, or with `agent=` an agent."""
        environment = spec.pop("owned", {})
        args = spec.pop("extra", None)
        code = spec.pop("code", 0)
        cgroup = spec.pop("cgroup", None)
        child = ChildSpec(id=path.rpartition("/")[2], command=command or None, **spec)
        launch = Launch(
            path=path,
            generation=generation,
            spec=child,
            args=args,
            environment=environment,
            code=code,
            cgroup=cgroup,
        )
        self.launcher.launch(launch)
        return launch

    def python(self, path: str, code: str, *args: str, **spec: Any) -> Launch:
        """Launch a Python program, without the site's start-up cost."""
        return self.launch(path, sys.executable, "-S", "-c", code, *args, **spec)

    def spawned(self, path: str) -> Spawned:
        return self.probe.wait(Spawned, path)

    def exited(self, path: str) -> Exited:
        return self.probe.wait(Exited, path)

    def failed(self, path: str) -> LaunchFailed:
        return self.probe.wait(LaunchFailed, path)

    def run(self, path: str, *command: str, **spec: Any) -> str:
        """Launch, wait for the end, and return all it has written."""
        self.launch(path, *command, **spec)
        spawned = self.spawned(path)
        text = read_all(spawned.stdout)
        self.exited(path)
        return text

    def remark(self, kind: type) -> Any:
        """The next remark of a kind."""

        def there() -> bool:
            self.remarks += self.launcher.remarks()
            return any(isinstance(one, kind) for one in self.remarks)

        self.probe.until(there, kind.__name__)
        found = next(one for one in self.remarks if isinstance(one, kind))
        self.remarks.remove(found)
        return found

    def close(self) -> None:
        """Close it all; AssertionError if a process of it is left."""
        for notice in self.probe.seen:
            if isinstance(notice, Spawned):
                for fd in {notice.stdout, notice.stderr} - {-1}:
                    os.close(fd)
        self.launcher.close()
        assert self.launcher.wait_closed(2 * DEADLINE_S), "the spawner has not ended"
        assert gone_within(2.0, marked(self.instance)), "processes with the mark are left"


def marked(instance: str, *, spares: bool = True) -> list[int]:
    """Pids of all processes that bear the mark of this instance."""
    found = []
    for pid in procfs.everyone():
        mark = procfs.environ_mark(pid)
        ours = mark is not None and mark.startswith(f"{instance}:")
        if ours and (spares or not is_spare(instance, pid)):
            found.append(pid)
    return found


def spares(spawning: Spawning, path: str, wanted: int) -> list[int]:
    """Pids of the spares of a path, once there are so many and all stand at their gate."""
    found: list[int] = []

    def are_there() -> bool:
        title = f"supervisor-tree: {path} (spare)"
        children = procfs.children_of(spawning.launcher.pid)
        found[:] = [pid for pid in children if procfs.command_line(pid) == title]
        return len(found) == wanted

    spawning.probe.until(are_there, f"{wanted} spares of {path}")
    return found


def is_spare(instance: str, pid: int) -> bool:
    """Whether it waits to become any agent."""
    return procfs.environ_mark(pid) == f"{instance}:{ANYONE}:0"


def read_all(fd: int) -> str:
    """Everything until the last writer has closed it."""
    parts: list[bytes] = []
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while poll.poll(DEADLINE_S * 1000):
        part = os.read(fd, 65536)
        if not part:
            return b"".join(parts).decode()
        parts.append(part)
    raise AssertionError(f"no end of output; so far: {b''.join(parts)!r}")


def read_line(fd: int) -> str:
    """One line, as soon as it is there."""
    line = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not line.endswith(b"\n"):
        assert poll.poll(DEADLINE_S * 1000), f"no line; so far: {line!r}"
        part = os.read(fd, 1)
        assert part, f"the output ended with {line!r}"
        line += part
    return line.decode().rstrip("\n")


def alive(pid: int) -> bool:
    now = procfs.stat(pid)
    return now is not None and not now.dead


def gone_within(seconds: float, pids: list[int]) -> bool:
    """Whether all of these end in time."""
    end = time.monotonic() + seconds
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(max(0.0, end - time.monotonic()) * 1000)
        finally:
            os.close(pidfd)
    return not any(alive(pid) for pid in pids)


def wait_for(file: Path, what: str) -> str:
    """The text of a file once it is there and whole (ends with a newline)."""
    end = time.monotonic() + DEADLINE_S
    pause = select.poll()
    while time.monotonic() < end:
        if file.exists() and (text := file.read_text()).endswith("\n"):
            return text
        pause.poll(5)
    raise AssertionError(f"{what}: {file} was not written")
