"""How an agent learns that it shall stop, whatever it is doing just then.

A stop is a level, not an edge: an eventfd that is written once and never read, so that it
stays readable.  Sync code polls it, a loop watches it, and the signal handler needs no
lock to set it: `threading.Event.set` would take the very lock that the interrupted
`wait` of the same thread holds.

A wait cannot miss the signal either.  Python runs a handler between two instructions of the
main thread, so a signal that comes just before poll(2), or to another thread, would stay
unseen until poll(2) ends.  CPython's own handler therefore writes to a pipe at once
(signal.set_wakeup_fd), which the main thread's waits watch as well.

Code that never looks at the flag would not notice a stop at all.  OTP has the same two
kinds of process, those that trap exits and those that `exit(Pid, shutdown)` just ends.
Here, to look at `ctx.stopping` is to trap: code that never has is ended where it stands,
by `Stopped` (plain code) or by cancellation (a coroutine).
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["Stopped", "Stopping"]

# poll(2) takes an int of milliseconds: 24 days.  A longer wait is cut into pieces.
_LONGEST_POLL_S = 1_000_000.0


class Stopped(SystemExit):
    """Raised inside plain code that was asked to stop and has never looked at `ctx.stopping`."""


class Stopping:
    """Whether the agent has been asked to stop.  Once set it stays set.

    `wait` is for plain code, in any thread, and each look of plain code counts as a sign of
    life for the child's `watchdog`; in a coroutine write ``await ctx.stopping``,
    or ``await ctx.stopping.within(seconds)`` where plain code would use `wait(seconds)`.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.watched = False
        self.on_request: Callable[[], object] | None = None
        self.on_look: Callable[[], float] | None = None  # gives the seconds until the next is due
        self._interruptible = False
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._wakeup: tuple[int, int] | None = None  # read end, write end
        self._waiters: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}

    # -- for agents -------------------------------------------------------------------

    def is_set(self) -> bool:
        """True once the agent has been asked to stop."""
        if self.on_look is not None:
            self.on_look()
        return self.signal is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds, None: for ever.  True if the agent shall stop."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        wakeup = self._wakeup_of_this_thread()
        if wakeup is not None:
            poll.register(wakeup, select.POLLIN)
        end = None if timeout is None else time.monotonic() + max(timeout, 0.0)
        while self.signal is None:
            left = math.inf if end is None else max(end - time.monotonic(), 0.0)
            piece = min(left, _LONGEST_POLL_S if self.on_look is None else self.on_look())
            seen = poll.poll(piece * 1000)
            self._settle()  # the handlers have run by now
            if not seen and piece == left:
                break
        return self.is_set()

    async def within(self, timeout: float) -> bool:
        """Like `wait`, without blocking the loop."""
        import asyncio  # noqa: PLC0415 - a plain robot needs no loop

        try:
            await asyncio.wait_for(self._wait_in_loop(), timeout)
        except TimeoutError:
            return False
        return True

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait_in_loop().__await__()

    def fileno(self) -> int:
        """Readable once the agent shall stop: for selectors of one's own.  Do not read it."""
        return self._fd

    # -- for what runs agents ---------------------------------------------------------

    def listen(self, signals: Iterable[int]) -> None:
        """Take these signals as requests to stop.  Main thread only."""
        if self._wakeup is None:
            self._wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
            os.register_at_fork(after_in_child=self._let_go)
        for signum in signals:
            signal.signal(signum, self._on_signal)

    def request(self, signum: int) -> None:
        """Ask the agent to stop.  `signum` is what it will be seen to have died of."""
        if self.signal is None:
            self.signal = signum
            os.eventfd_write(self._fd, 1)
            if self.on_request is not None:
                self.on_request()
        self._raise_if_untrapped()

    def interruptible(self) -> _Interruptible:
        """Within this block a stop raises `Stopped`, unless the code traps it."""
        return _Interruptible(self)

    def close(self) -> None:
        """Give the signals and the descriptors back."""
        self._let_go()
        if self._wakeup is not None:
            for end in self._wakeup:
                os.close(end)
            self._wakeup = None
        os.close(self._fd)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        self.request(signum)

    def _let_go(self) -> None:
        """What is sent to a process that the agent has forked means that process."""
        if self._wakeup is None:
            return
        for signum in signal.valid_signals():
            if signal.getsignal(signum) == self._on_signal:
                signal.signal(signum, signal.SIG_DFL)
        other = signal.set_wakeup_fd(-1)
        if other != self._wakeup[1]:
            signal.set_wakeup_fd(other)

    def _raise_if_untrapped(self) -> None:
        if self._interruptible and self.signal is not None and not self.watched:
            self._interruptible = False
            raise Stopped(0)

    async def _wait_in_loop(self) -> None:
        import asyncio  # noqa: PLC0415 - a plain robot needs no loop

        if self.signal is not None:
            return
        loop = asyncio.get_running_loop()
        waiters = self._waiters.setdefault(loop, [])
        # A loop takes one reader per descriptor, so all waiters share it.  It goes with
        # the last of them: a level that nobody takes down would spin the loop.
        if not waiters:
            self._watch(loop)
        waiter = loop.create_future()
        waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    self._unwatch(loop)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_reader(self._fd, self._wake, loop)
        wakeup = self._wakeup_of_this_thread()
        if wakeup is not None:
            loop.add_reader(wakeup, self._settle)

    def _unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._fd)
        wakeup = self._wakeup_of_this_thread()
        if wakeup is not None:
            loop.remove_reader(wakeup)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._unwatch(loop)
        waiters = self._waiters.pop(loop)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        waiters.clear()

    def _wakeup_of_this_thread(self) -> int | None:
        """Readable once a handler is to run, for the one thread that runs handlers."""
        if self._wakeup is None or threading.get_ident() != threading.main_thread().ident:
            return None
        return self._wakeup[0]

    def _settle(self) -> None:
        """Take the wake-up down: by the time that Python code reads it, the handler has run."""
        wakeup = self._wakeup_of_this_thread()
        if wakeup is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup, 4096)


class _Interruptible:
    """The block of `Stopping.interruptible`."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping

    def __enter__(self) -> None:
        self._stopping._interruptible = True
        self._stopping._raise_if_untrapped()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._stopping._interruptible = False
