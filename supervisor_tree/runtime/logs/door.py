"""The socket that the logger connects to, and who may.

Whoever is there as the logger holds all output of all children.  So the process that has been
started as one is the only one to come in, by the word of the kernel (SO_PEERCRED, unix(7)).
It may connect before the launcher has told of it: while nobody is expected who connects waits.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

from supervisor_tree.runtime.logs.wire import listen, peer_of

__all__ = ["Door"]

_SOCKET_NAME = "logger.sock"
_ANSWERED = 16  # connections in one go
_QUIET_S = 60.0  # between two words about strangers


class Door:
    """Watched for reading by `epoll`; then `answer` is called.  `address` is the socket's path.

    `clock` is monotonic time in seconds; `tell` is called with what an operator should know.
    """

    def __init__(
        self, epoll: select.epoll, clock: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        self.address = ""
        self._epoll = epoll
        self._clock = clock
        self._tell = tell
        self._listener: socket.socket | None = None
        self._expected_pid: int | None = None
        self._quiet_until = 0.0
        self._untold = 0

    def listen(self, run_dir: str) -> None:
        """Make the socket; again, should it have been deleted.

        OSError: the directory will not do.
        """
        self.address = os.path.join(run_dir, _SOCKET_NAME)
        listener = listen(self.address)
        if self._listener is not None:
            self._epoll.unregister(self._listener.fileno())
            self._listener.close()
        self._listener = listener
        self._epoll.register(listener.fileno(), self._watched_for)

    def expect(self, pid: int | None) -> None:
        """Let this process in, and no other; None: nobody for now."""
        self._expected_pid = pid
        if self._listener is not None:
            self._epoll.modify(self._listener.fileno(), self._watched_for)

    def is_at(self, fd: int) -> bool:
        """Whether this descriptor is the one that is watched."""
        return self._listener is not None and fd == self._listener.fileno()

    def answer(self) -> socket.socket | None:
        """The connection of who is expected, if it has come.  Strangers are turned away."""
        assert self._listener is not None
        for _ in range(_ANSWERED):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return None  # nobody, or gone again, or no descriptor left: the logger comes again
            pid, uid = peer_of(connection)
            if pid == self._expected_pid:
                connection.setblocking(False)
                return connection
            connection.close()
            self._tell_of(pid, uid)
        return None

    def close(self) -> None:
        """Nobody is let in any more."""
        if self._listener is not None:
            self._listener.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.address)

    @property
    def _watched_for(self) -> int:
        return 0 if self._expected_pid is None else select.EPOLLIN

    def _tell_of(self, pid: int, uid: int) -> None:
        now = self._clock()
        if now < self._quiet_until:
            self._untold += 1
            return
        self._quiet_until = now + _QUIET_S
        others = f"; so were {self._untold} more connections before" if self._untold else ""
        self._untold = 0
        who = f"process {pid}{_name_of(pid)} of user {uid}"
        self._tell(f"{self.address}: {who} is not the logger and was turned away{others}")


def _name_of(pid: int) -> str:
    """In quotes; "" if it is gone."""
    try:
        return f" {Path(f'/proc/{pid}/comm').read_bytes().decode(errors='replace').rstrip()!r}"
    except OSError:
        return ""
