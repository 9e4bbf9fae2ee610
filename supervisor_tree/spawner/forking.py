"""Makes a child: pipes, fork, and what the child does until it is what it was made for.

`multiprocess` does the fork, so that the user's code finds itself in a process that this
library knows (name, parent, hooks after fork).  Its pipes and its ways of waiting are left
out: they cost time, and only the Warden waits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgpack
import multiprocess.context
import multiprocess.popen_fork
import multiprocess.process

from supervisor_tree.spawner import child, procfs
from supervisor_tree.spawner.lives import Life
from supervisor_tree.spawner.title import MarkSlot

__all__ = ["STATUS_BYTES", "Birth", "give_birth"]

STATUS_BYTES = 4096  # PIPE_BUF: a message up to this size is written in one piece
_CANNOT = 127  # as a shell exits when it cannot execute


@dataclass(slots=True)
class Birth:
    """A life whose first notice is not sent yet; `outputs` are the read ends of its pipes."""

    life: Life
    outputs: list[int]
    status: int  # read end of the pipe on which its set-up reports, -1 where it cannot fail


def give_birth(order: child.Order, capture: bool, slot: MarkSlot) -> Birth:
    """Fork.  Raises OSError, with nothing left behind, if the kernel gives no more."""
    opened: list[int] = []
    try:
        outputs: list[int] = []
        if capture:
            out_read, out_write = _pipe(opened)
            err_read, err_write = _pipe(opened)
            outputs = [out_read, err_read]
            order = replace(order, stdio=(order.stdio[0], out_write, err_write))
        status = -1
        if child.can_fail(order.spec):
            status, status_write = _pipe(opened)
            os.set_blocking(status, False)
            order = replace(order, status=status_write)
        pid, pidfd = _fork(order, slot)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    for fd in opened:
        if fd != status and fd not in outputs:
            os.close(fd)
    now = procfs.stat(pid)
    life = Life(order.path, order.generation, pid, pidfd, 0 if now is None else now.start_ticks)
    life.obey(order.spec)
    return Birth(life, outputs, status)


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe2(os.O_CLOEXEC)
    opened.extend(ends)
    return ends


def _fork(order: child.Order, slot: MarkSlot) -> tuple[int, int]:
    """Pid and pidfd of a new child, which runs `order` and never returns from here."""
    signals = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    slot.write(order.mark)  # the child is born with it
    try:
        process = _Child(f"{order.path} #{order.generation}", lambda: _live(order), order.lease)
        pid = process.launch()
    finally:
        slot.clear()
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # unreaped, hence certainly ours
        os.waitpid(pid, 0)
        raise


def _live(order: child.Order) -> int:
    """The forked child: become the agent or the program, or say why not."""
    try:
        if order.spec.command is not None:
            child.run_program(order)
        return child.run_agent(order)
    except child.SetupError as error:
        message = error.message[: STATUS_BYTES // 8]
        os.write(child.STATUS_FD, msgpack.packb([error.stage, message]))
        return _CANNOT


class _Fork(multiprocess.popen_fork.Popen):  # type: ignore[misc]
    """multiprocess's fork without its pipes; only the Warden waits."""

    def __init__(self, process: _Child) -> None:
        self.returncode = None
        self.finalizer = None
        self.sentinel = -1
        self.pid = os.fork()
        if self.pid == 0:
            code = _CANNOT
            try:
                code = process._bootstrap(parent_sentinel=process.lease)
            finally:
                os._exit(code)

    def poll(self, flag: int = 0) -> int | None:
        return None


class _Child(multiprocess.context.ForkProcess):  # type: ignore[misc]
    """A child as multiprocess knows it: the user's code sees its name and its parent's death."""

    _Popen = staticmethod(_Fork)

    def __init__(self, name: str, main: Callable[[], int], lease: int) -> None:
        super().__init__(name=name)
        self._main = main
        self.lease = lease

    def run(self) -> None:
        code = _CANNOT
        try:
            code = self._main()
        finally:
            # Not by way of _bootstrap's end, which waits for threads without limit.
            _flush()
            os._exit(code)

    def launch(self) -> int:
        """Fork; the pid."""
        self.start()
        multiprocess.process._children.discard(self)
        return int(self.pid)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
