"""The gateway's half for senders of other hosts: brings what they say to the inboxes here.

Each sender has a connection of its own to each receiver, as it would have here.  What it may
say is decided by the receiver's runtime, which knows the peer's rights from the directory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import zmq

from supervisor_tree.bus.codec import MAX_TAKEN_BYTES, BadFrame, decode, encode
from supervisor_tree.bus.crossing import (
    Alive,
    Back,
    Forth,
    Gone,
    Header,
    abroad,
    arriving,
    returning,
)
from supervisor_tree.bus.directory import Change, Directory, Down, Left
from supervisor_tree.bus.inbox import HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
from supervisor_tree.bus.link import Readable
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.messages import Bye, Call, Failure, Hello, Message, Refused, Reply, Welcome
from supervisor_tree.bus.place import inbox_address

__all__ = ["Inbound"]

_RELAYS = 4096  # of one peer
_IDLE_S = 600.0  # longer than a sender keeps an idle connection
_LAST_WORDS_MS = 200


class _Key(NamedTuple):
    host: str
    header: Forth


class _Relay:
    """One sender's way to one receiver's inbox."""

    def __init__(self, key: _Key, sock: zmq.Socket[bytes], frames: Readable, now: float) -> None:
        self.key = key
        self.sock = sock
        self.frames = frames
        self.route = b""
        self.used = now
        self.generation = 0  # of the receiver that was met
        self.calls: set[int] = set()  # not answered

    def send(self, messages: list[Message]) -> None:
        self.sock.send(encode(messages), zmq.NOBLOCK)
        self.frames.look()


class Inbound:
    """From peers to the inboxes of this host, and the answers back.  No call blocks.

    `answer(route, header, frame)` sends to a peer.
    """

    def __init__(  # noqa: PLR0913 - a composition, made in one place
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        loop: asyncio.AbstractEventLoop,
        run_dir: Path,
        directory: Directory,
        *,
        era: int,
        answer: Callable[[bytes, Back, bytes], object],
        counters: Counter[str],
    ) -> None:
        self._context = context
        self._loop = loop
        self._run_dir = run_dir
        self._directory = directory
        self._era = era
        self._answer = answer
        self._counters = counters
        self._relays: dict[_Key, _Relay] = {}
        self._heard: dict[str, float] = {}  # when each peer was alive
        self._unwatch = directory.watch(self._changed)

    def close(self) -> None:
        """Bring nothing more."""
        self._unwatch()
        self._close_those(lambda relay: True)

    def receive(self, host: str, route: bytes, header: Header, frame: bytes) -> None:
        """A peer has spoken."""
        self._heard[host] = self._loop.time()
        match header:
            case Forth():
                try:
                    self._forth(_Key(host, header), route, decode(frame))
                except BadFrame:
                    self._counters["malformed"] += 1
            case Gone(path, generation):
                self._close_those(
                    lambda relay: (
                        relay.key.host == host
                        and relay.key.header.path == path
                        and relay.key.header.generation == generation
                    )
                )
            case Alive(era):
                least = abroad(era, 0)
                self._close_those(
                    lambda relay: relay.key.host == host and relay.key.header.generation < least
                )
            case Back():
                self._counters["malformed"] += 1

    def look(self) -> None:
        """Called now and then: close what nobody uses, or nobody can use any more."""
        past = self._loop.time() - _IDLE_S
        self._close_those(
            lambda relay: (
                (relay.used < past and not relay.calls)
                or self._heard.get(relay.key.host, 0.0) < past
            )
        )

    # --- out --------------------------------------------------------------------------------

    def _forth(self, key: _Key, route: bytes, messages: list[Message]) -> None:
        sender = Sender(f"{key.host}:{key.header.path}", key.header.generation)
        arrived = arriving(messages, sender)
        member = self._directory.member(key.header.to)
        if member is None or (member.ready and not member.inbox):
            self._refuse(key, route, "nobody")
        elif member.pid is None:
            self._refuse(key, route, "down")
        else:
            relay = self._relays.get(key)
            if relay is None:
                if not isinstance(arrived[0], Hello):
                    self._refuse(key, route, "hello")
                    return
                relay = self._open(key)
                if relay is None:
                    self._refuse(key, route, "unreachable")
                    return
            relay.route, relay.used = route, self._loop.time()
            relay.calls.update(message.id for message in arrived if isinstance(message, Call))
            relay.send(arrived)

    def _refuse(self, key: _Key, route: bytes, reason: str) -> None:
        self._answer(route, Back(*key.header), encode([Refused(reason)]))

    def _open(self, key: _Key) -> _Relay | None:
        if sum(relay.key.host == key.host for relay in self._relays.values()) >= _RELAYS:
            self._counters["full"] += 1
            return None
        try:
            sock = self._context.socket(zmq.DEALER)
        except zmq.ZMQError:  # no descriptor is left
            self._counters["full"] += 1
            return None
        sock.setsockopt(zmq.SNDHWM, 0)  # the sender's credit bounds it
        sock.setsockopt(zmq.RCVHWM, 0)  # answers, of which each was asked for
        sock.setsockopt(zmq.LINGER, _LAST_WORDS_MS)
        sock.setsockopt(zmq.MAXMSGSIZE, MAX_TAKEN_BYTES)
        sock.setsockopt(zmq.RECONNECT_IVL, 1)
        sock.setsockopt(zmq.RECONNECT_IVL_MAX, 100)
        sock.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        frames = Readable(sock, self._loop, lambda parts: self._returned(key, parts))
        relay = self._relays[key] = _Relay(key, sock, frames, self._loop.time())
        sock.connect(inbox_address(self._run_dir, key.header.to))
        self._directory.follow(key.header.to)
        return relay

    # --- back -------------------------------------------------------------------------------

    def _returned(self, key: _Key, frames: list[zmq.Frame]) -> None:
        relay = self._relays[key]
        try:
            messages = decode(frames[0].bytes)
            back = returning(messages, self._era)
        except BadFrame:
            self._counters["malformed"] += 1
            return
        for message in messages:
            if isinstance(message, Welcome):
                relay.generation = message.generation
            elif isinstance(message, Reply | Failure):
                relay.calls.discard(message.id)
        relay.used = self._loop.time()
        self._answer(relay.route, Back(*key.header), encode(back))

    def _changed(self, change: Change) -> None:
        match change:
            case Down(path, generation):
                self._end(path, generation, "down")
            case Left(path):
                self._end(path, None, "nobody")

    def _end(self, path: str, generation: int | None, reason: str) -> None:
        """A receiver has ended: those who wait for its answers must know."""

        def is_over(relay: _Relay) -> bool:
            if relay.key.header.to != path:
                return False
            return generation is None or relay.generation <= generation

        for relay in self._close_those(is_over):
            self._refuse(relay.key, relay.route, reason)

    def _close_those(self, which: Callable[[_Relay], bool]) -> list[_Relay]:
        closed = [relay for relay in self._relays.values() if which(relay)]
        for relay in closed:
            del self._relays[relay.key]
            relay.send([Bye()])
            relay.frames.close()
        here = {key.header.to for key in self._relays}
        for path in {relay.key.header.to for relay in closed} - here:
            self._directory.unfollow(path)
        return closed
