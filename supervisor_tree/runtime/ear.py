"""Listens to what children say of themselves, and lets beats pile up a little.

A thousand children with watchdogs send a few hundred beats each second.  To wake up for each
costs the root many times what a beat itself does.  So after bare beats it does not listen for
`NAP_S`; what comes meanwhile waits in the socket, whose queue may be as short as ten datagrams
(net.unix.max_dgram_qlen), and beyond that with its senders.  No nap is taken, and none goes on,
while a life is expected to say that it is ready.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from supervisor_tree.runtime.notify import Datagram, NotifySocket
from supervisor_tree.runtime.reactor import Reactor

__all__ = ["NAP_S", "Ear"]

NAP_S = 0.025


class _Hearer(Protocol):
    """What is needed of the driver."""

    @property
    def expects_word(self) -> bool:
        """Whether somebody is about to say that it is ready."""
        ...

    def take_beats(self, datagrams: list[Datagram]) -> list[Datagram]:
        """Hand over bare beats; returns all the rest."""
        ...


class Ear:
    """One notify socket in one reactor.  `take` gets all that is more than a beat."""

    def __init__(
        self,
        socket: NotifySocket,
        reactor: Reactor,
        hearer: _Hearer,
        take: Callable[[Sequence[Datagram]], None],
    ) -> None:
        self._socket = socket
        self._reactor = reactor
        self._hearer = hearer
        self._take = take
        self._naps = False
        reactor.add(socket.fileno(), self._hear)
        reactor.before_wait(self._wake_if_needed)

    def bind_anew(self) -> None:
        """Make the file of the socket again after it was deleted."""
        datagrams = self._socket.bind_anew()
        self._wake()
        self._reactor.remove(self._socket.fileno())
        self._reactor.add(self._socket.fileno(), self._hear)
        self._take(datagrams)

    def _hear(self) -> None:
        """Something has come, or a nap is over."""
        heard = self._socket.receive()
        rest = self._hearer.take_beats(heard)
        if rest:
            self._take(rest)
        if heard and not rest and not self._hearer.expects_word:
            self._nap()
        else:
            self._wake()

    def _nap(self) -> None:
        if not self._naps:
            self._naps = True
            self._reactor.remove(self._socket.fileno())
        self._reactor.call_in("ear", NAP_S, self._hear)

    def _wake(self) -> None:
        if self._naps:
            self._naps = False
            self._reactor.cancel("ear")
            self._reactor.add(self._socket.fileno(), self._hear)

    def _wake_if_needed(self) -> None:
        if self._naps and self._hearer.expects_word:
            self._wake()
