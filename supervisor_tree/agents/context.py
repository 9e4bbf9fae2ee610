"""What an agent's code is given: who it is, what it was told, and its ways to the host."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supervisor_tree.agents.activity import Activity, Busy
from supervisor_tree.agents.stopping import Stopping
from supervisor_tree.bus.speaker import Speaker
from supervisor_tree.notify import Notifier

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from socket import socket

    from loguru import Logger

    from supervisor_tree.agents.checkpoint import Checkpoint, CheckpointStore
    from supervisor_tree.agents.messaging import Messaging
    from supervisor_tree.bus.client import Bus

__all__ = ["CACHE_DIR", "DATA_DIR", "Context"]

# Told to every child, whatever it is: directories of its own, not of all.
DATA_DIR = "SUPERVISOR_TREE_DATA_DIR"
CACHE_DIR = "SUPERVISOR_TREE_CACHE_DIR"


class Context(Speaker):
    """One life of one agent.  Every callback gets it through `init`, a plain callable as `ctx`.

    `id` is the last word of `path`; `generation` counts the lives from 1; `args` is what
    the child specification and `start_child` gave.
    """

    def __init__(
        self,
        *,
        path: str,
        generation: int,
        args: Mapping[str, Any],
        stopping: Stopping,
        notifier: Notifier,
    ) -> None:
        self.path = path
        self.id = path.rsplit("/", 1)[-1]
        self.generation = generation
        self.args = args
        self._stopping = stopping
        self._notifier = notifier
        self._activity = Activity(notifier)
        self._log: Logger | None = None
        self._messaging: Messaging | None = None
        self._sockets: Mapping[str, socket] | None = None
        self._checkpoints: CheckpointStore | None = None

    @property
    def stopping(self) -> Stopping:
        """Whether the agent shall stop.  To look at it is to promise to heed it (see there)."""
        self._stopping.watched = True
        return self._stopping

    @property
    def log(self) -> Logger:
        """A loguru logger that knows path and generation and writes to stderr.

        loguru's first handler is replaced by one of plain lines, as time and path are
        added by the host's logger.  Handlers that the agent has set up are left alone.
        """
        if self._log is None:
            self._log = _plain_logger().bind(path=self.path, generation=self.generation)
        return self._log

    def notify(self, status: str) -> None:
        """Set the line that `supervisor-tree show` prints beside this agent."""
        self._activity.say(status)

    def busy(self, label: str) -> Busy:
        """Announce a piece of work, for `with` or `async with`: `ctx.busy("npm install")`.

        Until the block is left the `busy` budget of the child's `watchdog` is in force, and
        `label` is its status line.  Such blocks may be nested.
        """
        return Busy(self._activity, label)

    def beat(self) -> None:
        """Give the watchdog a sign of life; in a busy block, one of the work itself.

        A loop, and looks at `ctx.stopping`, give those outside of busy blocks by themselves.
        """
        self._activity.is_alive()

    def extend_timeout(self, seconds: float) -> None:
        """Ask that the start or stop in progress may take `seconds` from now."""
        self._notifier.extend_timeout(seconds)

    # -- the bus ------------------------------------------------------------------------

    def send_after(self, delay: float, info: Any) -> TimerHandle:
        """Have `info` by handle_info in `delay` seconds, unless what is returned is cancelled.

        Raises RuntimeError in code that is no Agent.
        """
        return self._its_messaging().send_after(delay, info)

    # -- for what runs agents -------------------------------------------------------------

    def open_bus(self, handlers: Any, on_fault: Callable[[BaseException], None]) -> Bus | None:
        """Take messages for `handlers`; `on_fault` gets what one of them raises."""
        return self._its_messaging().open(handlers, on_fault)

    async def end(self) -> None:
        """The code on a loop is done; what it has cast may still arrive."""
        if self._messaging is not None:
            await self._messaging.end()

    def close(self) -> None:
        """The plain code is done."""
        if self._messaging is not None:
            self._messaging.close()

    def _speaks(self) -> Any:
        return self._its_messaging().verbs()

    def _its_messaging(self) -> Messaging:
        if self._messaging is None:
            from supervisor_tree.agents.messaging import (  # noqa: PLC0415 - 20 ms
                Messaging,
            )

            self._messaging = Messaging(self.path, self.generation)
        return self._messaging

    # -- its own ---------------------------------------------------------------------------

    def checkpoint(self, state: Mapping[str, Any]) -> Any:
        """Keep a small state for later lives of this agent, in place of the last one.

        Plain code has it on the disk when this returns.  Code on a loop gets something to
        be awaited for that; the state is that of the moment of the call, and what is not
        awaited is written even so.  Raises TypeError for what msgpack cannot hold, ValueError
        for more than 1 MiB, OSError for a disk that cannot take it: then the last one stays.
        """
        from supervisor_tree.agents.checkpoint import pack_state  # noqa: PLC0415

        packed, store = pack_state(state), self._its_checkpoints()
        asyncio = sys.modules.get("asyncio")
        loop = asyncio._get_running_loop() if asyncio is not None else None
        return store.write(packed) if loop is None else store.write_beside(packed, loop)

    @property
    def resume(self) -> Checkpoint | None:
        """What was kept last by `checkpoint`, in this life or a former one; None: nothing yet.

        A dict with the attributes `generation` and `time` (Unix seconds) of its writer.
        """
        return self._its_checkpoints().read()

    @property
    def sockets(self) -> Mapping[str, socket]:
        """The listening sockets of its specification by name; the host keeps them open."""
        if self._sockets is None:
            from supervisor_tree.agents.sockets import given_sockets  # noqa: PLC0415 - rare

            self._sockets = given_sockets()
        return self._sockets

    @property
    def data_dir(self) -> Path:
        """A directory for what this agent keeps from life to life; made when first asked for."""
        return _directory("data", DATA_DIR)

    @property
    def cache_dir(self) -> Path:
        """A directory for what this agent can make again; made when first asked for."""
        return _directory("cache", CACHE_DIR)

    def _its_checkpoints(self) -> CheckpointStore:
        if self._checkpoints is None:
            from supervisor_tree.agents.checkpoint import CheckpointStore  # noqa: PLC0415

            self._checkpoints = CheckpointStore(lambda: self.data_dir, self.generation)
        return self._checkpoints

    def __repr__(self) -> str:
        return f"<Context {self.path} #{self.generation}>"


def _directory(purpose: str, key: str) -> Path:
    place = os.environ.get(key)
    if not place:
        raise RuntimeError(f"no {purpose} directory: {key} is not set")
    directory = Path(place)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def _plain_logger() -> Logger:
    from loguru import logger  # noqa: PLC0415 - 20 ms that an agent without logs need not pay

    try:
        logger.remove(0)
    except ValueError:  # the agent's own code has set loguru up
        return logger
    logger.add(
        sys.stderr, format="{level} {message}", colorize=False, diagnose=False, backtrace=False
    )
    return logger
