"""The receiving side of systemd's notify protocol (sd_notify(3)), for every child.

Who has sent a datagram is the kernel's word (SCM_CREDENTIALS, unix(7)), never the
sender's.  Malformed and oversize datagrams are counted and dropped; file descriptors
that ride along are closed (BARRIER=1 asks for nothing else).
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BEAT", "Datagram", "NotifySocket", "parse"]

BEAT: Mapping[str, str] = {"WATCHDOG": "1"}  # the one object for all that say just this

_BEAT = b"WATCHDOG=1"
_MAX_BYTES = 4096  # of one datagram; systemd's own limit
_MAX_FDS = 253  # of one datagram, by the kernel (SCM_MAX_FD)
_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Datagram:
    """What process `pid` has said."""

    pid: int
    fields: Mapping[str, str]


def parse(data: bytes) -> dict[str, str] | None:
    """KEY=VALUE lines as a dict; None if it is not that."""
    try:
        lines = data.decode("utf-8").split("\n")  # and at no other character that ends a line
    except UnicodeDecodeError:
        return None
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            continue
        key, found, value = line.partition("=")
        if not found or not key:
            return None
        fields[key] = value
    return fields or None


class NotifySocket:
    """The datagram socket that NOTIFY_SOCKET names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped = 0
        self._mode = 0o600
        self._socket = _bind(path)

    def fileno(self) -> int:
        return self._socket.fileno()

    def open_to_everyone(self) -> None:
        """For trees whose children run as other users; the kernel still says who has sent."""
        self._mode = 0o622
        os.chmod(self.path, self._mode)

    def bind_anew(self) -> list[Datagram]:
        """Make the file again after it was deleted; returns what the former one had received.

        The number of the descriptor stays, but a selector has to be told of it again.
        """
        fresh = _bind(self.path)
        os.chmod(self.path, self._mode)
        rest = self.receive()
        os.dup2(fresh.fileno(), self._socket.fileno(), inheritable=False)
        fresh.close()
        return rest

    def receive(self, limit: int = 1000) -> list[Datagram]:
        """All datagrams that wait, at most `limit`."""
        datagrams: list[Datagram] = []
        space = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4 * _MAX_FDS)
        for _ in range(limit):
            try:
                data, ancillary, flags, _address = self._socket.recvmsg(_MAX_BYTES, space)
            except BlockingIOError:
                break
            pid = _sender(ancillary)
            if data == _BEAT:
                fields: Mapping[str, str] | None = BEAT
            else:
                fields = None if flags & socket.MSG_TRUNC else parse(data)
            if pid is None or fields is None:
                self.dropped += 1
            else:
                datagrams.append(Datagram(pid, fields))
        return datagrams

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)


def _bind(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(before)
    return bound


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    pid: int | None = None
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS and len(data) >= _CREDENTIALS.size:
            pid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
        elif kind == socket.SCM_RIGHTS:
            fds = array.array("i")
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            for fd in fds:
                os.close(fd)
    return pid
