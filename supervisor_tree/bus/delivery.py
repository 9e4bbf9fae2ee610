"""Who holds a message, until when, and what comes next: the rules of delivery.

Two machines, one at each end of a sender-receiver pair (the other is `bus.mailbox`); neither
does I/O nor knows the time.  What is to be sent is returned as messages, what has arrived is
told by a method.

**The sender** keeps each cast in an `Outbox` until the receiver has *handled* it.  Casts are
numbered per receiver path from 1, over all the receiver's generations:

    closed ── welcomed(Welcome) ──► open ── take() -> messages to send
       ▲                             │
       └─── lost() ◄─────────────────┘   everything unacknowledged will be sent again

The next generation gets it marked `redelivered`.  A cast *during whose handling* a
generation has died `max_deliveries` times is taken out as a dead letter; those that had only
queued behind it are innocent, and who was in hand is the receiver's word (`interrupted`).

Calls travel in order with the casts.  One is kept until it is answered or given up, to be sent
again to the same generation if that says that it has not got it; never to another.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple

from supervisor_tree.bus.messages import Ack, Call, Cast, Hello, Skip, Welcome

__all__ = ["DEFAULT_LIMIT", "DeadLetter", "Outbox", "OutboxFull"]

DEFAULT_LIMIT = 10_000  # messages, of an outbox or a mailbox
_OUTBOX_BYTES = 64 * 1024 * 1024
_ASKED = 1024  # calls that a Hello names; the next one names the others
_FLIGHT_BYTES = 8 * 1024 * 1024  # sent and not acknowledged, to one receiver


class OutboxFull(Exception):
    """The sender holds as much for this receiver as it may."""


class DeadLetter(NamedTuple):
    """A cast that has cost its receiver `deaths` lives, given up."""

    seq: int
    payload: bytes
    trace: str
    deaths: int


class _Letter:
    """A cast in the outbox.  `payload` None: a dead letter's place, kept for the numbering."""

    __slots__ = ("payload", "redelivered", "sent", "seq", "trace")

    def __init__(self, seq: int, payload: bytes | None, trace: str) -> None:
        self.seq = seq
        self.payload = payload
        self.trace = trace
        self.sent = False
        self.redelivered = False


