"""Whether a child is ready, where that is not for the child alone to say.

A child may have to meet several conditions, each of which is a word: its own READY=1
("notify"), a port that takes connections ("tcp"), a line of its output ("log"), a time for
which it exists ("delay").  When the last is met the core is told; how long that may take is
the core's business (`start_timeout`).  Lines are looked for by the logger, who sees them all.

A port is tried every `_PROBE_S`, without waiting for an answer: whether an attempt has succeeded
is asked at the next one.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from supervisor_tree.core.specs import ChildSpec, Readiness, Ready

__all__ = ["Probes", "conditions_of", "without"]

_PROBE_S = 0.1
_ATTEMPT_S = 3.0  # without any answer, before another attempt is made
_HERE = "127.0.0.1"

_Address: TypeAlias = tuple[socket.AddressFamily, str, int]


class _Loop(Protocol):
    """What is needed of the reactor."""

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None: ...

    def cancel(self, key: Hashable) -> None: ...


_known: dict[frozenset[str], frozenset[str]] = {}


def without(conditions: frozenset[str], *met: str) -> frozenset[str]:
    """What is left of them.  There are few such sets, and thousands of lives share them."""
    left = conditions.difference(met)
    return _known.setdefault(left, left)


def conditions_of(spec: ChildSpec) -> frozenset[str]:
    """What a life of this child has to meet to be ready."""
    asked = spec.ready
    named = {"tcp": asked.tcp is not None, "log": asked.log is not None, "delay": asked.delay > 0}
    named["notify"] = spec.readiness_or_default is Readiness.NOTIFY
    return without(frozenset(word for word, wanted in named.items() if wanted))


class Probes:
    """Looks at lives whose processes exist.  `met(path, generation, condition)` is told once each.

    Nothing is told from within a call of these.
    """

    def __init__(self, loop: _Loop, met: Callable[[str, int, str], None]) -> None:
        self._loop = loop
        self._met = met
        self._ports: dict[tuple[str, int], _Port] = {}

    def begin(self, path: str, generation: int, asked: Ready) -> None:
        """The process of this life exists now."""
        if asked.delay > 0:
            key = ("ready", "delay", path, generation)
            self._loop.call_in(key, asked.delay, lambda: self._met(path, generation, "delay"))
        if asked.tcp is not None:
            self._ports[path, generation] = _Port(list(_addresses(asked.tcp)))
            self._look_again(path, generation, 0.0)

    def line_seen(self, path: str, generation: int) -> None:
        """The logger has found the line that this life is waited for to write."""
        key = ("ready", "log", path, generation)
        self._loop.call_in(key, 0.0, lambda: self._met(path, generation, "log"))

    def end(self, path: str, generation: int) -> None:
        """This life is over."""
        for condition in ("delay", "log", "tcp"):
            self._loop.cancel(("ready", condition, path, generation))
        port = self._ports.pop((path, generation), None)
        if port is not None:
            port.close()

    def close(self) -> None:
        """The host ends."""
        for path, generation in list(self._ports):
            self.end(path, generation)

    def _look_again(self, path: str, generation: int, delay_s: float) -> None:
        key = ("ready", "tcp", path, generation)
        self._loop.call_in(key, delay_s, lambda: self._look(path, generation))

    def _look(self, path: str, generation: int) -> None:
        if self._ports[path, generation].is_open():
            self._ports.pop((path, generation)).close()
            self._met(path, generation, "tcp")
        else:
            self._look_again(path, generation, _PROBE_S)


@dataclass(slots=True)
class _Port:
    """The attempts to connect to one port, at each of the addresses where it may be."""

    addresses: list[_Address]
    attempt: socket.socket | None = None
    looks: int = 0  # at this attempt

    def is_open(self) -> bool:
        """Whether one takes connections.  What cannot be tried now is tried the next time."""
        for _ in self.addresses:
            try:
                attempt = self.attempt or self._connect()
                if not self._is_decided(attempt):
                    return False
                # A port that nobody listens on may be given to the very attempt, which then
                # finds itself.
                if attempt.getpeername() != attempt.getsockname():
                    return True
            except OSError:
                pass
            self.close()
            self.addresses.append(self.addresses.pop(0))
        return False

    def close(self) -> None:
        if self.attempt is not None:
            self.attempt.close()
            self.attempt = None

    def _connect(self) -> socket.socket:
        family, host, port = self.addresses[0]
        self.attempt = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.looks = 0
        self.attempt.connect_ex((host, port))  # what comes of it, the socket tells
        return self.attempt

    def _is_decided(self, attempt: socket.socket) -> bool:
        """It has an answer, or has waited for one long enough."""
        poll = select.poll()
        poll.register(attempt, select.POLLOUT)
        self.looks += 1
        return bool(poll.poll(0)) or self.looks * _PROBE_S >= _ATTEMPT_S


def _addresses(tcp: int | str) -> Iterator[_Address]:
    """Where to connect to for what a specification names."""
    if isinstance(tcp, int):
        yield socket.AF_INET, _HERE, tcp
        yield socket.AF_INET6, "::1", tcp
        return
    host, _, port = tcp.rpartition(":")
    if host.lower() == "localhost":
        yield from _addresses(int(port))
    elif host.startswith("["):
        yield socket.AF_INET6, host[1:-1], int(port)
    else:
        yield socket.AF_INET, host, int(port)
