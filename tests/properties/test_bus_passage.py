"""Casts through an interceptor: nothing is lost, doubled or disordered, whoever dies between."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree.bus.delivery import Outbox
from supervisor_tree.bus.mailbox import Entry, Mailbox, Pair, Sender
from supervisor_tree.bus.messages import Cast

ME, TO = Sender("/s", 1), "/r"


class Station:
    """A mailbox of one life after the other, and what is sent to it by `source`."""

    def __init__(self, source: Outbox, to: str) -> None:
        self.source = source
        self.to = to
        self.generation = 0
        self.restart()

    def restart(self) -> None:
        self.generation += 1
        self.mailbox = Mailbox(self.generation, limit=4)
        self.disconnect()

    def disconnect(self) -> None:
        self.source.lost()
        self.pair: Pair | None = None

    def deliver(self) -> None:
        """What the source may send now arrives, and a gap is mended by a Welcome."""
        if self.pair is None:
            hello = self.source.hello(*ME)
            self.pair, welcome = self.mailbox.hello(ME, hello.base, self.to)
            self.source.welcomed(welcome)
        for message in self.source.take(3, 1000):
            self.mailbox.arrived(self.pair, message)

    def acknowledge(self, lose: bool) -> None:
        for _sender, ack in self.mailbox.acks():
            if not lose and self.pair is not None:
                self.source.acked(ack)


class World:
    def __init__(self) -> None:
        self.sent = 0
        self.outbox = Outbox()
        self.first = Station(self.outbox, TO)
        self.relay = Outbox()
        self.last = Station(self.relay, "")
        self.handled: list[tuple[int, int, bool]] = []

    def cast(self) -> None:
        self.sent += 1
        self.outbox.put(bytes([self.sent % 250]))

    def pass_on(self) -> None:
        entry = self.first.mailbox.begin()
        if entry is None:
            return
        message: Any = entry.message
        if not self.relay_is_for(entry.pair):
            self.new_relay(entry.pair)
        payload = message.payload if isinstance(message, Cast) else None
        redelivered = isinstance(message, Cast) and message.redelivered
        if payload == b"\x07":  # rejected
            payload = None
        self.relay.pass_on(message.seq, payload, "", redelivered)
        self.first.mailbox.release(entry)

    def relay_is_for(self, pair: Pair) -> bool:
        return getattr(self, "relayed", None) is pair

    def new_relay(self, pair: Pair) -> None:
        self.relayed = pair
        self.relay = self.last.source = Outbox(after=pair.handled)
        self.last.disconnect()

    def handle(self) -> None:
        entry: Entry | None = self.last.mailbox.begin()
        if entry is not None:
            assert isinstance(entry.message, Cast)
            message = entry.message
            self.handled.append((self.last.generation, message.seq, message.redelivered))
            self.last.mailbox.done(entry)

    def tell(self, lose: bool) -> None:
        self.last.acknowledge(lose)
        if self.first.pair is not None and self.relay_is_for(self.first.pair):
            self.first.mailbox.passed(self.first.pair, self.relay.base - 1)
        self.first.acknowledge(lose)

    def step(self, word: str) -> None:
        match word:
            case "cast":
                self.cast()
            case "to the interceptor":
                self.first.deliver()
            case "pass on":
                self.pass_on()
            case "to the receiver":
                self.last.deliver()
            case "handle":
                self.handle()
            case "acknowledge":
                self.tell(lose=False)
            case "lose acknowledgements":
                self.tell(lose=True)
            case "the interceptor dies":
                self.first.restart()
                self.last.disconnect()
            case "the receiver dies":
                self.last.restart()
            case "connections break":
                self.first.disconnect()
                self.last.disconnect()


CALM = ("to the interceptor", "pass on", "to the receiver", "handle", "acknowledge")
WORDS = st.sampled_from(
    (
        *("cast", "cast", *CALM, *CALM, "lose acknowledgements"),
        *("the interceptor dies", "the receiver dies", "connections break"),
    )
)


@given(st.lists(WORDS, max_size=120))
def test_each_cast_is_handled_in_order_and_once_by_each_life_at_most(words):
    world = World()
    for word in words:
        world.step(word)
    world.step("connections break")
    for _ in range(10 * world.sent + 10):
        for word in CALM:
            world.step(word)
    assert len(world.outbox) == 0
    wanted = [n for n in range(1, world.sent + 1) if n % 250 != 7]
    assert sorted({seq for _life, seq, _again in world.handled}) == wanted
    seen: set[int] = set()
    by_life: dict[int, list[int]] = {}
    for life, seq, redelivered in world.handled:
        assert redelivered or seq not in seen, "handled by a former life, and not marked"
        seen.add(seq)
        by_life.setdefault(life, []).append(seq)
    for numbers in by_life.values():
        assert numbers == sorted(set(numbers))