class Outbox:
    """What one sender holds for one receiver path.

    `limit` messages, calls included, and `limit_bytes` of casts at most.  `after` is the
    number before the first: not 0 for who passes on what another has numbered.
    """

    def __init__(
        self,
        *,
        limit: int = DEFAULT_LIMIT,
        limit_bytes: int = _OUTBOX_BYTES,
        flight_bytes: int = _FLIGHT_BYTES,
        max_deliveries: int = 3,
        after: int = 0,
    ) -> None:
        self.generation = 0  # of the receiver that was met last
        self.open = False
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._flight_limit = flight_bytes
        self._max_deliveries = max_deliveries
        self._waiting: deque[_Letter] = deque()
        self._flight: deque[_Letter] = deque()  # sent, not acknowledged
        self._calls: deque[tuple[int, Call]] = deque()  # with the last cast before each
        self._asked: dict[int, tuple[int, Call]] = {}  # the same, sent and not answered, by id
        self._last = after
        self._credit = 0
        self._bytes = 0
        self._flight_bytes = 0

    def __len__(self) -> int:
        """Casts that are not known to be handled, and calls that are not sent."""
        return len(self._waiting) + len(self._flight) + len(self._calls)

    @property
    def sendable(self) -> bool:
        """True if `take` has something to give."""
        if not self.open:
            return False
        if self._calls and (not self._waiting or self._calls[0][0] < self._waiting[0].seq):
            return True
        return bool(self._waiting) and self._may_send(self._waiting[0])

    def put(self, payload: bytes, trace: str = "") -> int:
        """Keep a cast; returns its number.  Raises OutboxFull, and then keeps nothing."""
        size = len(payload)
        if len(self) >= self._limit or (self._bytes and self._bytes + size > self._limit_bytes):
            raise OutboxFull
        self._last += 1
        self._bytes += size
        self._waiting.append(_Letter(self._last, payload, trace))
        return self._last

    def pass_on(self, seq: int, payload: bytes | None, trace: str, redelivered: bool) -> None:
        """Keep a cast under the number that its own sender has given it; None: only the number.

        Without a limit: what is under way between two others is bounded by the credit that
        the sender has got.  One that was passed on already is ignored.
        """
        if seq <= self._last:
            return
        self._last = seq
        self._bytes += len(payload or b"")
        letter = _Letter(seq, payload, trace)
        letter.redelivered = redelivered
        self._waiting.append(letter)

    def put_call(self, call: Call) -> None:
        """Keep a call until its turn to be sent comes.  Raises OutboxFull."""
        if len(self) >= self._limit:
            raise OutboxFull
        self._calls.append((self._last, call))

    def withdraw(self, id: int) -> bool:
        """Forget a call: it is answered, or given up.  False if it was sent."""
        if self._asked.pop(id, None) is not None:
            return False
        for entry in self._calls:
            if entry[1].id == id:
                self._calls.remove(entry)
                return True
        return False

    @property
    def asked(self) -> int:
        """How many calls are sent and not answered."""
        return len(self._asked)

    @property
    def base(self) -> int:
        """The number of the oldest cast that is not acknowledged, or of the next."""
        oldest = self._flight or self._waiting
        return oldest[0].seq if oldest else self._last + 1

    def hello(self, path: str, generation: int) -> Hello:
        """What to begin with, as the sender of this path and generation."""
        return Hello(path, generation, self.base, asked=tuple(islice(self._asked, _ASKED)))

    def welcomed(self, welcome: Welcome) -> list[DeadLetter]:
        """The receiver has said where it stands; a word from a former generation is ignored.

        Returns what becomes a dead letter by it.
        """
        if welcome.generation < self.generation:
            return []
        another = welcome.generation > self.generation
        self.generation = welcome.generation
        self._credit = welcome.credit if another else max(self._credit, welcome.credit)
        self._done(welcome.handled)
        self._rewind(welcome.received, another)
        self._ask_again(welcome.called, another)
        self.open = True
        dead = []
        deaths = dict(welcome.interrupted)
        for letter in self._waiting if deaths else ():
            count = deaths.get(letter.seq, 0)
            if count >= self._max_deliveries and letter.payload is not None:
                dead.append(DeadLetter(letter.seq, letter.payload, letter.trace, count))
                self._bytes -= len(letter.payload)
                letter.payload = None
        return dead

    def acked(self, ack: Ack) -> None:
        """The receiver is done with some; a word from another generation is ignored."""
        if ack.generation == self.generation and self.open:
            self._done(ack.handled)
            self._credit = max(self._credit, ack.credit)

    def lost(self) -> None:
        """The connection is gone, and what was under way perhaps with it."""
        self.open = False

    def rerouted(self) -> None:
        """Somebody else is spoken to from now on, whose generations are others."""
        self.lost()
        self._asked.clear()
        self.generation = 0
        self._credit = 0

    def take(self, count: int, size: int) -> list[Cast | Skip | Call]:
        """What to send now: at most `count`, and beyond the first at most `size` bytes."""
        taken: list[Cast | Skip | Call] = []
        if not self.open:
            return taken
        waiting, calls = self._waiting, self._calls
        while len(taken) < count:
            if calls and (not waiting or calls[0][0] < waiting[0].seq):
                size -= len(calls[0][1].payload)
                if size < 0 and taken:
                    break
                entry = calls.popleft()
                self._asked[entry[1].id] = entry
                taken.append(entry[1])
                continue
            if not waiting or not self._may_send(waiting[0]):
                break
            letter = waiting[0]
            payload = letter.payload
            length = 0 if payload is None else len(payload)
            size -= length
            if size < 0 and taken:
                break
            self._flight.append(waiting.popleft())
            self._flight_bytes += length
            letter.sent = True
            if payload is None:
                taken.append(Skip(letter.seq))
            else:
                taken.append(Cast(letter.seq, payload, letter.trace, letter.redelivered))
        return taken

    def waiting_calls(self) -> set[int]:
        """The ids of the calls that are not sent."""
        return {call.id for _after, call in self._calls}

    def drop_calls(self) -> list[Call]:
        """Forget all calls, and return those that are not sent: their receiver is gone."""
        calls = [call for _after, call in self._calls]
        self._calls.clear()
        self._asked.clear()
        return calls

    def _may_send(self, letter: _Letter) -> bool:
        if letter.seq > self._credit:
            return False
        return not self._flight or self._flight_bytes < self._flight_limit

    def _done(self, handled: int) -> None:
        for letters, in_flight in ((self._flight, True), (self._waiting, False)):
            while letters and letters[0].seq <= handled:
                payload = letters.popleft().payload
                if payload is not None:
                    self._bytes -= len(payload)
                    if in_flight:
                        self._flight_bytes -= len(payload)

    def _rewind(self, received: int, another: bool) -> None:
        """Take what the receiver has not got back from under way."""
        while self._flight and self._flight[-1].seq > received:
            letter = self._flight.pop()
            self._flight_bytes -= len(letter.payload or b"")
            self._waiting.appendleft(letter)
        if another:
            for letter in self._waiting:
                if not letter.sent:
                    break
                letter.redelivered = True

    def _ask_again(self, called: int, another: bool) -> None:
        """What this generation has not got is still to be sent; a former's calls have failed."""
        if not another:
            again = [entry for id, entry in self._asked.items() if id > called]
            self._calls.extendleft(reversed(again))
            for _after, call in again:
                del self._asked[call.id]
        else:
            self._asked.clear()
