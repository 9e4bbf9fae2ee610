"""Frames that can be read, from a peer that keeps to nothing: what they do to both ends.

The input is frames with 0xC1 between them, which msgpack never begins anything with.  Each is
given to a receiver's mailbox, as from a sender, and to a sender's outbox, as from a receiver.
"""

from __future__ import annotations

from supervisor_tree.bus.codec import BadFrame, decode, encode
from supervisor_tree.bus.delivery import Outbox
from supervisor_tree.bus.mailbox import Mailbox, Pair, Sender
from supervisor_tree.bus.messages import Ack, Call, Cast, Hello, Message, Reply, Skip, Welcome
from supervisor_tree.core.specs import OnFull
from tests.fuzz.engine import fuzz

__all__ = ["SEEDS", "one_input"]

_LIMIT = 4
_GENERATION = 3
_SEPARATOR = b"\xc1"

_GOOD: list[list[list[Message]]] = [
    [[Hello("/a", 1, 1)], [Cast(1, b"\x01"), Cast(2, b"\x02"), Call(1, b"\x03")]],
    [[Hello("/a", 1, 5)], [Cast(5, b""), Skip(6), Cast(9, b"")], [Hello("/a", 1, 6)]],
    [[Hello("/a", 1, 1, "/b")], [Cast(n, b"") for n in range(1, 12)], [Call(2**62, b"")]],
    [[Welcome(1, 0, 0, 3)], [Ack(1, 2, 9), Reply(1, b"")], [Welcome(2, 2, 2, 7, ((3, 3),))]],
]
SEEDS = [_SEPARATOR.join(encode(frame) for frame in frames) for frames in _GOOD]


class _Receiver:
    """An inbox without its socket."""

    def __init__(self, on_full: OnFull) -> None:
        self.on_full = on_full
        self.mailbox = Mailbox(_GENERATION, limit=_LIMIT, on_full=on_full)
        self.pair: Pair | None = None
        self.handled: list[int] = []

    def take(self, message: Message) -> None:
        if isinstance(message, Hello):
            self.pair, welcome = self.mailbox.hello(Sender("/a", 1), message.base, message.to)
            self.handled = [seq for seq in self.handled if seq < message.base]
            encode([welcome])
        elif isinstance(message, Cast | Call | Skip) and self.pair is not None:
            self.mailbox.arrived(self.pair, message)
        self.mailbox.overflow()

    def work(self) -> None:
        entry = self.mailbox.begin()
        if entry is None:
            return
        if isinstance(entry.message, Cast) and not entry.pair.to:
            assert not self.handled or entry.message.seq > self.handled[-1], "twice, or in disorder"
            self.handled.append(entry.message.seq)
        self.mailbox.done(entry)
        for _sender, ack in self.mailbox.acks():
            encode([ack])

    def check(self) -> None:
        # Casts by credit, calls by the limit; what is dropped to make room goes at once.
        bound = _LIMIT if self.on_full is OnFull.DROP_OLDEST else 2 * _LIMIT * self.mailbox.pairs
        assert len(self.mailbox) <= max(bound, _LIMIT)
        if self.pair is not None:
            assert self.pair.handled <= self.pair.received


class _Sender:
    """A channel without its socket."""

    def __init__(self) -> None:
        self.outbox = Outbox(limit=8, flight_bytes=64)
        for number in range(1, 6):
            self.outbox.put(bytes(number))
        self.outbox.put_call(Call(1, b"?"))

    def take(self, message: Message) -> None:
        box = self.outbox
        if isinstance(message, Welcome):
            box.welcomed(message)
        elif isinstance(message, Ack):
            box.acked(message)
        elif isinstance(message, Reply):
            box.withdraw(message.id)

    def work(self) -> None:
        taken = self.outbox.take(3, 1000)
        if taken:
            encode(taken)
        casts = [message.seq for message in taken if not isinstance(message, Call)]
        assert casts == list(range(casts[0], casts[0] + len(casts))) if casts else True

    def check(self) -> None:
        box = self.outbox
        assert 0 <= len(box) <= 8
        assert 0 <= box._flight_bytes <= box._bytes <= 15
        assert 1 <= box.base <= 6


def one_input(data: bytes) -> None:
    """Nothing is raised, nothing grows without a bound, nothing is handled twice by one life."""
    for on_full in OnFull:
        ends = (_Receiver(on_full), _Sender())
        for frame in data.split(_SEPARATOR)[:64]:
            try:
                messages = decode(frame)
            except BadFrame:
                continue
            for end in ends:
                for message in messages:
                    end.take(message)
                    end.check()
                end.work()
                end.check()


if __name__ == "__main__":
    fuzz(one_input, SEEDS)
