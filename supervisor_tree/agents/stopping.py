"""How an agent learns that it shall stop, whatever it is doing just then.

A stop is a level, not an edge: an eventfd that is written once and never read, so that it
stays readable.  Sync code polls it, a loop watches it, and the signal handler needs no
lock to set it: `threading.Event.set` would take the very lock that the interrupted
`wait` of the same thread holds.  A wait cannot miss the signal either: it lands before
poll(2), and the descriptor is readable, or within, and poll(2) is interrupted, the handler
runs, and the retry (PEP 475) finds it readable.

Code that never looks at the flag would not notice a stop at all.  OTP has the same two
kinds of process, those that trap exits and those that `exit(Pid, shutdown)` just ends.
Here, to look at `ctx.stopping` is to trap: code that never has is ended where it stands,
by `Stopped` (plain code) or by cancellation (a coroutine).
"""

from __future__ import annotations

import os
import select
import signal
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

    `wait` is for plain code, in any thread; in a coroutine write ``await ctx.stopping``,
    or ``await ctx.stopping.within(seconds)`` where plain code would use `wait(seconds)`.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.watched = False
        self.on_request: Callable[[], object] | None = None
        self._interruptible = False
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._pid = os.getpid()
        self._waiters: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}

    # -- for agents -------------------------------------------------------------------

    def is_set(self) -> bool:
        """True once the agent has been asked to stop."""
        return self.signal is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds, None: for ever.  True if the agent shall stop."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while timeout is None or timeout > _LONGEST_POLL_S:
            if poll.poll(_LONGEST_POLL_S * 1000):
                return True
            timeout = None if timeout is None else timeout - _LONGEST_POLL_S
        return bool(poll.poll(max(timeout, 0.0) * 1000))

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
        """Give the descriptor back."""
        os.close(self._fd)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A process forked by the agent inherits its handlers, and would set its
            # parent's flag.  What was sent to it means it.
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
            return
        self.request(signum)

    def _raise_if_untrapped(self) -> None:
        if self._interruptible and self.is_set() and not self.watched:
            self._interruptible = False
            raise Stopped(0)

    async def _wait_in_loop(self) -> None:
        import asyncio  # noqa: PLC0415 - a plain robot needs no loop

        if self.is_set():
            return
        loop = asyncio.get_running_loop()
        waiters = self._waiters.setdefault(loop, [])
        # A loop takes one reader per descriptor, so all waiters share it.  It goes with
        # the last of them: a level that nobody takes down would spin the loop.
        if not waiters:
            loop.add_reader(self._fd, self._wake, loop)
        waiter = loop.create_future()
        waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    loop.remove_reader(self._fd)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._fd)
        waiters = self._waiters.pop(loop)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        waiters.clear()


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
