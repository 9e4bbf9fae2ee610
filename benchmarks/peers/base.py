"""What a contestant has to be able to do, and how it is got rid of whatever happens.

Everything that a contestant starts carries a mark in its environment; when the contestant
is stopped, whatever still bears the mark is killed.  The benchmark is a subreaper, so
daemons come back to it and are collected.
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from benchmarks.measure import Life, Lines, children_of, now_s
from benchmarks.workload import CHECKOUT, Workload

__all__ = ["PEER_BIN", "Peer", "PeerFailed", "become_subreaper"]

# Where `make bench` puts what pip installs, unless it is somewhere else.
PEER_BIN = Path(os.environ.get("BENCH_PEERS", CHECKOUT / ".venv-bench")) / "bin"

_MARK = "BENCHMARK_PEER"
_PR_SET_CHILD_SUBREAPER = 36
_POLITE_S = 10.0
_SWEEPS = 50
_MANAGERS: set[int] = set()  # whose ends subprocess collects


class PeerFailed(Exception):
    """A contestant did not do what it was told."""


def become_subreaper() -> None:
    """Daemonized processes are handed to this one, which can then collect them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Peer(abc.ABC):
    """One contestant in a directory of its own; use as a context manager.

    `name` is shown.  `least_life_s`: a child that lives shorter is held back by design, so
    it is let live at least that long.  `slow`: a restart takes a second or more, so that it
    is asked for fewer samples.
    """

    name: ClassVar[str]
    least_life_s: ClassVar[float] = 0.05
    slow: ClassVar[bool] = False
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, workload: Workload, count: int = 1) -> None:
        self.workload = workload
        self.count = count
        # Short: sockets live in it, and their paths may not exceed 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="bench-"))
        self.lines = Lines(self.directory / "lines")
        self._mark = uuid.uuid4().hex
        self._manager: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str | None:
        """What has to be installed first, None if it can run."""
        found = [program for program in cls.programs if cls.find(program) is None]
        return f"{', '.join(found)} not found" if found else None

    @classmethod
    def find(cls, program: str) -> str | None:
        """Where a program is."""
        return shutil.which(program)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # --- for each to say ----------------------------------------------------------------

    @abc.abstractmethod
    def start(self) -> None:
        """Write its configuration and start it with `count` children; do not wait."""

    def ask_to_end(self) -> None:
        """Its own way of being told to stop everything."""
        if self._manager is not None:
            self._manager.terminate()

    def status_command(self) -> list[str] | None:
        """The command that shows people what runs, None if it has none."""
        return None

    # --- for all ------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """For the contestant and its children."""
        return self.workload.environment() | {_MARK: self._mark}

    @property
    def command(self) -> list[str]:
        """The child's."""
        return self.workload.command(self.lines.path)

    @property
    def pid(self) -> int:
        """The process that was started first."""
        assert self._manager is not None, "not started"
        return self._manager.pid

    @property
    def manager(self) -> int:
        """The process that looks after the children."""
        return self.pid

    def wait_up(self, limit_s: float) -> list[Life]:
        """The first life of every child."""
        return self.lines.take(self.count, limit_s)

    def run(self, argv: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Start the contestant; what it says is kept in `directory/said`."""
        with (self.directory / "said").open("ab") as said:
            self._manager = subprocess.Popen(
                argv,
                cwd=CHECKOUT,
                env=environment or self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        _MANAGERS.add(self._manager.pid)

    def tell(self, argv: Sequence[str], limit_s: float = 60.0) -> None:
        """Run one of the contestant's own commands."""
        try:
            done = subprocess.run(
                argv,
                cwd=CHECKOUT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PeerFailed(f"{argv[0]}: no end after {limit_s:g} s") from None
        if done.returncode:
            raise PeerFailed(f"{argv[0]}: {done.stderr.decode(errors='replace')[-500:]}")

    def stop(self) -> None:
        """End it, nicely at first, and everything that it has started."""
        try:
            with contextlib.suppress(PeerFailed, OSError):
                self.ask_to_end()
            if self._manager is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._manager.wait(_POLITE_S)
        finally:
            self._sweep()
            _reap_strangers()
            self.lines.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    def _sweep(self) -> None:
        """SIGKILL to all that bear the mark, until none is left."""
        for _ in range(_SWEEPS):
            found = self._marked()
            if not found:
                break
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _collect(found)
        if self._manager is not None:
            self._manager.wait(_POLITE_S)

    def _marked(self) -> list[int]:
        mark = f"{_MARK}={self._mark}".encode()
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and mark in Path(f"/proc/{entry}/environ").read_bytes():
                    found.append(int(entry))
        return found


def _collect(pids: Sequence[int]) -> None:
    """Wait for their ends, and take out of the process table those that are ours."""
    deadline = now_s() + 2.0
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0.0, deadline - now_s()) * 1000)
        os.close(pidfd)


def _reap_strangers() -> None:
    """Collect what has been handed to us and has ended."""
    for pid in children_of(os.getpid()):
        if pid not in _MANAGERS:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
