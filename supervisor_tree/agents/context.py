"""What an agent's code is given: who it is, what it was told, and its ways to the host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supervisor_tree.agents.notify import Notifier
from supervisor_tree.agents.stopping import Stopping

if TYPE_CHECKING:
    from loguru import Logger

__all__ = ["Context"]


class Context:
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
        self._log: Logger | None = None

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
        self._notifier.status(status)

    def extend_timeout(self, seconds: float) -> None:
        """Ask that the start or stop in progress may take `seconds` from now."""
        self._notifier.extend_timeout(seconds)

    @property
    def data_dir(self) -> Path:
        """A directory for what this agent keeps from life to life; made when first asked for."""
        return self._directory("data")

    @property
    def cache_dir(self) -> Path:
        """A directory for what this agent can make again; made when first asked for."""
        return self._directory("cache")

    def __repr__(self) -> str:
        return f"<Context {self.path} #{self.generation}>"

    def _directory(self, purpose: str) -> Path:
        base = os.environ.get("SUPERVISOR_TREE_DATA_DIR")
        if not base:
            raise RuntimeError(f"no {purpose} directory: SUPERVISOR_TREE_DATA_DIR is not set")
        directory = Path(base, purpose, self.path.lstrip("/"))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory


def _plain_logger() -> Logger:
    import sys  # noqa: PLC0415

    from loguru import logger  # noqa: PLC0415 - 20 ms that an agent without logs need not pay

    try:
        logger.remove(0)
    except ValueError:  # the agent's own code has set loguru up
        return logger
    logger.add(
        sys.stderr, format="{level} {message}", colorize=False, diagnose=False, backtrace=False
    )
    return logger
