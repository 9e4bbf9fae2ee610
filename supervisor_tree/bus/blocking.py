"""The bus for a program without a loop: the same verbs, blocking.

A thread runs the loop.  It must be one's own: casts are sent again, and answers and ends are
noticed, while the program is busy elsewhere, and the promise of `cast` rests on that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from supervisor_tree.bus.client import Bus
from supervisor_tree.bus.directory import Directory, Member
from supervisor_tree.bus.mailbox import Sender

__all__ = ["BlockingBus"]

T = TypeVar("T")


class BlockingBus:
    """One program's bus.  For any number of threads at once; use it in a `with` block.

    `directory` is asked in the bus's thread; changes must be applied there: see `in_loop`.
    Handlers, if any, run there as well.
    """

    def __init__(
        self, run_dir: Path, me: Sender, directory: Directory, handlers: Any = None
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bus", daemon=True)
        self._thread.start()
        try:
            self._bus = self._run(_made(run_dir, me, directory, handlers))
        except BaseException:
            self._end()
            raise

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
        """See Bus.subscribe; `handlers` get the events."""
        self.in_loop(lambda: self._bus.subscribe(pattern))

    def monitor(self, path: str) -> None:
        """See Bus.monitor."""
        self.in_loop(lambda: self._bus.monitor(path))

    def find(self, capability: str | None = None) -> list[Member]:
        """See Bus.find."""
        return self.in_loop(lambda: self._bus.find(capability))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all casts are handled; False if `timeout` seconds were not enough."""
        return self._run(self._bus.flush(timeout))

    def in_loop(self, work: Callable[[], T]) -> T:
        """Do this in the bus's thread, and return what it returns."""
        return self._run(_done(work))

    def close(self) -> None:
        """Let go of everything; safe to call twice."""
        if not self._loop.is_closed():
            self.in_loop(self._bus.close)
            self._end()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _made(run_dir: Path, me: Sender, directory: Directory, handlers: Any) -> Bus:
    return Bus(run_dir, me, directory, handlers)


async def _done(work: Callable[[], T]) -> T:
    return work()
