"""The bus for code that has no loop of its own: the same verbs, blocking.

A thread runs the loop, if no other does.  Casts are sent again, and answers and ends are
noticed, while the program is busy elsewhere, and the promise of `cast` rests on that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from supervisor_tree.bus.client import Bus
from supervisor_tree.bus.directory import Member
from supervisor_tree.bus.inbasket import Inbasket

__all__ = ["BlockingBus"]

T = TypeVar("T")

_END_S = 5.0


class BlockingBus:
    """A bus for any number of threads, that of its loop excepted.

    Without `thread` the loop is somebody else's, and `close` leaves the bus to them.
    """

    def __init__(self, bus: Bus, thread: threading.Thread | None = None) -> None:
        self._bus = bus
        self._thread = thread
        self._loop = bus.loop

    @classmethod
    def start(cls, open: Callable[[Inbasket], Bus]) -> BlockingBus:
        """One in a thread of its own; use it in a `with` block.

        `open` makes the Bus in that thread, with what it is given as its handlers.
        """
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="bus", daemon=True)
        thread.start()
        try:
            bus = asyncio.run_coroutine_threadsafe(_opened(open), loop).result()
        except BaseException:
            _end(loop, thread)
            raise
        return cls(bus, thread)

    def __enter__(self) -> BlockingBus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, to: str, request: Any, timeout: float = 5.0) -> Any:
        """See Bus.call."""
        return self._run(self._bus.call(to, request, timeout))

    def cast(self, to: str, message: Any) -> None:
        """See Bus.cast."""
        self.in_loop(lambda: self._bus.cast(to, message))

    def publish(self, topic: str, message: Any) -> None:
        """See Bus.publish."""
        self.in_loop(lambda: self._bus.publish(topic, message))

    def subscribe(self, pattern: str) -> None:
        """See Bus.subscribe; `receive` gives the events."""
        self.in_loop(lambda: self._bus.subscribe(pattern))

    def unsubscribe(self, pattern: str) -> None:
        """See Bus.unsubscribe."""
        self.in_loop(lambda: self._bus.unsubscribe(pattern))

    def monitor(self, path: str) -> None:
        """See Bus.monitor; `receive` gives the Down."""
        self.in_loop(lambda: self._bus.monitor(path))

    def demonitor(self, path: str) -> None:
        """See Bus.demonitor."""
        self.in_loop(lambda: self._bus.demonitor(path))

    def receive(self, timeout: float | None = None) -> Any:
        """The next Published, Gap or Down; waits for it.  Raises TimedOut after `timeout` s."""
        return self._run(self._bus.receive(timeout))

    def find(self, capability: str | None = None) -> list[Member]:
        """See Bus.find."""
        return self.in_loop(lambda: self._bus.find(capability))

    def flush(self, timeout: float = 5.0, *, to_the_living: bool = False) -> bool:
        """See Bus.flush."""
        return self._run(self._bus.flush(timeout, to_the_living=to_the_living))

    def stats(self) -> dict[str, int]:
        """See Bus.stats."""
        return self.in_loop(self._bus.stats)

    def in_loop(self, work: Callable[[], T]) -> T:
        """Do this in the bus's thread, and return what it returns."""
        return self._run(_done(work))

    def close(self) -> None:
        """Let go of everything; safe to call twice."""
        if self._thread is not None and not self._loop.is_closed():
            self.in_loop(self._bus.close)
            _end(self._loop, self._thread)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupt, as of Ctrl-C, must not leave it behind
            raise


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Ends the loop in its own thread, as the caller's may be running another loop."""
    asyncio.run_coroutine_threadsafe(_cancelled(), loop).result(_END_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_END_S)
    loop.close()


async def _cancelled() -> None:
    """Cancels every other task of the loop, and gives each its turn to end."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)


async def _opened(open: Callable[[Inbasket], Bus]) -> Bus:
    bus = open(Inbasket())
    bus.begin()
    return bus


async def _done(work: Callable[[], T]) -> T:
    return work()
