"""One host per run directory: a kernel lock, with the holder's name inside the file.

flock(2) is let go by the kernel when its holder dies, however it dies; so a lock file
that is merely there means nothing.  The lock is taken by hand and not by a lock library
because the file must keep saying who holds it while somebody else tries.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from supervisor_tree.errors import AlreadyRunning

__all__ = ["RunDirectoryLock", "boot_id", "start_ticks"]


def boot_id() -> str:
    """Names this boot of the machine (random(4)); pids mean nothing across two of them."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """When process `pid` was started, in clock ticks since boot (proc(5), stat field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


class RunDirectoryLock:
    """Held from `acquire` to `release` or the end of the process."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "lock"
        self._fd = -1
        self._facts: dict[str, Any] = {}

    def acquire(self, **facts: Any) -> None:
        """Take the lock and write `facts` and our own identity into it.

        Raises AlreadyRunning, naming the holder, if another process has it.
        """
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _describe(os.read(fd, 65536))
            os.close(fd)
            raise AlreadyRunning(
                f"cannot run here: {self.path.parent} is held by {holder}; "
                "stop it with `supervisor-tree shutdown`, or choose another --run-dir"
            ) from None
        self._fd = fd
        self._facts = facts | {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}
        with contextlib.suppress(OSError):  # the lock holds on a full disk too, if without a name
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(self._facts).encode(), 0)

    def in_place(self) -> bool:
        """Whether the next one who comes will find this lock."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except OSError:
            return False

    def retake(self) -> None:
        """Make and take the file anew after it was deleted.  Raises what `acquire` does."""
        former = self._fd
        self.acquire(**self._facts)
        os.close(former)

    def release(self) -> None:
        """Let go.  The file stays, and says where whoever held it has left its logs and reports."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _describe(content: bytes) -> str:
    try:
        facts = json.loads(content)
        return f"host '{facts['name']}' (pid {facts['pid']}, since {facts['started']})"
    except (ValueError, KeyError, TypeError):
        return "another host that has not yet written its name"
