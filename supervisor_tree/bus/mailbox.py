"""The receiver's half of delivery (the sender's is `bus.delivery`): no I/O, no clock.

**The receiver** has one `Mailbox` for all its senders, each known as (path, generation).
It takes a cast only if it is the next of its pair, so what is sent twice is handled once, and
what has got lost (`Verdict.GAP`) is asked for again.  A call it takes once, too: its Welcome
says how far they have come.  It acknowledges cumulatively, and only what is done.  Credit
bounds what a sender may have under way: an equal part of the limit.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, TypeAlias

from supervisor_tree.bus.delivery import DEFAULT_LIMIT
from supervisor_tree.bus.messages import Ack, Call, Cast, Skip, Welcome
from supervisor_tree.core.specs import OnFull

__all__ = [
    "Deaths",
    "Entry",
    "Mailbox",
    "Pair",
    "Sender",
    "Verdict",
    "one_more_death",
]

_WINDOW = 2048  # messages that one sender may have under way at most
_REMEMBERED = 256  # pairs whose sender is gone, and deaths


class Sender(NamedTuple):
    """One life of one sender: what order and numbering hold for."""

    path: str
    generation: int


Deaths: TypeAlias = Mapping[Sender, Mapping[int, int]]


class Verdict(Enum):
    """What became of an arrival."""

    QUEUED = "queued"
    DUPLICATE = "duplicate"
    GAP = "gap"  # something before it was lost: answer with the pair's Welcome
    LOST = "lost"  # the same, and the Welcome has been sent already
    FULL = "full"  # a call that finds no room, a cast beyond its sender's credit


class Pair:
    """What the receiver knows of one sender.

    `to` is not empty where the receiver only passes on what is for another: the pair is then
    called `sender`, after both, and its sender's own name is `origin`.
    """

    __slots__ = (
        *("_acked", "called", "credit", "in_hand", "origin", "received", "resolved"),
        *("sender", "to", "told_gap"),
    )

    def __init__(self, sender: Sender, before: int, origin: Sender, to: str = "") -> None:
        self.sender = sender
        self.origin = origin
        self.to = to
        self.received = before  # the highest number that was taken in
        self.resolved = before  # the highest that was handled or dropped
        self.called = 0  # the highest id of a call that has arrived
        self.in_hand = 0
        self.credit = 0
        self.told_gap = False
        self._acked = before

    @property
    def handled(self) -> int:
        """All up to this number are done with."""
        return min(self.resolved, self.in_hand - 1) if self.in_hand else self.resolved

    def ack_due(self) -> bool:
        """True once each time that `handled` has grown."""
        handled = self.handled
        due = handled > self._acked
        self._acked = handled
        return due


class Entry(NamedTuple):
    """A message in the mailbox, and whose it is."""

    pair: Pair
    message: Cast | Call | Skip
    route: object  # where the answer goes: the shell's own affair


class Mailbox:
    """All that has arrived at one generation of a receiver, in order of arrival.

    `deaths` is what is known of former generations: how many have died over which cast.
    """

    def __init__(
        self,
        generation: int,
        *,
        limit: int = DEFAULT_LIMIT,
        on_full: OnFull = OnFull.REJECT,
        deaths: Deaths | None = None,
    ) -> None:
        self.generation = generation
        self._limit = limit
        self._on_full = on_full
        self._deaths = deaths or {}
        self._queue: deque[Entry] = deque()
        self._pairs: dict[Sender, Pair] = {}
        self._gone: OrderedDict[Sender, Pair] = OrderedDict()
        self._touched: dict[Sender, Pair] = {}

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def pairs(self) -> int:
        """How many senders are known, those that are gone included."""
        return len(self._pairs) + len(self._gone)

    def hello(self, origin: Sender, base: int, to: str = "") -> tuple[Pair, Welcome]:
        """A sender begins, or begins again; `base` is its oldest cast without an ack."""
        sender = Sender(f"{origin.path} {to}", origin.generation) if to else origin
        pair = self._pairs.get(sender) or self._gone.pop(sender, None)
        if pair is None:
            pair = Pair(sender, base - 1, origin, to)
        self._pairs[sender] = pair
        if pair.received < base - 1:  # it has given up what we never got
            pair.received = pair.resolved = base - 1
        return pair, self.welcome(pair)

    def welcome(self, pair: Pair) -> Welcome:
        """Where the pair stands."""
        self._grant(pair)
        deaths = self._deaths.get(pair.sender, {})
        over = tuple(item for item in sorted(deaths.items()) if item[0] > pair.received)
        return Welcome(self.generation, pair.handled, pair.received, pair.credit, over, pair.called)

    def arrived(self, pair: Pair, message: Cast | Call | Skip, route: object = None) -> Verdict:
        """Take one message of a pair in."""
        if isinstance(message, Call):
            if message.id <= pair.called:
                return Verdict.DUPLICATE
            pair.called = message.id
            if len(self._queue) >= self._limit and self._on_full is OnFull.REJECT:
                return Verdict.FULL
            self._queue.append(Entry(pair, message, route))
            return Verdict.QUEUED
        seq = message.seq
        if seq != pair.received + 1:
            if seq <= pair.received:
                return Verdict.DUPLICATE
            told, pair.told_gap = pair.told_gap, True
            return Verdict.LOST if told else Verdict.GAP
        if seq > pair.credit:
            return Verdict.FULL
        pair.received = seq
        pair.told_gap = False
        self._queue.append(Entry(pair, message, route))
        return Verdict.QUEUED

    def overflow(self) -> list[Entry]:
        """What a full mailbox drops now to make room: nothing unless `drop_oldest`."""
        dropped = []
        while self._on_full is OnFull.DROP_OLDEST and len(self._queue) > self._limit:
            entry = self._queue.popleft()
            if not isinstance(entry.message, Skip):
                dropped.append(entry)
            if not isinstance(entry.message, Call):
                self._resolve(entry.pair, entry.message.seq)
        return dropped

    def begin(self) -> Entry | None:
        """The next message to handle; hand it back by `done` before the next `begin`."""
        while self._queue:
            entry = self._queue.popleft()
            message = entry.message
            if isinstance(message, Skip) and not entry.pair.to:
                self._resolve(entry.pair, message.seq)
                continue
            if isinstance(message, Cast):
                entry.pair.in_hand = message.seq
            return entry
        return None

    def done(self, entry: Entry) -> None:
        """The handler has returned, or raised: the message was handled."""
        if isinstance(entry.message, Cast):
            entry.pair.in_hand = 0
            self._resolve(entry.pair, entry.message.seq)

    def release(self, entry: Entry) -> None:
        """It is passed on, and so neither in hand nor done with."""
        entry.pair.in_hand = 0

    def passed(self, pair: Pair, handled: int) -> None:
        """Whoever it was passed on to is done with all up to this number."""
        if handled > pair.resolved:
            self._resolve(pair, handled)

    def acks(self) -> list[tuple[Sender, Ack]]:
        """What senders have not been told yet."""
        if not self._touched:
            return []
        due = []
        for sender, pair in self._touched.items():
            if pair.ack_due():
                self._grant(pair)
                due.append((sender, Ack(self.generation, pair.handled, pair.credit)))
        self._touched.clear()
        return due

    def forget(self, sender: Sender) -> None:
        """This life of a sender is over; what it has sent is handled all the same.

        A while it is still remembered, for a frame of its that comes late.
        """
        pair = self._pairs.pop(sender, None)
        self._touched.pop(sender, None)
        if pair is not None:
            self._gone[sender] = pair
            while len(self._gone) > _REMEMBERED:
                self._gone.popitem(last=False)

    def _resolve(self, pair: Pair, seq: int) -> None:
        pair.resolved = max(pair.resolved, seq)
        self._touched[pair.sender] = pair

    def _grant(self, pair: Pair) -> None:
        if self._on_full is OnFull.DROP_OLDEST:
            window = self._limit + _WINDOW  # the newest must get in for the oldest to go
        else:
            window = max(1, min(_WINDOW, self._limit // max(1, len(self._pairs))))
        pair.credit = max(pair.credit, pair.handled + window)


def one_more_death(former: Deaths, over: tuple[Sender, int] | None) -> dict[Sender, dict[int, int]]:
    """`former`, and one more death: over the cast that was in hand, if one was.

    Only the latest are kept: what was settled long ago is never asked for again.
    """
    deaths = {sender: dict(counts) for sender, counts in former.items()}
    if over is not None:
        sender, seq = over
        counts = deaths.pop(sender, {})
        counts[seq] = counts.pop(seq, 0) + 1
        while len(counts) > _REMEMBERED:
            del counts[next(iter(counts))]
        deaths[sender] = counts
    while len(deaths) > _REMEMBERED:
        del deaths[next(iter(deaths))]
    return deaths
