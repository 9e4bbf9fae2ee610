"""The bus of one life of an agent: made when it is first needed, or with an inbox at its start.

Who calls decides how it is spoken to: code on the agent's own loop gets the bus itself, whose
`call` is awaited; plain code, in any thread, gets the same verbs blocking.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from supervisor_tree.bus.blocking import BlockingBus
from supervisor_tree.bus.client import Bus
from supervisor_tree.bus.inbasket import Inbasket
from supervisor_tree.bus.live import join
from supervisor_tree.bus.mailbox import Sender

__all__ = ["Messaging", "Verbs"]

Verbs: TypeAlias = Bus | BlockingBus

_LAST_CASTS_S = 1.0
_RUN_DIR = "SUPERVISOR_TREE_RUN_DIR"


class Messaging:
    """One life's bus, or the promise of one."""

    def __init__(self, path: str, generation: int) -> None:
        self._me = Sender(path, generation)
        self._lock = threading.Lock()
        self._bus: Bus | None = None
        self._blocking: BlockingBus | None = None

    def open(self, handlers: Any, on_fault: Callable[[BaseException], None]) -> Bus | None:
        """Take messages for `handlers`, on this loop.  They get them from `Bus.begin` on.

        None outside of a host: the same code runs in a test or from a shell, unspoken to.
        """
        if not os.environ.get(_RUN_DIR):
            return None
        self._bus = self._make(handlers, inbox=True, on_fault=on_fault)
        return self._bus

    def verbs(self) -> Verbs:
        """The bus as the calling code can use it.

        Raises RuntimeError outside of a host.
        """
        loop = _loop_of_this_thread()
        if self._bus is not None:
            if loop is self._bus.loop:
                return self._bus
            return BlockingBus(self._bus)
        with self._lock:
            if loop is not None and self._blocking is None:
                self._bus = self._make(Inbasket(), inbox=False)
                self._bus.begin()
                return self._bus
            if self._blocking is None:
                self._blocking = BlockingBus.start(lambda ours: self._make(ours, inbox=False))
            return self._blocking

    def send_after(self, delay_s: float, info: Any) -> asyncio.TimerHandle:
        """See Bus.send_after."""
        if self._bus is None:
            raise RuntimeError("send_after is for an Agent that has a handler")
        return self._bus.send_after(delay_s, info)

    async def end(self) -> None:
        """Let what was cast last arrive where it can, for a while."""
        if self._bus is not None:
            await self._bus.flush(_LAST_CASTS_S, to_the_living=True)
            self._bus.close()

    def close(self) -> None:
        """The same for plain code."""
        if self._blocking is not None:
            self._blocking.flush(_LAST_CASTS_S, to_the_living=True)
            self._blocking.close()

    def _make(
        self,
        handlers: Any,
        *,
        inbox: bool,
        on_fault: Callable[[BaseException], None] | None = None,
    ) -> Bus:
        run_dir = os.environ.get(_RUN_DIR)
        if not run_dir:
            raise RuntimeError(f"no bus here: {_RUN_DIR} is not set")
        return join(Path(run_dir), self._me, handlers, inbox=inbox, on_fault=on_fault)


def _loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
