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
# A process that floods the receiver takes every free place at once.  Who waits for one is given
# his turn by the kernel, and who only looks now and then never finds any.
_BEAT_WAIT_S = 0.002


class Notifier:
    """Speaks for this process.  Each call returns whether the datagram was taken."""

    def __init__(self, address: str | None) -> None:
        self._address = _socket_address(address)
        self._socket: socket.socket | None = None

    @classmethod
    def from_environment(cls) -> Notifier:
        """The notifier of NOTIFY_SOCKET, silent where that is not set."""
        return cls(os.environ.get("NOTIFY_SOCKET"))

    def ready(self, *, inbox: bool = False) -> bool:
        """READY=1: the start has succeeded.  `inbox`: this process takes messages of the bus."""
        fields = {"READY": "1", "X_SUPERVISOR_TREE_INBOX": "1"} if inbox else {"READY": "1"}
        return self.send(fields, wait_s=_DECISIVE_WAIT_S)

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

    def alive(self) -> bool:
        """WATCHDOG=1: a sign of life.  Waits for room for 2 ms at most, as loops give it."""
        return self._deliver(b"WATCHDOG=1", _BEAT_WAIT_S)

    def busy(self, label: str, status: str) -> bool:
        """The process works on `label` from now on; "" if it does not.  An extension of ours."""
        fields = {"X_SUPERVISOR_TREE_BUSY": label, "STATUS": status}
        return self.send(fields, wait_s=_DECISIVE_WAIT_S)

    def failed(self, text: str) -> bool:
        """STATUS= and ERRNO=1: the process is about to end in failure, and why."""
        return self.send({"STATUS": text, "ERRNO": "1"}, wait_s=_DECISIVE_WAIT_S)

    def ignored(self, text: str) -> bool:
        """The start was declined.  X_ keys are the protocol's room for extensions."""
        fields = {"X_SUPERVISOR_TREE_START": "ignore", "STATUS": text}
        return self.send(fields, wait_s=_DECISIVE_WAIT_S)

    def send(self, fields: dict[str, str], *, wait_s: float = 0.0) -> bool:
        """Send one datagram, waiting up to `wait_s` seconds for room.  False if not taken."""
        lines = (f"{key}={_one_line(value)}" for key, value in fields.items())
        return self._deliver("\n".join(lines).encode(), wait_s)

    def _deliver(self, datagram: bytes, wait_s: float) -> bool:
        if self._address is None:
            return False
        try:
            self._send(self._address, datagram, wait_s)
        except (ConnectionRefusedError, ConnectionResetError):
            self.close()  # the address was bound anew: it leads to another socket now
            try:
                self._send(self._address, datagram, wait_s)
            except OSError:
                return False
        except OSError:
            return False
        return True

    def _send(self, address: str, datagram: bytes, wait_s: float) -> None:
        if self._socket is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # Connected, as poll(2) knows only then whether the receiver has room: a sender
            # that is not would spin, and with a whole tree starting take the machine.
            try:
                sock.connect(address)
            except OSError:
                sock.close()
                raise
            self._socket = sock
        self._socket.settimeout(wait_s)
        self._socket.send(datagram)

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
