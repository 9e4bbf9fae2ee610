"""Who may come in by a ZeroMQ socket of the root: not more than there are descriptors for.

libzmq accepts whoever connects, and takes accept(2)'s EMFILE for a bug of its own: it calls
abort(3).  So a door is shut before: libzmq stops listening while there are too many inside, or
too few descriptors left.  It lets go of all who are inside then; they come again by themselves,
and an answer that was under way is lost.  The listening socket stays with us: those who come
meanwhile wait in its queue.  Whoever comes in and says nothing is put out by libzmq's limit for
handshakes.

libzmq accepts in a thread of its own, so this is a race that the reserve has to win: a host with a
limit of a few hundred descriptors may lose it against a flood while the machine is busy.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
from pathlib import Path

import zmq

from supervisor_tree.errors import ConfigError, ConfigProblem

__all__ = ["Door", "unusable"]

_WAITING_CONNECTIONS = 100  # libzmq's own default
_HANDSHAKE_MS = 5000
_MOST = 1000  # inside, or an eighth of the limit of descriptors
_RESERVE = 64  # descriptors that stay free, or a quarter of the limit
_EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
# zmq_socket_monitor(3).  PyZMQ's own reader brings asyncio, and 7 MB that a root has no use for.
_EVENT = struct.Struct("=Hi")


class Door:
    """Of one socket, at one file of mode 0600.  No call blocks.

    Raises ConfigError if the file cannot be made.
    """

    def __init__(self, sock: zmq.Socket[bytes], path: Path) -> None:
        self.path = path
        self._sock = sock
        self._inside: set[int] = set()  # descriptors
        sock.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        self._listener = _listen(path)
        self._monitor = sock.get_monitor_socket(_EVENTS)
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        self.is_open = True

    def fileno(self) -> int:
        """Readable when `look` has something to see."""
        return int(self._monitor.getsockopt(zmq.FD))

    def look(self) -> None:
        """Shut it if there is too little room."""
        # Nothing is read beyond that: as long as it is open more may come than one can count.
        while self.is_open:
            if not self._has_room():
                self._shut()
            elif not self._count():
                return

    def reopen(self) -> None:
        """Open it if it is shut and there is room."""
        if self.is_open:
            return
        while self._count():  # of those who have been let go of
            pass
        self._inside.clear()
        if self._has_room():
            with contextlib.suppress(OSError):
                self._open()

    def _count(self) -> bool:
        """Note one who has come or gone; False if there is none."""
        # Asked once per turn of the root: an exception would cost ten times what this does.
        if not int(self._monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            return False
        event, _address = self._monitor.recv_multipart(zmq.NOBLOCK)
        kind, descriptor = _EVENT.unpack(event)
        came = kind == zmq.EVENT_ACCEPTED
        (self._inside.add if came else self._inside.discard)(descriptor)
        return True

    def bind_anew(self) -> None:
        """Make the file again after it was deleted; who is inside stays so.

        Raises ConfigError if it cannot be made; then this may be tried again.
        """
        listener = _listen(self.path)
        self._shut()
        self._listener.close()
        self._listener = listener
        self._open()

    def close(self) -> None:
        """Before the context is destroyed."""
        self._shut()
        self._sock.disable_monitor()
        self._listener.close()

    def _has_room(self) -> bool:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = len(self._inside) < min(_MOST, limit // 8)
        return room and _lowest_free(self._listener) < limit - min(_RESERVE, limit // 4)

    def _open(self) -> None:
        """Raises ConfigError, or OSError if there is no descriptor left."""
        fd = os.dup(self._listener.fileno())
        try:
            self._sock.setsockopt(zmq.USE_FD, fd)
            self._sock.bind(f"ipc://{self.path}")
        except zmq.ZMQError as error:
            os.close(fd)
            raise unusable(self.path, str(error)) from None
        self.is_open = True

    def _shut(self) -> None:
        self.is_open = False
        with contextlib.suppress(zmq.ZMQError):  # it is shut already
            self._sock.unbind(f"ipc://{self.path}")


def _lowest_free(listener: socket.socket) -> int:
    """The kernel gives the lowest (open(2)): so many are in use at least."""
    try:
        fd = os.dup(listener.fileno())
    except OSError:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.close(fd)
    return fd


def _listen(path: Path) -> socket.socket:
    """At a file that we make: libzmq's own it would delete in its own time."""
    former = os.umask(0o177)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            path.unlink(missing_ok=True)
            listener.bind(os.fsencode(path))
            listener.listen(_WAITING_CONNECTIONS)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise unusable(path, str(error)) from None
    finally:
        os.umask(former)
    return listener


def unusable(path: Path, why: str) -> ConfigError:
    """Nobody can listen at `path`."""
    problem = ConfigProblem(str(path), 0, 0, "", f"cannot listen here: {why}")
    return ConfigError([problem])
