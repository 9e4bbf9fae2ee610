"""Delivery under kills, delays, losses and duplicates at will: nothing lost, nothing twice.

Senders and receivers are the real machines.  Between them are queues that deliver when the
rule says so, break when it says so, and may hand out late what was sent over a broken one.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisor_tree.bus.delivery import Outbox, OutboxFull
from supervisor_tree.bus.mailbox import (
    Entry,
    Mailbox,
    Pair,
    Sender,
    Verdict,
    one_more_death,
)
from supervisor_tree.bus.messages import Ack, Call, Cast, Hello, Reply, Skip, Welcome
from supervisor_tree.core.specs import OnFull

MAX_DELIVERIES = 3
SENDERS = ("/a", "/b", "/c")


class Link:
    """One connection: a queue each way."""

    def __init__(self) -> None:
        self.there: deque[Any] = deque()
        self.back: deque[Any] = deque()
        self.pair: Pair | None = None


class Delivery(RuleBasedStateMachine):
    """Three senders, one receiver; a second receiver adds nothing, as outboxes are per pair."""

    def __init__(self) -> None:
        super().__init__()
        self.generations = dict.fromkeys(SENDERS, 1)
        self.outboxes = {path: self.outbox() for path in SENDERS}
        self.links = {path: Link() for path in SENDERS}
        self.late: list[tuple[str, int, deque[Any]]] = []  # of broken links, same receiver
        self.cast: dict[Sender, int] = {}
        self.handled: dict[Sender, dict[int, list[int]]] = {}  # generation -> seqs, in order
        self.deaths_over: dict[tuple[Sender, int], int] = {}
        self.dead: set[tuple[Sender, int]] = set()
        self.known_deaths: dict[Sender, dict[int, int]] = {}
        self.sent_to: dict[tuple[Sender, int], set[int]] = {}
        self.entry: Entry | None = None
        self.asked: dict[Sender, int] = {}
        self.answered: dict[Sender, dict[int, list[int]]] = {}  # generation -> ids, in order

    @initialize(limit=st.sampled_from([2, 5, 1000]))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.mailbox = Mailbox(1, limit=limit)
        for path in SENDERS:
            self.connect(path)

    def outbox(self) -> Outbox:
        return Outbox(limit=20, flight_bytes=40, max_deliveries=MAX_DELIVERIES)

    def sender(self, path: str) -> Sender:
        return Sender(path, self.generations[path])

    def connect(self, path: str) -> None:
        self.links[path] = Link()
        hello = self.outboxes[path].hello(path, self.generations[path])
        self.links[path].there.append(hello)

    # --- the shell's part -----------------------------------------------------------------

    @rule(path=st.sampled_from(SENDERS), size=st.integers(0, 15))
    def cast_one(self, path: str, size: int) -> None:
        sender = self.sender(path)
        try:
            seq = self.outboxes[path].put(bytes(size))
        except OutboxFull:
            assert len(self.outboxes[path]) == 20
            return
        assert seq == self.cast.get(sender, 0) + 1
        self.cast[sender] = seq

    @rule(path=st.sampled_from(SENDERS), ids=st.integers(1, 3))
    def call_one(self, path: str, ids: int) -> None:
        sender = self.sender(path)
        self.asked[sender] = self.asked.get(sender, 0) + ids  # others of its calls go elsewhere
        with suppress(OutboxFull):
            self.outboxes[path].put_call(Call(self.asked[sender], b"?"))

    @rule(path=st.sampled_from(SENDERS), count=st.integers(1, 6), size=st.integers(0, 30))
    def send(self, path: str, count: int, size: int) -> None:
        box = self.outboxes[path]
        ready = box.sendable
        taken = box.take(count, size)
        assert bool(taken) == ready
        for message in taken:
            if isinstance(message, Cast):
                met = self.sent_to.setdefault((self.sender(path), message.seq), set())
                assert message.redelivered == bool(met - {box.generation})
                met.add(box.generation)
        self.links[path].there.extend(taken)

    @rule(path=st.sampled_from(SENDERS), count=st.integers(1, 10))
    def arrive(self, path: str, count: int) -> None:
        link = self.links[path]
        for _ in range(min(count, len(link.there))):
            self.receive(link, self.sender(path), link.there.popleft())

    @rule(path=st.sampled_from(SENDERS), count=st.integers(1, 10))
    def come_back(self, path: str, count: int) -> None:
        link = self.links[path]
        for _ in range(min(count, len(link.back))):
            self.hear(path, link.back.popleft())

    @rule(fail=st.booleans())
    def handle(self, fail: bool) -> None:
        self.take_in_hand()
        if self.entry is not None:
            self.finish()

    @rule()
    def take_in_hand(self) -> None:
        if self.entry is None:
            self.entry = self.mailbox.begin()

    @rule()
    def acknowledge(self) -> None:
        for sender, ack in self.mailbox.acks():
            if sender == self.sender(sender.path):
                self.links[sender.path].back.append(ack)

    def receive(self, link: Link, sender: Sender, message: Any) -> None:
        if isinstance(message, Hello):
            link.pair, welcome = self.mailbox.hello(sender, message.base)
            link.back.append(welcome)
        elif link.pair and self.mailbox.arrived(link.pair, message) is Verdict.GAP:
            link.back.append(self.mailbox.welcome(link.pair))

    def hear(self, path: str, message: Welcome | Ack | Reply) -> None:
        if isinstance(message, Ack):
            self.outboxes[path].acked(message)
            return
        if isinstance(message, Reply):
            self.outboxes[path].withdraw(message.id)
            return
        for letter in self.outboxes[path].welcomed(message):
            key = (self.sender(path), letter.seq)
            assert letter.deaths == MAX_DELIVERIES
            assert self.deaths_over[key] == MAX_DELIVERIES
            assert key not in self.dead
            self.dead.add(key)

    def finish(self) -> None:
        assert self.entry is not None
        message = self.entry.message
        sender = self.entry.pair.sender
        if isinstance(message, Call):
            self.answer(sender, message)
            return
        assert isinstance(message, Cast)
        seen = self.handled.setdefault(sender, {}).setdefault(self.mailbox.generation, [])
        assert not seen or seen[-1] < message.seq, "out of order, or twice by one generation"
        assert (sender, message.seq) not in self.dead
        seen.append(message.seq)
        self.mailbox.done(self.entry)
        self.entry = None

    def answer(self, sender: Sender, call: Call) -> None:
        assert self.entry is not None
        lives = self.answered.setdefault(sender, {})
        seen = lives.setdefault(self.mailbox.generation, [])
        assert not seen or seen[-1] < call.id, "out of order, or twice by one generation"
        assert not any(call.id in ids for life, ids in lives.items() if ids is not seen)
        seen.append(call.id)
        self.mailbox.done(self.entry)
        self.entry = None
        if sender == self.sender(sender.path):
            self.links[sender.path].back.append(Reply(call.id, b""))

    # --- what goes wrong ------------------------------------------------------------------

    @rule()
    def kill_the_receiver(self) -> None:
        over = None
        if self.entry is not None and isinstance(self.entry.message, Cast):
            over = (self.entry.pair.sender, self.entry.message.seq)
            self.deaths_over[over] = self.deaths_over.get(over, 0) + 1
        self.known_deaths = one_more_death(self.known_deaths, over)
        self.entry = None
        self.mailbox = Mailbox(
            self.mailbox.generation + 1, limit=self.limit, deaths=self.known_deaths
        )
        self.late.clear()
        for path in SENDERS:
            self.outboxes[path].lost()
            self.outboxes[path].drop_calls()  # the runtime fails them
            self.connect(path)

    @rule(path=st.sampled_from(SENDERS))
    def kill_a_sender(self, path: str) -> None:
        self.late.append((path, self.generations[path], self.links[path].there))
        self.mailbox.forget(self.sender(path))
        self.generations[path] += 1
        self.outboxes[path] = self.outbox()
        self.connect(path)

    @rule(path=st.sampled_from(SENDERS), keep=st.booleans(), stale=st.booleans())
    def break_a_connection(self, path: str, keep: bool, stale: bool) -> None:
        old = self.links[path]
        if keep:
            self.late.append((path, self.generations[path], old.there))
        self.outboxes[path].lost()
        self.connect(path)
        if stale:  # what the receiver had answered is still read first
            self.links[path].back.extend(m for m in old.back if not isinstance(m, Welcome))

    @rule(path=st.sampled_from(SENDERS), position=st.integers(0, 3))
    def lose_one(self, path: str, position: int) -> None:
        there = self.links[path].there
        casts = [n for n, message in enumerate(there) if isinstance(message, Cast | Skip)]
        if casts:
            del there[casts[position % len(casts)]]

    @rule(path=st.sampled_from(SENDERS), position=st.integers(0, 2), behind=st.integers(1, 4))
    def lose_one_of_many(self, path: str, position: int, behind: int) -> None:
        self.flow(path)
        for _ in range(behind + position):
            self.cast_one(path, 1)
        self.send(path, 10, 1000)
        self.lose_one(path, position)
        self.arrive(path, 100)

    @rule(path=st.sampled_from(SENDERS))
    def flow(self, path: str) -> None:
        """A time without trouble, for one sender."""
        for _ in range(3):
            self.arrive(path, 100)
            self.come_back(path, 100)
            self.send(path, 100, 1000)

    @rule(path=st.sampled_from(SENDERS), times=st.integers(1, 3), behind=st.integers(0, 2))
    def die_over_the_next(self, path: str, times: int, behind: int) -> None:
        """Whatever is first in the mailbox kills its receiver, again and again."""
        for _ in range(behind + 1):
            self.cast_one(path, 1)
        for _ in range(times):
            self.flow(path)
            self.take_in_hand()
            self.kill_the_receiver()
        self.flow(path)

    @rule(path=st.sampled_from(SENDERS))
    def hear_an_old_welcome(self, path: str) -> None:
        """A word of a generation that is gone changes nothing."""
        box = self.outboxes[path]
        if box.generation > 1:
            before = (len(box), box.generation, box._credit, box.open)
            assert box.welcomed(Welcome(box.generation - 1, 10**6, 10**6, 10**6)) == []
            box.acked(Ack(box.generation - 1, 10**6, 10**6))
            assert (len(box), box.generation, box._credit, box.open) == before

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def arrive_late(self, data: st.DataObject) -> None:
        path, generation, queue = data.draw(st.sampled_from(self.late))
        sender = Sender(path, generation)
        link = Link()  # the answers go nowhere
        if queue:
            message = queue.popleft()
            if isinstance(message, Hello):
                return
            pair = self.mailbox._pairs.get(sender)
            if pair is not None:
                link.pair = pair
                # A gap told to a link that is gone would never be told again; and what came late
                # of a call was sent before its connection broke, so nothing is ahead of it.
                if isinstance(message, Call) or message.seq <= pair.received + 1:
                    self.receive(link, sender, message)

    # --- what holds -------------------------------------------------------------------------

    @invariant()
    def nothing_is_handled_that_was_not_cast(self) -> None:
        for sender, lives in self.handled.items():
            for seqs in lives.values():
                assert seqs[-1] <= self.cast[sender]

    @invariant()
    def no_cast_is_skipped_while_its_sender_lives(self) -> None:
        """Each is handled, held by its sender, or a dead letter; and in order."""
        for path, box in self.outboxes.items():
            sender = self.sender(path)
            done = {seq for seqs in self.handled.get(sender, {}).values() for seq in seqs}
            held = {letter.seq for letter in (*box._flight, *box._waiting)}
            for seq in range(1, self.cast.get(sender, 0) + 1):
                assert seq in done or seq in held or (sender, seq) in self.dead

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        for box in self.outboxes.values():
            flight = sum(len(letter.payload or b"") for letter in box._flight)
            waiting = sum(len(letter.payload or b"") for letter in box._waiting)
            assert box._flight_bytes == flight
            assert box._bytes == flight + waiting

    def teardown(self) -> None:
        """Once the trouble is over, all comes to be handled or a dead letter."""
        if not hasattr(self, "mailbox"):
            return
        for path in SENDERS:
            self.outboxes[path].lost()
            self.connect(path)
        for _ in range(200):
            if not any(map(len, self.outboxes.values())):
                break
            for path in SENDERS:
                self.arrive(path, 100)
                self.come_back(path, 100)
                if self.outboxes[path].sendable:
                    self.send(path, 100, 1000)
            while self.entry is not None or len(self.mailbox):
                self.take_in_hand()
                if self.entry is not None:
                    self.finish()
            self.acknowledge()
        for path in SENDERS:
            assert not len(self.outboxes[path]), f"{path} still holds messages"
            sender = self.sender(path)
            done = {seq for seqs in self.handled.get(sender, {}).values() for seq in seqs}
            for seq in range(1, self.cast.get(sender, 0) + 1):
                assert seq in done or (sender, seq) in self.dead
        for key, count in self.deaths_over.items():
            if key[0] == self.sender(key[0].path) and count >= MAX_DELIVERIES:
                assert key in self.dead


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=60, stateful_step_count=60)


def test_a_call_that_was_lost_with_its_connection_is_sent_again_to_the_same_generation():
    box, mailbox = Outbox(), Mailbox(1)
    me = Sender("/me", 1)
    pair, welcome = mailbox.hello(me, box.base)
    box.welcomed(welcome)
    for id in (3, 5, 8):
        box.put_call(Call(id, b"?"))
    first, *lost = box.take(10, 1000)
    assert mailbox.arrived(pair, first) is Verdict.QUEUED
    box.put(b"between")
    box.lost()
    box.welcomed(mailbox.hello(me, box.base)[1])
    again = box.take(10, 1000)
    assert again == [*lost, Cast(1, b"between")]
    assert [mailbox.arrived(pair, message) for message in again] == [Verdict.QUEUED] * 3
    assert mailbox.arrived(pair, first) is Verdict.DUPLICATE
    assert box.asked == 3
    assert not any(box.withdraw(id) for id in (3, 5, 8))
    box.lost()
    box.welcomed(mailbox.hello(me, box.base)[1])
    assert (box.asked, box.waiting_calls()) == (0, set())


def test_a_call_is_sent_in_its_turn_among_the_casts_and_never_to_another_generation():
    box = Outbox()
    box.put(b"1")
    box.put_call(Call(7, b"?"))
    box.put(b"2")
    assert not box.sendable
    box.welcomed(Welcome(1, 0, 0, 100))
    assert box.take(10, 1000) == [Cast(1, b"1"), Call(7, b"?"), Cast(2, b"2")]
    box.lost()
    box.welcomed(Welcome(2, 0, 0, 100))
    assert box.take(10, 1000) == [
        Cast(1, b"1", redelivered=True),
        Cast(2, b"2", redelivered=True),
    ]


def test_a_full_mailbox_that_drops_the_oldest_acknowledges_what_it_drops():
    box = Mailbox(1, limit=2, on_full=OnFull.DROP_OLDEST)
    pair, _welcome = box.hello(Sender("/a", 1), 1)
    for seq in (1, 2):
        box.arrived(pair, Cast(seq, b""))
    first = box.begin()
    assert first is not None
    for seq in (3, 4, 5):
        box.arrived(pair, Cast(seq, b""))
    assert [entry.message for entry in box.overflow()] == [Cast(2, b""), Cast(3, b"")]
    assert box.acks() == []  # the first is still in hand
    box.done(first)
    assert [(sender.path, ack.handled) for sender, ack in box.acks()] == [("/a", 3)]


def test_a_full_mailbox_that_rejects_tells_a_caller_and_gives_no_more_credit():
    box = Mailbox(1, limit=4)
    pairs = [box.hello(Sender(path, 1), 1) for path in ("/a", "/b")]
    assert [welcome.credit for _pair, welcome in pairs] == [4, 2]
    for seq in range(1, 5):
        box.arrived(pairs[0][0], Cast(seq, b""))
    assert box.arrived(pairs[1][0], Call(1, b"")) is Verdict.FULL
    assert box.overflow() == []


def test_a_cast_beyond_its_senders_credit_is_not_taken_until_there_is_more():
    box = Mailbox(1, limit=2)
    pair, welcome = box.hello(Sender("/a", 1), 1)
    beyond = welcome.credit + 1
    for seq in range(1, beyond):
        assert box.arrived(pair, Cast(seq, b"")) is Verdict.QUEUED
    assert box.arrived(pair, Cast(beyond, b"")) is Verdict.FULL
    first = box.begin()
    assert first is not None
    box.done(first)
    assert box.acks()[0][1].credit == beyond
    assert box.arrived(pair, Cast(beyond, b"")) is Verdict.QUEUED


def test_senders_that_are_gone_leave_little_behind():
    box = Mailbox(1)
    for generation in range(1, 2000):
        box.hello(Sender("/a", generation), 1)
        box.forget(Sender("/a", generation))
    assert box.pairs <= 256
