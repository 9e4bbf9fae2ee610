"""The limit: a parent with the spawner's own imports that forks, and forks again.

`python -m benchmarks.floor restart|start MODULE FIFO COUNT [--dressed]`

It preloads what a spawner preloads, collects and freezes, then forks COUNT children; on
`restart` it waits on a pidfd for each, collects who has ended and forks the next.  The
child calls the agent at once: no session, no pipes, no title, no signals, no notices, and
the parent keeps no books.  `--dressed` adds what no supervisor of use can leave out: two
new pipes for the output, a session, and everything else closed.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import select
import signal
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import supervisor_tree.agents.bootstrap
import supervisor_tree.spawner.server  # noqa: F401 - what a spawner has loaded
from supervisor_tree.spawner.preload import preload

__all__ = ["main"]


class _Stopping:
    """As much of `ctx.stopping` as the children use: wait for ever."""

    def wait(self) -> None:
        signal.pause()

    def __await__(self) -> Any:
        return asyncio.Event().wait().__await__()


class _Parent:
    def __init__(self, live: Callable[[Any], Any], fifo: str, *, dressed: bool) -> None:
        self._live = live
        self._fifo = fifo
        self._dressed = dressed
        self._poller = select.epoll()
        self._children: dict[int, tuple[int, list[int]]] = {}  # by pidfd
        self._null = os.open(os.devnull, os.O_RDWR)

    def fork(self) -> None:
        """One more child."""
        pipes = [os.pipe(), os.pipe()] if self._dressed else []
        pid = os.fork()
        if pid == 0:
            try:
                self._become(pipes)
            finally:
                os._exit(1)
        for _, write in pipes:
            os.close(write)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = (pid, [read for read, _ in pipes])
        self._poller.register(pidfd, select.EPOLLIN)

    def serve(self) -> None:
        """A new child for each that ends, for ever."""
        while True:
            for pidfd, _ in self._poller.poll():
                _, outputs = self._children.pop(pidfd)
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
                self._poller.unregister(pidfd)
                for fd in (pidfd, *outputs):
                    os.close(fd)
                self.fork()

    def _become(self, pipes: list[tuple[int, int]]) -> None:
        if pipes:
            os.setsid()
            os.dup2(self._null, 0)
            os.dup2(pipes[0][1], 1)
            os.dup2(pipes[1][1], 2)
            os.closerange(3, max(self._children, default=3) + 64)
        result = self._live(SimpleNamespace(args={"fifo": self._fifo}, stopping=_Stopping()))
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))


async def _awaited(result: Any) -> Any:
    return await result


def main(mode: str, module: str, fifo: str, count: str, *flags: str) -> None:
    """Never returns on `restart`; on `start` it waits to be ended."""
    preload(["supervisor_tree.agents.bootstrap", module], lambda _name: None)
    live = importlib.import_module(module).live
    parent = _Parent(live, fifo, dressed="--dressed" in flags)
    for _ in range(int(count)):
        parent.fork()
    if mode == "restart":
        parent.serve()
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
