"""One sender's way to one receiver: a DEALER, the outbox behind it, and the calls in flight.

A socket serves one life of the receiver.  When that ends it is closed, with what libzmq still
held, and the next life gets a new one; everything that counts is in the outbox.  The first
message of a turn of the loop leaves at once, those that follow in the same turn share frames.

What is for another host goes to the gateway of this one, with the receiver's path before each
frame; the account is kept with the receiver all the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import zmq

from supervisor_tree import errors
from supervisor_tree.bus.codec import MAX_TAKEN_BYTES, BadFrame, decode, encode
from supervisor_tree.bus.delivery import DeadLetter, Outbox, OutboxFull
from supervisor_tree.bus.inbox import HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.messages import Ack, Call, Failure, Hello, Refused, Reply, Welcome
from supervisor_tree.bus.place import inbox_address
from supervisor_tree.core.hosts import GATEWAY, host_of
from supervisor_tree.errors import AgentDown, MailboxFull, NoProcess, RemoteError

__all__ = ["Channel", "Surroundings"]

_BATCH = 512  # messages of one frame
_BATCH_BYTES = 256 * 1024
_FRAMES_PER_TURN = 64
_FIRST_RETRY_S, _LAST_RETRY_S = 0.02, 1.0
_RECONNECT_MS, _RECONNECT_MAX_MS = 1, 100


class Surroundings(Protocol):
    """What a channel needs of the bus that it belongs to."""

    loop: asyncio.AbstractEventLoop
    context: zmq.Context[zmq.Socket[bytes]]
    run_dir: Path
    me: Sender
    counters: Counter[str]

    def dead_letter(self, channel: Channel, letter: DeadLetter) -> None:
        """A cast of this channel is given up."""

    @property
    def epoch(self) -> int:
        """Another number whenever ways may have changed."""

    def find_way(self, channel: Channel) -> str:
        """Through whom this channel goes next; "" if there is no way."""

    def look_for(self, path: str) -> bool:
        """True if this receiver lives now; if it does not, `Channel.is_up` tells when it does."""


class Channel:
    """Everything that goes to one path, over all its lives.

    `origin`: whose messages they are, if they are another's that are passed on.
    """

    def __init__(
        self, bus: Surroundings, path: str, outbox: Outbox, origin: Sender | None = None
    ) -> None:
        self.path = path
        self.origin = origin
        self.next = path  # the receiver, or who stands before it
        self.carrier = path if host_of(path) is None else GATEWAY  # whose life this depends on
        self._epoch = -1
        self.outbox = outbox
        self.idle_turns = 0
        self._bus = bus
        self._socket: zmq.Socket[bytes] | None = None
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._turn = False  # a flush is due at the end of this turn
        self._retry: asyncio.TimerHandle | None = None
        self._seen = (0, 0, 0)

    @property
    def connected(self) -> bool:
        """True if there is a socket."""
        return self._socket is not None

    @property
    def idle(self) -> bool:
        """True if nothing is under way or waiting."""
        return not len(self.outbox) and not self._calls

    def cast(self, payload: bytes, trace: str) -> None:
        """Keep a cast and send it as soon as may be.  Raises MailboxFull."""
        try:
            self.outbox.put(payload, trace)
        except OutboxFull:
            raise MailboxFull(f"{self.path} is behind: too much waits for it") from None
        self._kick()

    def pass_on(self, seq: int, payload: bytes | None, trace: str, redelivered: bool) -> None:
        """Keep and send a cast that another has numbered; see Outbox."""
        self.outbox.pass_on(seq, payload, trace, redelivered)
        self._kick()

    def call(self, call: Call) -> asyncio.Future[bytes]:
        """Send a call; the answer's payload comes by the future.  Raises MailboxFull."""
        try:
            self.outbox.put_call(call)
        except OutboxFull:
            raise MailboxFull(f"{self.path} is behind: too much waits for it") from None
        future: asyncio.Future[bytes] = self._bus.loop.create_future()
        self._calls[call.id] = future
        self._kick()
        return future

    def forget_call(self, id: int) -> None:
        """Nobody waits for this answer any more."""
        self._calls.pop(id, None)
        self.outbox.withdraw(id)

    def is_down(self, generation: int, reason: str) -> None:
        """This life of the receiver, or of its carrier, has ended."""
        if self.carrier == self.next and generation < self.outbox.generation:
            return
        self.disconnect()
        self._fail_calls(AgentDown(f"{self.next} has ended: {reason}"))

    def is_up(self) -> None:
        """The receiver has begun a life: go on with what waits for it."""
        self.find_way()
        if len(self.outbox) and self._socket is None and self._bus.look_for(self.carrier):
            self._connect()

    def disconnect(self) -> None:
        """Close the socket; what is not acknowledged stays in the outbox."""
        self.outbox.lost()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._socket is not None:
            self._bus.loop.remove_reader(int(self._socket.getsockopt(zmq.FD)))
            self._socket.close(linger=0)
            self._socket = None

    def close(self) -> None:
        """The bus ends: nobody will answer."""
        self.disconnect()
        self._fail_calls(AgentDown("the bus was closed"))

    def probe(self) -> None:
        """Called now and then: if what is under way does not move, ask where it stands."""
        box = self.outbox
        seen = (len(box), box.asked, box.generation)
        under_way = len(box) + box.asked
        if self._socket is not None and box.open and under_way and seen == self._seen:
            box.lost()  # nothing new is to overtake what may have got lost
            self._hello(_FIRST_RETRY_S)
        self._seen = seen
        if len(self.outbox) and (self._socket is None or self._epoch != self._bus.epoch):
            self.is_up()

    def find_way(self) -> str:
        """Who is spoken to next; if that is somebody else than before, all begins anew there."""
        epoch = self._bus.epoch
        if epoch == self._epoch:
            return self.next
        self._epoch = epoch
        found = self._bus.find_way(self)
        if found != self.next:
            self.disconnect()
            self._fail_calls(
                AgentDown(f"the way to {self.path} has changed"), but=self.outbox.waiting_calls()
            )
            self.outbox.rerouted()
            self.next = found
            self.carrier = found if host_of(found) is None else GATEWAY
        return found

    # --- out --------------------------------------------------------------------------------

    def _kick(self) -> None:
        self.idle_turns = 0
        if not self._turn:
            self.find_way()
        if self._socket is None:
            if self._bus.look_for(self.carrier):
                self._connect()
        elif self.outbox.open and not self._turn:
            self._turn = True
            self._bus.loop.call_soon(self._end_turn)
            self._flush()

    def _end_turn(self) -> None:
        self._turn = False
        self._flush()

    def _flush(self) -> None:
        box = self.outbox
        while self._socket is not None and (batch := box.take(_BATCH, _BATCH_BYTES)):
            self._send(batch)

    def _send(self, messages: list[Any]) -> None:
        sock = self._socket
        assert sock is not None
        if self.carrier == self.next:
            sock.send(encode(messages), zmq.NOBLOCK)
        else:
            sock.send_multipart([self.next.encode(), encode(messages)], zmq.NOBLOCK)
        # A send uses the descriptor's notice up.
        if int(sock.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._bus.loop.call_soon(self._drain)

    def _connect(self) -> None:
        sock = self._bus.context.socket(zmq.DEALER)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.SNDHWM, 0)  # the outbox bounds it, and by bytes too
        sock.setsockopt(zmq.RCVHWM, 0)  # answers, of which each was asked for
        sock.setsockopt(zmq.MAXMSGSIZE, MAX_TAKEN_BYTES)
        sock.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        sock.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        sock.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        sock.connect(inbox_address(self._bus.run_dir, self.carrier))
        self._socket = sock
        self._bus.loop.add_reader(int(sock.getsockopt(zmq.FD)), self._drain)
        self._hello(_FIRST_RETRY_S)

    def _hello(self, retry_s: float) -> None:
        """Say who we are until we are welcome."""
        if self._retry is not None:
            self._retry.cancel()
        self._retry = None
        if self._socket is None or self.outbox.open:
            return
        next_s = min(2 * retry_s, _LAST_RETRY_S)
        self._retry = self._bus.loop.call_later(retry_s, self._hello, next_s)
        self._send([self._introduction()])

    def _introduction(self) -> Hello:
        to = "" if self.next == self.path else self.path
        hello = self.outbox.hello(*self._bus.me)
        if self.origin is not None:
            return hello._replace(to=to, of=self.origin.path, of_generation=self.origin.generation)
        return hello._replace(to=to) if to else hello

    # --- in ---------------------------------------------------------------------------------

    def _drain(self) -> None:
        for _ in range(_FRAMES_PER_TURN):
            sock = self._socket
            if sock is None:
                return
            try:
                frame = sock.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                messages = decode(frame)
            except BadFrame:
                self._bus.counters["malformed"] += 1
                continue
            for message in messages:
                self._receive(message)
        else:
            self._bus.loop.call_soon(self._drain)
        self._flush()

    def _receive(self, message: Any) -> None:
        match message:
            case Ack():
                self.outbox.acked(message)
            case Reply(id, payload):
                self.outbox.withdraw(id)
                future = self._calls.pop(id, None)
                if future is not None and not future.done():
                    future.set_result(payload)
            case Failure(id):
                self.outbox.withdraw(id)
                future = self._calls.pop(id, None)
                if future is not None and not future.done():
                    future.set_exception(_error_of(message))
            case Welcome(generation):
                if self.outbox.generation and generation > self.outbox.generation:
                    # What was sent, was sent to the former life; what waits is for this one.
                    waiting = self.outbox.waiting_calls()
                    self._fail_calls(AgentDown(f"{self.next} has ended"), but=waiting)
                for letter in self.outbox.welcomed(message):
                    self._bus.dead_letter(self, letter)
            case Refused(reason):
                self._refused(reason)

    def _refused(self, reason: str) -> None:
        match reason:
            case "hello" | "way":
                self.outbox.lost()
                self.is_up()
                if self._retry is None:
                    self._hello(_FIRST_RETRY_S)
            case "forged":
                self._fail_calls(errors.NotAllowed(f"{self.path} does not take us for who we are"))
            case "nobody":
                self._give_way(NoProcess(f"nobody has the path {self.path}"))
            case "down":
                self._give_way(AgentDown(f"{self.path} does not run now"))
            case "unreachable":
                self._give_way(AgentDown(f"the host of {self.path} cannot be reached now"))

    def _give_way(self, error: Exception) -> None:
        """Nothing gets through to the receiver: calls fail, casts wait and are tried again."""
        self.outbox.lost()
        self._fail_calls(error)
        if self.idle:
            self.disconnect()
        elif self._retry is None:
            self._retry = self._bus.loop.call_later(_FIRST_RETRY_S, self._hello, 2 * _FIRST_RETRY_S)

    def _fail_calls(self, error: Exception, but: Collection[int] = ()) -> None:
        if not but:
            self.outbox.drop_calls()
        for id in [id for id in self._calls if id not in but]:
            future = self._calls.pop(id)
            if not future.done():
                future.set_exception(error)


def _error_of(failure: Failure) -> Exception:
    """The exception that a Failure stands for; one that is not ours is a RemoteError."""
    by_a_runtime = failure.type == "AgentDown" and not failure.text
    if by_a_runtime or failure.type in ("MailboxFull", "Draining", "NotAllowed", "Rejected"):
        error: Exception = getattr(errors, failure.type)(failure.message)
        return error
    return RemoteError(failure.type, failure.message, failure.text)
