"""Makes a child: pipes, fork, and what the child does until it is what it was made for.

`multiprocess` does the fork, so that the user's code finds itself in a process that this
library knows (name, parent, hooks after fork).  Its pipes and its ways of waiting are left
out: they cost time, and only the Warden waits.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import traceback
from dataclasses import dataclass, replace

import msgpack
import multiprocess.context
import multiprocess.popen_fork
import multiprocess.process
import multiprocess.util

from supervisor_tree.spawner import child, procfs
from supervisor_tree.spawner.lives import Life
from supervisor_tree.spawner.title import MarkSlot

__all__ = ["STATUS_BYTES", "Birth", "give_birth"]

STATUS_BYTES = 4096  # PIPE_BUF: a message up to this size is written in one piece
_CANNOT = 127  # as a shell exits when it cannot execute


@dataclass(slots=True)
class Birth:
    """A life whose first notice is not sent yet; `outputs` are the read ends of its pipes.

    `status` is the read end of the pipe on which its set-up reports, -1 where it cannot
    fail; `gate` the write end of the pipe that holds back a spare, -1 for others.
    """

    life: Life
    outputs: list[int]
    status: int
    gate: int = -1

    def close(self) -> None:
        """Let go of its descriptors."""
        for fd in (*self.outputs, self.status, self.gate):
            if fd >= 0:
                os.close(fd)


def give_birth(order: child.Order, capture: bool, slot: MarkSlot, *, gated: bool = False) -> Birth:
    """Fork.  Raises OSError, with nothing left behind, if the kernel gives no more."""
    ours: list[int] = []
    theirs: list[int] = []

    def pipe() -> tuple[int, int]:
        read, write = os.pipe2(os.O_CLOEXEC)
        ours.append(read)
        theirs.append(write)
        return read, write

    try:
        outputs: list[int] = []
        status = gate = -1
        if capture:
            (out, out_write), (err, err_write) = pipe(), pipe()
            outputs = [out, err]
            order = replace(order, stdio=(order.stdio[0], out_write, err_write))
        if child.can_fail(order.spec):
            status, status_write = pipe()
            os.set_blocking(status, False)
            order = replace(order, status=status_write)
        if gated:
            gate_read, gate = pipe()
            ours[-1], theirs[-1] = gate, gate_read
            os.set_blocking(gate, False)
            order = replace(order, gate=gate_read)
        pid, pidfd = _fork(order, slot)
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    now = procfs.stat(pid)
    life = Life(order.path, order.generation, pid, pidfd, 0 if now is None else now.start_ticks)
    life.obey(order.spec)
    return Birth(life, outputs, status, gate)


def _fork(order: child.Order, slot: MarkSlot) -> tuple[int, int]:
    """Pid and pidfd of a new child, which runs `order` and never returns from here."""
    signals = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    slot.write(order.mark)  # the child is born with it
    try:
        pid = _Child(order, slot).launch()
    finally:
        slot.clear()
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # unreaped, hence certainly ours
        os.waitpid(pid, 0)
        raise


def _live(order: child.Order, slot: MarkSlot) -> int:
    """The forked child: become the agent or the program, or say why not."""
    try:
        return child.run(order, slot.write)
    except child.SetupError as error:
        message = error.message[: STATUS_BYTES // 8]
        os.write(child.STATUS_FD, msgpack.packb([error.stage, message]))
        return _CANNOT
    except BaseException:
        traceback.print_exc()
        return _CANNOT
    finally:
        _flush()


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
                code = process.live()
            finally:
                os._exit(code)

    def poll(self, flag: int = 0) -> int | None:
        return None


class _Child(multiprocess.context.ForkProcess):  # type: ignore[misc]
    """A child as multiprocess knows it: the user's code sees its name and its parent's death."""

    _Popen = staticmethod(_Fork)

    def __init__(self, order: child.Order, slot: MarkSlot) -> None:
        super().__init__(name=order.path)
        self._order = order
        self._slot = slot

    def launch(self) -> int:
        """Fork; the pid."""
        self.start()
        multiprocess.process._children.discard(self)
        return int(self.pid)

    def live(self) -> int:
        """In the child: what multiprocess's own bootstrap does, as far as it is wanted here.

        Not its end, which waits for threads and children without limit.
        """
        if self._order.spec.command is None:
            home = multiprocess.process
            home._process_counter = itertools.count(1)
            home._children = set()
            home._current_process = self
            # Readable once root and spawner are gone, which is what a sentinel says.
            home._parent_process = home._ParentProcess(
                self._parent_name, self._parent_pid, child.LEASE_FD
            )
            multiprocess.util._finalizer_registry.clear()
            multiprocess.util._run_after_forkers()
        return _live(self._order, self._slot)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
