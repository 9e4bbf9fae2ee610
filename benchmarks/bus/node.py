"""The agent of all bus rows: sends what it is told to, and counts what comes.

The program asks it by calls.  What takes long is begun by one call and asked for by others,
as an agent whose handler is at work handles nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any

from supervisor_tree import Agent
from supervisor_tree.agents import Context
from supervisor_tree.errors import MailboxFull

__all__ = ["Node"]

_PER_TURN = 256  # messages, then the loop has its turn
_PACE_S = 0.001
_LIMIT_S = 60.0


class Node(Agent):
    """Sender, receiver, subscriber.  `args`: `topics`, what it subscribes to."""

    def init(self, ctx: Context) -> None:
        self._ctx = ctx
        self._expected = self._seen = 0
        self._at = 0.0
        self._work: asyncio.Task[Any] | None = None
        for topic in ctx.args.get("topics", ()):
            ctx.subscribe(topic)

    def handle_call(self, request: Any, sender: Any) -> Any:
        match request:
            case bytes():
                return request
            case ["expect", count]:
                self._expected, self._seen, self._at = count, 0, 0.0
            case ["seen"]:
                return self._seen, self._at
            case ["begin", verb, *words]:
                work = getattr(self, f"_{verb}")(*words)
                self._work = asyncio.get_running_loop().create_task(work)
            case ["result"]:
                return self._result()
            case ["finish"]:
                return self._work  # no other message until then, and no question disturbs it
            case ["end"]:
                assert self._work is not None
                self._work.cancel()
        return None

    def handle_cast(self, message: Any, sender: Any) -> None:
        self._seen += 1
        if self._seen == self._expected:
            self._at = time.monotonic()

    def handle_event(self, topic: str, event: Any) -> None:
        self.handle_cast(event, None)

    def _result(self) -> Any:
        """None as long as there is none."""
        assert self._work is not None
        return self._work.result() if self._work.done() else None

    async def _casts(self, paths: Sequence[str], size: int, count: int) -> float:
        """`count` to each of the paths; returns when the first was sent."""
        body = b"x" * size
        cast = self._ctx.cast
        begin = time.monotonic()
        for number, path in enumerate(itertools.islice(itertools.cycle(paths), count * len(paths))):
            while True:
                try:
                    cast(path, body)
                    break
                except MailboxFull:
                    await asyncio.sleep(0)
            if number % _PER_TURN == 0:
                await asyncio.sleep(0)
        if not await self._ctx.flush(_LIMIT_S):
            raise TimeoutError("not all casts were handled")
        return begin

    async def _calls(self, path: str, size: int, count: int) -> list[float]:
        """How long each has taken, in microseconds."""
        body = b"x" * size
        taken = []
        for _ in range(count):
            begin = time.perf_counter()
            await self._ctx.call(path, body)
            taken.append((time.perf_counter() - begin) * 1e6)
        return taken

    async def _publishes(self, topic: str, size: int, count: int) -> float:
        """Returns when the first was published."""
        body = b"x" * size
        publish = self._ctx.publish
        begin = time.monotonic()
        for number in range(count):
            publish(topic, body)
            if number % _PER_TURN == 0:
                await asyncio.sleep(0)
        return begin

    async def _flow(self, path: str, size: int, rate: int) -> None:
        """So many casts a second until it is ended, as far as the receiver can take them."""
        body = b"x" * size
        begin = time.monotonic()
        sent = 0
        while True:
            due = int((time.monotonic() - begin) * rate)
            try:
                while sent < due:
                    self._ctx.cast(path, body)
                    sent += 1
            except MailboxFull:
                sent = due
            await asyncio.sleep(_PACE_S)
