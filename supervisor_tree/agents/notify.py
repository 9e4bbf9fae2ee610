"""The sender's side of systemd's notify protocol (sd_notify(3)).

One datagram of KEY=VALUE lines to the socket that NOTIFY_SOCKET names: a path, or an
abstract name written with a leading @.  The receiver knows the sender by kernel
credentials, so nothing here says who is speaking.

Nothing raises when nobody listens: an agent must run under a test, a shell or another
supervisor alike.
"""

from __future__ import annotations

import os
import socket

__all__ = ["Notifier"]

# A receiver's queue is short (net.unix.max_dgram_qlen, 10 by default) and a whole tree may
# start at once: what decides over a life waits for room, what only informs does not.
_DECISIVE_WAIT_S = 5.0


class Notifier:
    """Speaks for this process.  Each call returns whether the datagram was taken."""

    def __init__(self, address: str | None) -> None:
        self._address = _socket_address(address)
        self._socket: socket.socket | None = None

    @classmethod
    def from_environment(cls) -> Notifier:
        """The notifier of NOTIFY_SOCKET, silent where that is not set."""
        return cls(os.environ.get("NOTIFY_SOCKET"))

    def ready(self) -> bool:
        """READY=1: the start has succeeded."""
        return self.send({"READY": "1"}, wait_s=_DECISIVE_WAIT_S)

    def status(self, text: str) -> bool:
        """STATUS=: one line for an operator.  Dropped if the receiver is behind."""
        return self.send({"STATUS": text})

    def stopping(self) -> bool:
        """STOPPING=1: the end has begun.  Never waits, as signal handlers call it."""
        return self.send({"STOPPING": "1"})

    def extend_timeout(self, seconds: float) -> bool:
        """EXTEND_TIMEOUT_USEC=: the start or stop in progress may take this long from now."""
        return self.send(
            {"EXTEND_TIMEOUT_USEC": str(round(seconds * 1e6))}, wait_s=_DECISIVE_WAIT_S
        )

    def failed(self, text: str) -> bool:
        """STATUS= and ERRNO=1: the process is about to end in failure, and why."""
        return self.send({"STATUS": text, "ERRNO": "1"}, wait_s=_DECISIVE_WAIT_S)

    def ignored(self, text: str) -> bool:
        """The start was declined.  X_ keys are the protocol's room for extensions."""
        fields = {"X_SUPERVISOR_TREE_START": "ignore", "STATUS": text}
        return self.send(fields, wait_s=_DECISIVE_WAIT_S)

    def send(self, fields: dict[str, str], *, wait_s: float = 0.0) -> bool:
        """Send one datagram, waiting up to `wait_s` seconds for room.  False if not taken."""
        if self._address is None:
            return False
        lines = (f"{key}={_one_line(value)}" for key, value in fields.items())
        try:
            if self._socket is None:
                self._socket = socket.socket(
                    socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
                )
            self._socket.settimeout(wait_s)
            # The address goes with each datagram: the socket behind it may be bound anew.
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give the descriptor back; a later call opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _socket_address(name: str | None) -> str | None:
    if not name or name[0] not in "/@":
        return None
    return "\0" + name[1:] if name[0] == "@" else name


def _one_line(value: str) -> str:
    return " ".join(value.splitlines())
