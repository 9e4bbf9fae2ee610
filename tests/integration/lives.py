"""Agents as real processes, without a host: forked here, watched over a real notify socket.

Each life writes its output to a file; a test waits for notices (with a deadline) and for
the wait status, never for time to pass.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor_tree.agents.bootstrap import prepare, run_agent
from supervisor_tree.core.exits import ExitReason, reason_of_status
from supervisor_tree.core.specs import ChildSpec

__all__ = ["Life", "Lives"]

DEADLINE_S = 10.0


@dataclass
class Life:
    """One forked agent: its notices so far, its output, its end."""

    pid: int
    pidfd: int
    lease: int
    output_file: Path
    inbox: socket.socket
    notices: list[dict[str, str]] = field(default_factory=list)
    status: int | None = None

    def wait_for(self, key: str, value: str | None = None) -> dict[str, str]:
        """The first notice, past or to come, that has this key (and value)."""
        read = 0
        while True:
            for notice in self.notices[read:]:
                if key in notice and value in (None, notice[key]):
                    return notice
            read = len(self.notices)
            self.read_one()

    def read_one(self) -> None:
        """Take in one more notice."""
        text = self.inbox.recv(65536).decode()
        self.notices.append(dict(line.split("=", 1) for line in text.splitlines()))

    def wait_until_it_sleeps(self) -> None:
        """Until it waits in the kernel: a lock that is just about to be waited for, and so not
        yet interrupted by a signal, is no concern of the code that is tested."""
        stat = Path(f"/proc/{self.pid}/stat")
        deadline = time.monotonic() + DEADLINE_S
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline, "it never sleeps"
            os.sched_yield()

    def send(self, signum: int) -> None:
        signal.pidfd_send_signal(self.pidfd, signum)

    def lose_lease(self) -> None:
        os.close(self.lease)
        self.lease = -1

    def end(self) -> int:
        """Its exit code as subprocess has it: minus the signal, if it died of one."""
        if self.status is None:
            ready, _, _ = select.select([self.pidfd], [], [], DEADLINE_S)
            assert ready, f"still runs after {DEADLINE_S} s; said {self.output()!r}"
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)
            self.inbox.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self.wait_for("no such key: read what is there")
        return self.status

    def reason(self, stop_signal: int = signal.SIGTERM, *, asked: bool = False) -> ExitReason:
        code = self.end()
        return reason_of_status(
            code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            stop_signal=stop_signal,
            asked=asked,
        )

    def output(self) -> str:
        return self.output_file.read_text()

    def said(self) -> list[str]:
        return [key for notice in self.notices for key in notice if key != "STATUS"]


class Lives:
    """Starts lives whose sockets and output are in `directory`; `close` leaves none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lives: list[Life] = []

    def start(
        self,
        target: Any,
        *,
        path: str = "/chat/bot",
        extra: Any = None,
        lease: str = "held",
        **spec: Any,
    ) -> Life:
        """Fork a life of `target`.  `lease` is "held", "lost" before the fork, or "none"."""
        number = len(self._lives)
        address = self.directory / f"notify{number}"
        inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        inbox.bind(str(address))
        inbox.settimeout(DEADLINE_S)
        output = self.directory / f"output{number}"
        lease_read, lease_write = os.pipe()
        if lease == "lost":
            os.close(lease_write)
            lease_write = -1
        pid = os.fork()
        if pid == 0:
            # As in the spawner's children: nobody's lease is held open here.
            for held in (lease_write, *(life.lease for life in self._lives)):
                if held >= 0:
                    os.close(held)
            os.environ |= {
                "NOTIFY_SOCKET": str(address),
                "SUPERVISOR_TREE_RUN_DIR": str(self.directory),
                "SUPERVISOR_TREE_DATA_DIR": str(self.directory / "data"),
            }
            child_spec = ChildSpec(id=path.rsplit("/", 1)[-1], agent=target, **spec)
            live(path, child_spec, extra, None if lease == "none" else lease_read, output)
        os.close(lease_read)
        life = Life(pid, os.pidfd_open(pid), lease_write, output, inbox)
        self._lives.append(life)
        return life

    def close(self) -> None:
        for life in self._lives:
            if life.status is None:
                os.kill(life.pid, signal.SIGKILL)
                os.waitpid(life.pid, 0)
            os.close(life.pidfd)
            if life.lease >= 0:
                os.close(life.lease)
            life.inbox.close()
        for file in self.directory.iterdir():
            if file.is_socket():
                file.unlink()


def live(path: str, spec: ChildSpec, extra: Any, lease_fd: int | None, output: Path) -> None:
    """The child's side; does not return."""
    status = 99
    try:
        output_fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        for name in [name for name in sys.modules if name.split(".")[0] == "loguru"]:
            del sys.modules[name]  # another test of this session may have set it up
        status = run_agent(prepare(lease_fd), path=path, generation=3, spec=spec, args=extra)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)
