"""What has come for a program that asks when it has time."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from supervisor_tree.errors import TimedOut

__all__ = ["Inbasket", "Published"]

_WAITING = 1000  # not asked for yet; from here on the exchange drops, and a Gap says so


class Published(NamedTuple):
    """What was published on a topic that was subscribed to."""

    topic: str
    message: Any


class Inbasket:
    """Handlers for a program that asks when it has time: keeps what came until `take`.

    Belongs to one loop.  When it is full the bus waits, and drops events rather than memory.
    """

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Any] = asyncio.Queue(_WAITING)

    async def handle_event(self, topic: str, event: Any) -> None:
        """See bus.dispatcher."""
        await self._waiting.put(Published(topic, event))

    async def handle_info(self, info: Any) -> None:
        """See bus.dispatcher."""
        await self._waiting.put(info)

    async def take(self, timeout: float | None) -> Any:
        """The next Published, Gap or Down.  Raises TimedOut."""
        try:
            return await asyncio.wait_for(self._waiting.get(), timeout)
        except TimeoutError:
            raise TimedOut(f"nothing has come within {timeout:g} s") from None
