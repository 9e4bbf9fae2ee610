"""The bus as one agent sees it: its inbox, its ways to others, and its verbs.

All of it runs on one asyncio loop, by callbacks on descriptors: no task per message, no
thread.  Handlers run one at a time, in the order of arrival, as gen_server's do:

    handle_call(request, sender) -> reply      handle_cast(message, sender)
    handle_event(topic, event)                 handle_info(info)

A cast is acknowledged when its handler is done.  If that raises, the fault goes to `on_fault`
and no other message is handled: the life is to end, and the record knows over which cast.  A
call's handler that raises answers RemoteError, and the agent goes on.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from supervisor_tree.bus.channel import Channel
from supervisor_tree.bus.codec import BadFrame, pack, unpack
from supervisor_tree.bus.delivery import DeadLetter, Outbox
from supervisor_tree.bus.directory import Acl, Change, Directory, Down, Joined, Left, Member
from supervisor_tree.bus.inbox import Inbox, inbox_name
from supervisor_tree.bus.mailbox import Entry, Mailbox, Sender
from supervisor_tree.bus.messages import Call, Cast, Event, Failure, Reply
from supervisor_tree.bus.record import Record
from supervisor_tree.bus.subscriptions import Publisher, Subscriber
from supervisor_tree.bus.topics import check_topic, check_topic_pattern
from supervisor_tree.errors import AgentDown, CallTimeout, Draining, NoProcess, NotAllowed

__all__ = ["Bus", "Origin"]

_MESSAGES_PER_TURN = 512
_TICK_S = 0.5
_IDLE_TICKS = 120
_POOL = "pool:"
_EVENTS = 1000  # taken in and not handled
_NOBODY = Member(path="")


class Origin(NamedTuple):
    """Whose message a handler is given.  `redelivered`: a former life may have handled it."""

    path: str
    generation: int
    redelivered: bool = False
    trace: str = ""


class Bus:
    """One agent's bus.  Make and use it in the loop's thread; `close` it there.

    `handlers` has the four callbacks (None: nothing is taken).  `report(kind, facts)` hears
    of "dead_letter", "forged", "not_allowed".
    """

    def __init__(  # noqa: PLR0913 - a composition, made in one place
        self,
        run_dir: Path,
        me: Sender,
        directory: Directory,
        handlers: Any = None,
        *,
        on_fault: Callable[[BaseException], None] | None = None,
        report: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.run_dir = run_dir
        self.me = me
        self.counters: Counter[str] = Counter()
        self._directory = directory
        self._handlers = handlers
        self._on_fault = on_fault or self._fault_of_the_loop
        self._report = report or (lambda kind, facts: None)
        self._channels: dict[str, Channel] = {}
        self._monitors: dict[str, int] = {}
        self._infos: deque[Any] = deque()
        self._next_call = 0
        self._next_member: Counter[str] = Counter()
        self._publisher: Publisher | None = None
        self._subscriber: Subscriber | None = None
        self._working = False
        self._closed = False
        (run_dir / "inbox").mkdir(mode=0o700, exist_ok=True)
        self._record = Record(run_dir / "inbox", inbox_name(me.path))
        member = directory.member(me.path) or Member(path=me.path)
        self._mailbox = Mailbox(
            me.generation,
            limit=member.limit,
            on_full=member.on_full,
            deaths=self._record.deaths,
        )
        self._inbox = Inbox(
            self.context, run_dir, me, self._mailbox, directory=directory, report=self._report
        )
        self.loop.add_reader(self._inbox.fileno(), self._drain)
        self._unwatch = directory.watch(self._changed)
        self._tick = self.loop.call_later(_TICK_S, self._on_tick)

    def close(self) -> None:
        """Let go of everything; calls in flight fail, casts that are not handled are lost."""
        if self._closed:
            return
        self._closed = True
        self._tick.cancel()
        self._unwatch()
        for channel in self._channels.values():
            channel.close()
        self.loop.remove_reader(self._inbox.fileno())
        self._inbox.close()
        for end in (self._publisher, self._subscriber):
            if end is not None:
                end.close()
        self._record.close()
        self.context.destroy(linger=0)

    # --- the verbs --------------------------------------------------------------------------

    async def call(self, to: str, request: Any, timeout: float = 5.0, *, trace: str = "") -> Any:
        """Ask, and wait for the answer at most `timeout` seconds.

        Raises NoProcess, AgentDown, CallTimeout, RemoteError, Draining, MailboxFull,
        NotAllowed.  After CallTimeout the request may still be handled.
        """
        member = self._receiver(to, Acl.allows_call, "call")
        if member.pid is None:
            raise AgentDown(f"{member.path} does not run now")
        channel = self._channel(member.path)
        self._next_call += 1
        call = Call(self._next_call, pack(request), trace)
        future = channel.call(call)
        expiry = self.loop.call_later(timeout, _expire, future, f"{member.path} has not answered")
        try:
            return unpack(await future)
        finally:
            expiry.cancel()
            channel.forget_call(call.id)

    def cast(self, to: str, message: Any, *, trace: str = "") -> None:
        """Send one way; kept here until it is handled there.

        Raises NoProcess, Draining, MailboxFull, NotAllowed, and then nothing is kept.
        """
        member = self._receiver(to, Acl.allows_cast, "cast")
        self._channel(member.path).cast(pack(message), trace)

    def publish(self, topic: str, message: Any, *, trace: str = "") -> None:
        """Tell whoever has subscribed to `topic` and is there now.

        Raises ValueError if it is no topic, NotAllowed.
        """
        mine = self._directory.member(self.me.path)
        if not (mine or _NOBODY).acl.allows_publish(check_topic(topic)):
            raise NotAllowed(f"{self.me.path} may not publish on {topic}")
        if self._publisher is None:
            self._publisher = Publisher(self.context, self.run_dir, self.me, self.loop)
        self._publisher.publish(topic, pack(message), trace)

    def subscribe(self, pattern: str) -> None:
        """From now on events of these topics come to handle_event, and their Gaps to handle_info.

        It takes a moment until publishers know.  Raises ValueError, NotAllowed.
        """
        mine = self._directory.member(self.me.path)
        if not (mine or _NOBODY).acl.allows_subscribe(check_topic_pattern(pattern)):
            raise NotAllowed(f"{self.me.path} may not subscribe to {pattern}")
        if self._subscriber is None:
            self._subscriber = Subscriber(self.context, self.run_dir, self.loop, self._inform)
        self._subscriber.subscribe(pattern)

    def unsubscribe(self, pattern: str) -> None:
        """No longer."""
        if self._subscriber is not None:
            self._subscriber.unsubscribe(pattern)

    def monitor(self, path: str) -> None:
        """One `Down(path, generation, reason)` to handle_info when this life ends; now, if none."""
        member = self._directory.member(path)
        if member is None or member.pid is None:
            self._inform(Down(path, 0 if member is None else member.generation, "noproc"))
        else:
            self._monitors[path] = member.generation

    def demonitor(self, path: str) -> None:
        """Do not tell after all."""
        self._monitors.pop(path, None)

    def find(self, capability: str | None = None) -> list[Member]:
        """The members that have this capability; None: all."""
        members = self._directory.members()
        return [m for m in members if capability is None or capability in m.capabilities]

    async def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all casts are handled; False if `timeout` seconds were not enough."""
        deadline = self.loop.time() + timeout
        while any(len(channel.outbox) for channel in self._channels.values()):
            if self.loop.time() >= deadline:
                return False
            await asyncio.sleep(0.001)
        return True

    def stats(self) -> dict[str, int]:
        """What was counted so far."""
        held = sum(len(channel.outbox) for channel in self._channels.values())
        connected = sum(channel.connected for channel in self._channels.values())
        levels = {"queued": len(self._mailbox), "held": held, "connections": connected}
        return {**self._inbox.counters, **self.counters, **levels}

    # --- for channels -------------------------------------------------------------------------

    def dead_letter(self, path: str, letter: DeadLetter) -> None:
        """A cast to `path` is given up."""
        self.counters["dead_letters"] += 1
        facts = {"path": path, "sender": self.me.path, "seq": letter.seq, "deaths": letter.deaths}
        self._report("dead_letter", {**facts, "payload": letter.payload, "trace": letter.trace})

    def alive(self, path: str) -> bool:
        """True if this receiver lives now."""
        member = self._directory.member(path)
        return member is not None and member.pid is not None

    def _channel(self, path: str) -> Channel:
        channel = self._channels.get(path)
        if channel is None:
            channel = self._channels[path] = Channel(self, path, Outbox())
        return channel

    def _receiver(self, to: str, allows: Callable[[Acl, str], bool], verb: str) -> Member:
        if to.startswith(_POOL):
            member = self._of_pool(to.removeprefix(_POOL))
        else:
            found = self._directory.member(to)
            if found is None:
                raise NoProcess(f"nobody on the bus has the path {to}")
            member = found
        mine = self._directory.member(self.me.path)
        if mine is not None and not allows(mine.acl, member.path):
            raise NotAllowed(f"{self.me.path} may not {verb} {member.path}")
        if member.draining:
            raise Draining(f"{member.path} takes no new work")
        return member

    def _of_pool(self, capability: str) -> Member:
        pool = [m for m in self.find(capability) if m.pid is not None and not m.draining]
        if not pool:
            raise NoProcess(f"nobody who lives has the capability {capability}")
        self._next_member[capability] += 1
        return pool[self._next_member[capability] % len(pool)]

    # --- what comes in ------------------------------------------------------------------------

    def _drain(self) -> None:
        if self._closed:
            return
        self._inbox.drain()
        self._work()

    def _work(self) -> None:
        """Handle what has come, one at a time, a bounded number per turn of the loop."""
        if self._working or self._closed:
            return
        mailbox, record = self._mailbox, self._record
        for _ in range(_MESSAGES_PER_TURN):
            if self._infos:
                try:
                    result = self._handle_info(self._infos.popleft())
                except BaseException as error:
                    self._give_up(error)
                    return
                if isinstance(result, Awaitable):
                    self._go_on_later(self._finish_info(result))
                    return
                continue
            entry = mailbox.begin()
            if entry is None:
                break
            message = entry.message
            if isinstance(message, Cast):
                record.begin(entry.pair.sender, message.seq)
                try:
                    result = self._handle_cast(entry, message)
                except BaseException as error:
                    self._give_up(error)
                    return
                if isinstance(result, Awaitable):
                    self._go_on_later(self._finish_cast(entry, result))
                    return
                record.clear()
                mailbox.done(entry)
            elif isinstance(message, Call) and self._start_call(entry, message):
                return
        self._inbox.send_acks()
        if len(mailbox) or self._infos:
            self.loop.call_soon(self._work)
        if self._inbox.readable:
            self.loop.call_soon(self._drain)

    def _handle_info(self, info: Any) -> Any:
        if self._subscriber is not None and self._subscriber.paused:
            self._hold_events()
        if self._handlers is None:
            return None
        if isinstance(info, Event):
            try:
                value = unpack(info.payload)
            except BadFrame:
                self.counters["malformed"] += 1
                return None
            self.counters["events"] += 1
            return self._handlers.handle_event(info.topic, value)
        return self._handlers.handle_info(info)

    def _handle_cast(self, entry: Entry, message: Cast) -> Any:
        try:
            value = unpack(message.payload)
        except BadFrame:
            self.counters["malformed"] += 1
            return None
        self.counters["casts"] += 1
        if self._handlers is None:
            return None
        origin = Origin(*entry.pair.sender, message.redelivered, message.trace)
        return self._handlers.handle_cast(value, origin)

    def _start_call(self, entry: Entry, call: Call) -> bool:
        """Handle a call; True if that is not over yet."""
        self.counters["calls"] += 1
        try:
            value = unpack(call.payload)
            origin = Origin(*entry.pair.sender, False, call.trace)
            result = self._handlers.handle_call(value, origin)
            if isinstance(result, Awaitable):
                self._go_on_later(self._finish_call(entry, call, result))
                return True
            answer: Reply | Failure = Reply(call.id, pack(result))
        except Exception as error:
            answer = _failure(call, error)
        self._inbox.answer(entry, answer)
        return False

    async def _finish_info(self, result: Awaitable[Any]) -> None:
        await result

    async def _finish_cast(self, entry: Entry, result: Awaitable[Any]) -> None:
        await result
        self._record.clear()
        self._mailbox.done(entry)

    async def _finish_call(self, entry: Entry, call: Call, result: Awaitable[Any]) -> None:
        try:
            answer: Reply | Failure = Reply(call.id, pack(await result))
        except Exception as error:
            answer = _failure(call, error)
        self._inbox.answer(entry, answer)

    def _go_on_later(self, work: Any) -> None:
        self._working = True
        self._inbox.send_acks()
        if self._inbox.readable:
            self.loop.call_soon(self._drain)
        self._task = self.loop.create_task(work)
        self._task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._working = False
        if self._closed or task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._give_up(error)
        else:
            self._work()

    def _give_up(self, error: BaseException) -> None:
        self._working = True
        self._inbox.send_acks()
        self._on_fault(error)

    def _fault_of_the_loop(self, error: BaseException) -> None:
        self.loop.call_exception_handler({"message": "a handler has raised", "exception": error})

    # --- the others ---------------------------------------------------------------------------

    def _inform(self, info: Any) -> None:
        self._infos.append(info)
        if len(self._infos) == 1:
            self.loop.call_soon(self._work)
        self._hold_events()

    def _hold_events(self) -> None:
        """An agent that is behind leaves events in libzmq, which drops what is too much."""
        if self._subscriber is not None:
            paused, self._subscriber.paused = self._subscriber.paused, len(self._infos) > _EVENTS
            if paused and not self._subscriber.paused:
                self.loop.call_soon(self._subscriber.drain)

    def _changed(self, change: Change) -> None:
        match change:
            case Joined(member):
                if member.path in self._channels and member.pid is not None:
                    self._channels[member.path].is_up()
            case Down(path, generation, reason):
                self._inbox.forget(Sender(path, generation))
                if path in self._channels:
                    self._channels[path].is_down(generation, reason)
                if self._monitors.get(path) == generation:
                    del self._monitors[path]
                    self._inform(change)
            case Left(path):
                self._left(path)

    def _left(self, path: str) -> None:
        channel = self._channels.pop(path, None)
        if channel is not None:
            channel.close()
            self.counters["lost_with_receiver"] += len(channel.outbox)

    def _on_tick(self) -> None:
        self._tick = self.loop.call_later(_TICK_S, self._on_tick)
        for path, channel in list(self._channels.items()):
            channel.probe()
            channel.idle_turns = channel.idle_turns + 1 if channel.idle else 0
            if channel.idle_turns > _IDLE_TICKS and channel.connected:
                channel.disconnect()
            if not channel.connected and channel.idle and not self._directory.member(path):
                del self._channels[path]


def _failure(call: Call, error: Exception) -> Failure:
    text = "".join(traceback.format_exception(error))
    return Failure(call.id, type(error).__name__, str(error)[:1000], text[-10_000:])


def _expire(future: asyncio.Future[bytes], what: str) -> None:
    if not future.done():
        future.set_exception(CallTimeout(f"{what} in time"))
