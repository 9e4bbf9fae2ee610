"""A staged host behind the real control server: real sockets, a loop, imagined children."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from supervisor_tree.control.server import ControlServer
from tests.unit.control.stage import StagedHost

__all__ = ["AnsweringHost"]


class AnsweringHost:
    """Runs the root's side in a thread.  Everything that touches the host goes through `do`."""

    def __init__(self, host: StagedHost, run_dir: Path) -> None:
        run_dir.mkdir(mode=0o700, exist_ok=True)
        self.host = host
        self.run_dir = run_dir
        self.turns = 0
        host.run_dir = str(run_dir)
        self._orders: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._open = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="answering-host")

    def __enter__(self) -> AnsweringHost:
        self._thread.start()
        assert self._open.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        def end() -> None:
            self._ended = True

        self._tell(end)
        self._thread.join(5)
        assert not self._thread.is_alive()
        os.close(self._bell)

    def do(self, act: Callable[[], object]) -> None:
        """Carry out `act` in the host's thread, and return when it is done."""
        done = threading.Event()
        self._tell(lambda: (act(), done.set()))
        assert done.wait(5)

    def _tell(self, order: Callable[[], object]) -> None:
        self._orders.put(order)
        os.eventfd_write(self._bell, 1)

    def _heed(self) -> None:
        os.eventfd_read(self._bell)
        while not self._orders.empty():
            self._orders.get()()

    def _run(self) -> None:
        self.server = ControlServer(self.run_dir, self.host.operations.handle)
        self.host.on_publish = self.server.publish
        with selectors.DefaultSelector() as selector:
            for fd, callback in [*self.server.sockets(), (self._bell, self._heed)]:
                selector.register(fd, selectors.EVENT_READ, callback)
            self._open.set()
            while not self._ended:
                for key, _ in selector.select(10):
                    key.data()
                self.turns += 1
                self.host.operations.look()
        self.server.close()
