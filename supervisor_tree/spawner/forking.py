"""Makes a child: pipes, fork, and what the child does until it is what it was made for.

The user's code finds itself in a process that `multiprocess` knows (name, parent, hooks
after fork).  Its way of forking is left out: its pipes cost time, and only the Warden waits.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import msgpack
import multiprocess.context
import multiprocess.process
import multiprocess.util

from supervisor_tree.spawner import child, kernel, procfs
from supervisor_tree.spawner.gate import open_gate
from supervisor_tree.spawner.lives import Life
from supervisor_tree.spawner.rights import SetupError
from supervisor_tree.spawner.title import MarkSlot

__all__ = ["STATUS_BYTES", "Birth", "Cradle", "give_births"]

STATUS_BYTES = 4096  # PIPE_BUF: a message up to this size is written in one piece
_CANNOT = 127  # as a shell exits when it cannot execute


@dataclass(slots=True)
class Birth:
    """A life whose first notice is not sent yet; `outputs` are the read ends of its pipes.

    `status` is the read end of the pipe on which its set-up reports, -1 where it cannot
    fail; `gate` this end of what holds back a spare, -1 for others.
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


@dataclass(slots=True)
class Cradle:
    """An order whose pipes are made; `theirs` are the child's ends of them, and its sockets."""

    order: child.Order
    outputs: list[int]
    status: int
    gate: int
    theirs: list[int]

    @classmethod
    def make(cls, order: child.Order, capture: bool, *, gated: bool = False) -> Cradle:
        """Make its pipes.  Raises OSError, with nothing left behind, if there are no more.

        A spare (`gated`) borrows descriptors to keep the places of its sockets free.
        """
        ours: list[int] = []
        theirs: list[int] = [] if gated else [*order.sockets]

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
                gate, gate_theirs = open_gate()
                ours.append(gate)
                theirs.append(gate_theirs)
                order = replace(order, gate=gate_theirs)
        except BaseException:
            for fd in (*ours, *theirs):
                os.close(fd)
            raise
        return cls(order, outputs, status, gate, theirs)

    def born(self, pid: int) -> Birth:
        """Take note of the child that was forked for it.  Raises OSError; the child is ended."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # unreaped, hence certainly ours
            os.waitpid(pid, 0)
            raise
        now = procfs.stat(pid)
        ticks = 0 if now is None else now.start_ticks
        life = Life(self.order.path, self.order.generation, pid, pidfd, ticks)
        life.obey(self.order.spec)
        if self.order.cgroup is not None:
            life.cgroup = self.order.cgroup.directory
        return Birth(life, self.outputs, self.status, self.gate)


def give_births(cradles: Sequence[Cradle], slot: MarkSlot) -> list[Birth | OSError]:
    """Fork a child for each; what became of each, in their order.  Theirs are the descriptors.

    A page that is written after a fork has to be copied, and again after the next.  So all
    are forked before anything else is done for any of them.
    """
    results: list[Birth | OSError] = []
    for cradle, pid in zip(cradles, _fork_all(cradles, slot), strict=True):
        try:
            if isinstance(pid, OSError):
                raise pid
            results.append(cradle.born(pid))
        except OSError as error:
            for fd in (*cradle.outputs, cradle.status, cradle.gate):
                if fd >= 0:
                    os.close(fd)
            results.append(error)
        finally:
            for fd in cradle.theirs:
                os.close(fd)
    return results


def _fork_all(cradles: Sequence[Cradle], slot: MarkSlot) -> list[int | OSError]:
    """Pids of new children; each runs its order and never returns from here."""
    children = [_Child(cradle.order, slot) for cradle in cradles]
    multiprocess.process._process_counter = itertools.count(1)  # each child counts its own
    results: list[int | OSError] = []
    signals = kernel.signal_mask()
    kernel.mask_signals(kernel.ALL_SIGNALS)
    try:
        for one in children:
            slot.write(one.order.mark)  # the child is born with it
            try:
                pid = os.fork()
            except OSError as error:
                results.append(error)
                continue
            if pid == 0:
                _begin(one)
            results.append(pid)
    finally:
        slot.clear()
        kernel.mask_signals(signals)
    return results


def _begin(one: _Child) -> NoReturn:
    code = _CANNOT
    try:
        code = one.live()
    finally:
        os._exit(code)


def _live(one: _Child) -> int:
    """The forked child: become the agent or the program, or say why not."""
    try:
        return child.run(one.order, one.become)
    except SetupError as error:
        message = error.message[: STATUS_BYTES // 8]
        os.write(one.order.status_fd, msgpack.packb([error.stage, message]))
        return _CANNOT
    except BaseException:
        traceback.print_exc()
        return _CANNOT
    finally:
        _flush()


class _Child(multiprocess.context.ForkProcess):  # type: ignore[misc]
    """A child as multiprocess knows it: the user's code sees its name and its parent's death."""

    def __init__(self, order: child.Order, slot: MarkSlot) -> None:
        super().__init__(name=order.path)
        self.order = order
        # Readable once root and spawner are gone, which is what a sentinel says.
        self.parent = multiprocess.process._ParentProcess(
            self._parent_name, self._parent_pid, order.lease_fd
        )
        self._slot = slot

    def live(self) -> int:
        """In the child: what multiprocess's own bootstrap does, as far as it is wanted here.

        Not its end, which waits for threads and children without limit.
        """
        gc.freeze()  # what the spawner has made since its own is not for each child to walk
        if self.order.spec.command is None:
            home = multiprocess.process
            home._current_process = self
            home._parent_process = self.parent
            multiprocess.util._finalizer_registry.clear()
            multiprocess.util._run_after_forkers()
        return _live(self)

    def become(self, order: child.Order) -> None:
        """In a spare: be this life from now on.

        The mark first.  If the spawner is dead by then, the root may have looked for the
        mark already, and makes this life anew; if it is not, the root looks later.
        """
        self._slot.write(order.mark)
        if os.getppid() != self._parent_pid:
            os._exit(0)
        self.name = order.path


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
