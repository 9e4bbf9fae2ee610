"""Publishing and subscribing, as one agent does it: at most once, and never a silent gap.

A publisher numbers its events per topic from 1.  A subscriber remembers the last number of
each (publisher, life, topic), and a jump becomes a `Gap`.  What was lost at the end of a
stream has no event behind it that would show it: so a publisher that falls silent says once
more, for each topic, how far it had come.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from supervisor_tree.bus.codec import MAX_TAKEN_BYTES, BadFrame, decode, encode
from supervisor_tree.bus.exchange import publish_address, subscribe_address
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.messages import Event, Tally
from supervisor_tree.bus.topics import topic_frame, topic_prefix
from supervisor_tree.core.patterns import topic_matches

__all__ = ["Gap", "Publisher", "Subscriber"]

_WAITING = 10_000
_FRAMES_PER_TURN = 256
_TALLY_S = 0.5
_STREAMS = 10_000  # (publisher, topic) remembered
_RECONNECT_MS, _RECONNECT_MAX_MS = 1, 100
_KINDS = frozenset({Event, Tally})  # what comes over the exchange


class Gap(NamedTuple):
    """`lost` events of this publisher's on `topic` have not come, just before what follows."""

    topic: str
    publisher: str
    generation: int
    lost: int


class Publisher:
    """The way out.  An event that finds no room is dropped; its number shows that."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        run_dir: Path,
        me: Sender,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._me = me
        self._loop = loop
        self._last: OrderedDict[str, int] = OrderedDict()
        self._untold: dict[str, int] = {}
        self._socket = _socket(context, zmq.PUB, publish_address(run_dir))
        self._timer: asyncio.TimerHandle | None = None

    def publish(self, topic: str, payload: bytes, trace: str) -> None:
        """Send to whoever listens now."""
        seq = self._last.pop(topic, 0) + 1
        self._last[topic] = self._untold[topic] = seq
        event = Event(self._me.path, self._me.generation, topic, seq, payload, trace)
        self._socket.send(topic_frame(topic), zmq.NOBLOCK | zmq.SNDMORE)
        self._socket.send(encode([event]), zmq.NOBLOCK)
        if self._timer is None:
            self._timer = self._loop.call_later(_TALLY_S, self._tell)

    def close(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close(linger=0)

    def _tell(self) -> None:
        """Topics that were silent for a while are told how far they had come."""
        self._timer = None
        for topic, seq in list(self._untold.items()):
            if seq < self._last[topic]:
                self._untold[topic] = self._last[topic]
                continue
            tally = Tally(self._me.path, self._me.generation, topic, self._last[topic])
            self._socket.send_multipart([topic_frame(topic), encode([tally])], zmq.NOBLOCK)
            del self._untold[topic]
        if self._untold:
            self._timer = self._loop.call_later(_TALLY_S, self._tell)


class Subscriber:
    """The way in.  `deliver` gets each Event that a pattern asks for, and each Gap before it."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        run_dir: Path,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Event | Gap], None],
        counters: Counter[str],
    ) -> None:
        self.paused = False
        self._loop = loop
        self._deliver = deliver
        self._counters = counters
        self._patterns: set[str] = set()
        self._last: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()
        self._socket = _socket(context, zmq.SUB, subscribe_address(run_dir))
        loop.add_reader(int(self._socket.getsockopt(zmq.FD)), self.drain)

    def subscribe(self, pattern: str) -> None:
        """Ask for the topics of a pattern; twice is once."""
        if pattern not in self._patterns:
            self._patterns.add(pattern)
            self._socket.setsockopt(zmq.SUBSCRIBE, topic_prefix(pattern))
            self._loop.call_soon(self.drain)

    def unsubscribe(self, pattern: str) -> None:
        """Ask no longer."""
        if pattern in self._patterns:
            self._patterns.remove(pattern)
            self._socket.setsockopt(zmq.UNSUBSCRIBE, topic_prefix(pattern))
            self._loop.call_soon(self.drain)

    def drain(self) -> None:
        """Take in what has come, unless `paused`: then it waits in libzmq, and may be lost."""
        if self._socket.closed:
            return
        for _ in range(_FRAMES_PER_TURN):
            if self.paused:
                return
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._receive(frames)
        self._loop.call_soon(self.drain)

    def close(self) -> None:
        """Stop."""
        self._loop.remove_reader(int(self._socket.getsockopt(zmq.FD)))
        self._socket.close(linger=0)

    def _receive(self, frames: list[bytes]) -> None:
        try:
            messages: list[Any] = decode(frames[1]) if len(frames) == 2 else []
        except BadFrame:
            messages = []
        if not messages or not _KINDS.issuperset(map(type, messages)):
            self._counters["malformed"] += 1
            return
        for message in messages:
            for pattern in self._patterns:
                if topic_matches(pattern, message.topic):
                    self._take(message)
                    break

    def _take(self, message: Event | Tally) -> None:
        stream = (message.path, message.topic)
        generation, last = self._last.pop(stream, (0, 0))
        if message.generation < generation:
            self._last[stream] = (generation, last)
            return
        # What was published before this stream was first heard is not lost: it was not asked for.
        known = message.generation == generation
        told = message.seq if isinstance(message, Tally) else message.seq - 1
        if known and told > last:
            self._deliver(Gap(message.topic, message.path, generation, told - last))
        self._last[stream] = (message.generation, max(message.seq, last) if known else message.seq)
        while len(self._last) > _STREAMS:
            self._last.popitem(last=False)
        if isinstance(message, Event) and not (known and message.seq <= last):
            self._deliver(message)


def _socket(context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str) -> zmq.Socket[bytes]:
    sock = context.socket(kind)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.SNDHWM, _WAITING)
    sock.setsockopt(zmq.RCVHWM, _WAITING)
    sock.setsockopt(zmq.MAXMSGSIZE, MAX_TAKEN_BYTES)
    sock.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    sock.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
    sock.connect(address)
    return sock
