"""What an interceptor passes on: one channel for each pair of a sender and a receiver.

A cast keeps the number that its own sender has given it, whoever brings it.  So the receiver
knows it again when the interceptor, or the way, is another one; and the interceptor tells the
sender what is done when the next on the way has told it, and holds nothing that the sender
does not hold as well.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Protocol

from supervisor_tree.bus.channel import Channel, Surroundings
from supervisor_tree.bus.delivery import Outbox
from supervisor_tree.bus.directory import Directory, Member
from supervisor_tree.bus.dispatcher import Reception
from supervisor_tree.bus.mailbox import Entry, Pair, Sender
from supervisor_tree.bus.messages import Ack, Call, Cast, Failure, Reply, Welcome
from supervisor_tree.errors import AgentDown, MailboxFull, RemoteError

__all__ = ["Passage", "Relaying", "check_interceptor"]


class Relaying(Surroundings, Protocol):
    """What a passage needs of the bus that it belongs to."""

    def next_call(self) -> int:
        """A number for a call."""

    def drop_detour(self, channel: Channel) -> None:
        """This channel is needed no longer."""


class _Relay(Channel):
    """The way of one sender's messages from here to their receiver."""

    def __init__(self, bus: Relaying, pair: Pair, reception: Reception) -> None:
        super().__init__(bus, pair.to, Outbox(after=pair.handled), pair.origin)
        self.pair = pair
        self._reception = reception

    def tell(self) -> None:
        """Let the sender know what is done."""
        self._reception.mailbox.passed(self.pair, self.outbox.base - 1)
        self._reception.inbox.send_acks()

    def _receive(self, message: Any) -> None:
        super()._receive(message)
        if isinstance(message, Ack | Welcome):
            self.tell()


class Passage:
    """All that goes through one interceptor."""

    def __init__(self, bus: Relaying, reception: Reception, directory: Directory) -> None:
        self._bus = bus
        self._reception = reception
        self._directory = directory
        self._relays: dict[Sender, _Relay] = {}

    def pass_on(self, entry: Entry, payload: bytes | None) -> None:
        """Send a message on with this payload; None: nothing but its number, if it is a cast."""
        pair, message = entry.pair, entry.message
        relay = self._relays.get(pair.sender)
        if relay is None:
            relay = self._relays[pair.sender] = _Relay(self._bus, pair, self._reception)
        relay.pair = pair
        if not isinstance(message, Call):
            trace, redelivered = "", False
            if isinstance(message, Cast):
                trace, redelivered = message.trace, message.redelivered
            relay.pass_on(message.seq, payload, trace, redelivered)
            relay.tell()
        elif payload is not None:
            self._call(relay, entry, message, payload)

    def forget_gone(self) -> None:
        """Close the ways of senders whose lives are over, and those that lead nowhere any more."""
        for name, relay in list(self._relays.items()):
            settled = relay.idle or not relay.connected
            over = settled and self._is_over(relay.pair.origin)
            if over or not relay.find_way() or self._directory.member(relay.path) is None:
                del self._relays[name]
                self._bus.drop_detour(relay)

    def _is_over(self, life: Sender) -> bool:
        member = self._directory.member(life.path)
        return member is None or member.pid is None or member.generation != life.generation

    def _call(self, relay: _Relay, entry: Entry, message: Call, payload: bytes) -> None:
        through = relay.find_way()
        member = self._directory.member(through)
        try:
            if member is None or member.pid is None:
                raise AgentDown(f"{through or relay.path} does not run now")
            future = relay.call(Call(self._bus.next_call(), payload, message.trace))
        except (AgentDown, MailboxFull) as error:
            failure = Failure(message.id, type(error).__name__, str(error))
            self._reception.inbox.answer(entry, failure)
            return
        future.add_done_callback(partial(self._answer, entry, message.id))

    def _answer(self, entry: Entry, id: int, future: asyncio.Future[bytes]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        answer: Reply | Failure
        if error is None:
            answer = Reply(id, future.result())
        elif isinstance(error, RemoteError):
            answer = Failure(id, error.type, error.message, error.text)
        else:
            answer = Failure(id, type(error).__name__, str(error))
        self._reception.inbox.answer(entry, answer)


def check_interceptor(member: Member | None, path: str, receiver: str) -> None:
    """Raise AgentDown if nobody at `path` can take now what is for `receiver`."""
    if member is None or member.pid is None:
        raise AgentDown(f"{path}, which intercepts what is for {receiver}, does not run now")
    if member.ready and not member.inbox:
        raise AgentDown(f"{path}, which intercepts what is for {receiver}, takes no messages")
