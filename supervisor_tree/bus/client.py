"""The bus as one process sees it: its inbox, its ways to others, and its verbs.

All of it runs on one asyncio loop, by callbacks on descriptors: no task per message, no thread.
What comes in is handled by `bus.dispatcher`; this module is what goes out, and whom it goes to.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from supervisor_tree.bus.channel import Channel
from supervisor_tree.bus.codec import pack, unpack
from supervisor_tree.bus.delivery import DeadLetter, Outbox
from supervisor_tree.bus.directory import Change, Directory, Down, Joined, Left, Member
from supervisor_tree.bus.dispatcher import TRACE, Dispatcher, Reception
from supervisor_tree.bus.inbasket import Inbasket
from supervisor_tree.bus.inbox import Inbox
from supervisor_tree.bus.mailbox import Mailbox, Sender
from supervisor_tree.bus.messages import Call
from supervisor_tree.bus.meter import Meter, Remarks
from supervisor_tree.bus.passage import Passage, check_interceptor
from supervisor_tree.bus.place import inbox_name
from supervisor_tree.bus.record import Record
from supervisor_tree.bus.subscriptions import Publisher, Subscriber
from supervisor_tree.bus.ways import goes_to
from supervisor_tree.core.hosts import GATEWAY, host_of, seat_of
from supervisor_tree.core.patterns import check_topic, check_topic_pattern
from supervisor_tree.core.specs import Acl
from supervisor_tree.errors import AgentDown, CallTimeout, Draining, NoProcess, NotAllowed

__all__ = ["Bus"]

_TICK_S = 0.5
_IDLE_TICKS = 120  # then a connection is closed; its outbox, and with it the numbering, stays
_PRUNE_TICKS = 20
_REMARK_TICKS = 120  # a minute
_OF_THE_HOST = "/_/"  # who has a path below it lives for the host or for one command
_POOL = "pool:"
_NOBODY = Member(path="")
_FLUSH_LOOK_S = 0.001


class Bus:
    """One process's bus.  Make and use it in the loop's thread; `close` it there.

    handlers
        has the four callbacks of `bus.dispatcher`, and is called from `begin` on; None: this
        process only sends.
    inbox
        False: others cannot send to it; `handlers` then hears of events and ends alone.
    report(kind, facts)
        hears of "dead_letter", "forged", "not_allowed".
    """

    def __init__(  # noqa: PLR0913 - a composition, made in one place
        self,
        run_dir: Path,
        me: Sender,
        directory: Directory,
        handlers: Any = None,
        *,
        inbox: bool = True,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        on_fault: Callable[[BaseException], None] | None = None,
        report: Callable[[str, dict[str, Any]], object] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.context: zmq.Context[zmq.Socket[bytes]] = context or zmq.Context()
        self.run_dir = run_dir
        self.me = me
        self.counters: Counter[str] = Counter()
        self._directory = directory
        self._handlers = handlers
        self._report = report or (lambda kind, facts: None)
        self._channels: dict[str, Channel] = {}
        self._detours: set[Channel] = set()  # that go to another than their receiver
        self._passage: Passage | None = None
        self._monitors: dict[str, int] = {}
        self._next_call = self._ticks = 0
        self._next_member: Counter[str] = Counter()
        self._publisher: Publisher | None = None
        self._subscriber: Subscriber | None = None
        self._closed = False
        (run_dir / "inbox").mkdir(mode=0o700, exist_ok=True)
        self._reception = self._receive_as(me) if inbox and handlers is not None else None
        metered = not me.path.startswith(_OF_THE_HOST)
        self._meter = Meter(run_dir / "inbox", inbox_name(me.path)) if metered else None
        self._remarks = Remarks() if metered or self._reception is not None else None
        self._dispatcher: Dispatcher | None = None
        if handlers is not None:
            self._dispatcher = Dispatcher(
                self.loop,
                handlers,
                self._reception,
                counters=self.counters,
                on_fault=on_fault or self._fault_of_the_loop,
                on_redelivered=self._keep_counts,
            )
            self._dispatcher.on_room = self._resume_events
        if self._reception is not None and self._dispatcher is not None:
            self._passage = Passage(self, self._reception, directory)
            self._dispatcher.passage = self._passage
        self._unwatch = directory.watch(self._changed)
        self._tick = self.loop.call_later(_TICK_S, self._on_tick)

    def _receive_as(self, me: Sender) -> Reception:
        record = Record(self.run_dir / "inbox", inbox_name(me.path))
        member = self._directory.member(me.path) or Member(path=me.path)
        mailbox = Mailbox(
            me.generation, limit=member.limit, on_full=member.on_full, deaths=record.deaths
        )
        inbox = Inbox(
            self.context,
            self.run_dir,
            me,
            mailbox,
            directory=self._directory,
            report=self._report,
        )
        return Reception(inbox, mailbox, record)

    def begin(self) -> None:
        """Let the handlers have what has come, and what will."""
        if self._dispatcher is not None:
            self._dispatcher.begin()

    async def end(self) -> None:
        """Handle nothing more; return when the message in hand is done with."""
        if self._dispatcher is not None:
            await self._dispatcher.end()

    def close(self) -> None:
        """Let go of everything; calls in flight fail, casts that are not handled are lost."""
        if self._closed:
            return
        self._closed = True
        self._tick.cancel()
        self._unwatch()
        self._keep_counts()
        if self._meter is not None:
            self._meter.close()
        for channel in {*self._channels.values(), *self._detours}:
            channel.close()
        if self._dispatcher is not None:
            self._dispatcher.close()
        for end in (self._publisher, self._subscriber):
            if end is not None:
                end.close()
        if self._reception is not None:
            self._reception.inbox.close()
            self._reception.record.close()
        self._directory.close()
        self.context.destroy(linger=0)

    # --- the verbs --------------------------------------------------------------------------

    async def call(
        self, to: str, request: Any, timeout: float = 5.0, *, trace: str | None = None
    ) -> Any:
        """Ask, and wait for the answer at most `timeout` seconds.

        `to` is a path, "pool:" and a capability, or a path after "HOST:" of another host.  Raises
        NoProcess, AgentDown, CallTimeout, RemoteError, Draining, MailboxFull, NotAllowed.  After
        CallTimeout the request may still be handled.
        """
        member = self._receiver(to, Acl.allows_call, "call")
        if member.draining:
            raise Draining(f"{member.path} takes no new work")
        if member.pid is None:
            raise AgentDown(f"{member.path} does not run now")
        channel = self._channel(member.path)
        if (through := channel.find_way()) != member.path:
            check_interceptor(self._directory.member(through), through, member.path)
        call = Call(self.next_call(), pack(request), TRACE.get() if trace is None else trace)
        self.counters["sent"] += 1
        future = channel.call(call)
        expiry = self.loop.call_later(timeout, _expire, future, f"{member.path} has not answered")
        try:
            return unpack(await future)
        finally:
            expiry.cancel()
            channel.forget_call(call.id)

    def cast(self, to: str, message: Any, *, trace: str | None = None) -> None:
        """Send one way; kept here until it is handled there, over the receiver's restarts.

        Raises NoProcess, MailboxFull, NotAllowed, and then nothing is kept.
        """
        member = self._receiver(to, Acl.allows_cast, "cast")
        channel = self._channels.get(member.path) or self._channel(member.path)
        channel.cast(pack(message), TRACE.get() if trace is None else trace)
        self.counters["sent"] += 1

    def publish(self, topic: str, message: Any, *, trace: str | None = None) -> None:
        """Tell whoever has subscribed to `topic` and is there now.

        Raises ValueError if it is no topic, NotAllowed.
        """
        mine = self._directory.member(self.me.path)
        if not (mine or _NOBODY).acl.allows_publish(check_topic(topic)):
            raise NotAllowed(f"{self.me.path} may not publish on {topic}")
        if self._publisher is None:
            self._publisher = Publisher(self.context, self.run_dir, self.me, self.loop)
        self._publisher.publish(topic, pack(message), TRACE.get() if trace is None else trace)
        self.counters["published"] += 1

    def subscribe(self, pattern: str) -> None:
        """From now on events of these topics come to handle_event, and their Gaps to handle_info.

        It takes a moment until publishers know.  Raises ValueError, NotAllowed.
        """
        mine = self._directory.member(self.me.path)
        if not (mine or _NOBODY).acl.allows_subscribe(check_topic_pattern(pattern)):
            raise NotAllowed(f"{self.me.path} may not subscribe to {pattern}")
        if self._subscriber is None:
            self._subscriber = Subscriber(
                self.context, self.run_dir, self.loop, self._inform, self.counters
            )
        self._subscriber.subscribe(pattern)

    def unsubscribe(self, pattern: str) -> None:
        """No longer."""
        if self._subscriber is not None:
            self._subscriber.unsubscribe(pattern)

    def monitor(self, path: str) -> None:
        """One `Down(path, generation, reason)` to handle_info when this life ends; now, if none.

        Raises NoProcess for a path of another host: lives are followed within one host alone.
        """
        if host_of(path) is not None:
            raise NoProcess(f"{path} is of another host and cannot be monitored from here")
        member = self._directory.member(path)
        if member is None or member.pid is None:
            self._inform(Down(path, 0 if member is None else member.generation, "noproc"))
        else:
            self._monitors[path] = member.generation
            self._directory.follow(path)

    def demonitor(self, path: str) -> None:
        """Do not tell after all."""
        if self._monitors.pop(path, None) is not None:
            self._let_go(path)

    async def receive(self, timeout: float | None = None) -> Any:
        """The next Published, Gap or Down, if `handlers` is an Inbasket; else RuntimeError."""
        if not isinstance(self._handlers, Inbasket):
            raise RuntimeError("an Agent is given what comes by handle_event and handle_info")
        return await self._handlers.take(timeout)

    def send_after(self, delay_s: float, info: Any) -> asyncio.TimerHandle:
        """Give `info` to handle_info in `delay_s` seconds; `cancel` what is returned to not."""
        return self.loop.call_later(delay_s, self._inform, info)

    def find(self, capability: str | None = None) -> list[Member]:
        """The members that have this capability; None: all."""
        members = self._directory.members()
        return [m for m in members if capability is None or capability in m.capabilities]

    async def flush(self, timeout: float = 5.0, *, to_the_living: bool = False) -> bool:
        """Wait until all casts are handled; False if `timeout` seconds were not enough.

        `to_the_living`: do not wait for receivers that do not run now.
        """
        deadline = self.loop.time() + timeout
        while any(
            len(channel.outbox) and (channel.connected or not to_the_living)
            for channel in self._channels.values()
        ):
            if self.loop.time() >= deadline:
                return False
            await asyncio.sleep(_FLUSH_LOOK_S)
        return True

    def stats(self) -> dict[str, int]:
        """What was counted so far."""
        counted = self.counters
        queued = 0
        if self._reception is not None:
            counted = counted + self._reception.inbox.counters
            queued = len(self._reception.mailbox)
        held = sum(len(channel.outbox) for channel in self._channels.values())
        connected = sum(channel.connected for channel in self._channels.values())
        return {**counted, "queued": queued, "held": held, "connections": connected}

    # --- for channels -------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """See Surroundings."""
        return self._directory.epoch

    def next_call(self) -> int:
        """A number for a call."""
        self._next_call += 1
        return self._next_call

    def find_way(self, channel: Channel) -> str:
        """See Surroundings."""
        sender, interceptors = channel.origin or self.me, self._directory.interceptors()
        found = goes_to(interceptors, sender.path, channel.path, self.me.path)
        straight = found == channel.path and channel.origin is None
        (self._detours.discard if straight else self._detours.add)(channel)
        return found

    def drop_detour(self, channel: Channel) -> None:
        """This channel is needed no longer."""
        channel.close()
        self._detours.discard(channel)
        self._let_go(channel.carrier)

    def dead_letter(self, channel: Channel, letter: DeadLetter) -> None:
        """See Surroundings."""
        self.counters["dead_letters"] += 1
        path, sender = channel.path, (channel.origin or self.me).path
        facts = {"path": path, "sender": sender, "seq": letter.seq, "deaths": letter.deaths}
        self._report("dead_letter", {**facts, "payload": letter.payload, "trace": letter.trace})

    def look_for(self, path: str) -> bool:
        """True if this receiver lives now; if it does not, `Channel.is_up` tells when it does."""
        self._directory.follow(path)
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
        elif (host := host_of(to)) is not None:
            member = self._of_host(host, to)
        else:
            found = self._directory.member(to)
            if found is None:
                raise NoProcess(f"nobody on the bus has the path {to}")
            member = found
        if member.ready and not member.inbox:
            raise NoProcess(f"{member.path} takes no messages")
        mine = self._directory.member(self.me.path)
        if mine is not None and not allows(mine.acl, member.path):
            raise NotAllowed(f"{self.me.path} may not {verb} {member.path}")
        return member

    def _of_host(self, host: str, path: str) -> Member:
        if self._directory.member(seat_of(host)) is None:
            raise NoProcess(f"no other host is called {host} here")
        gateway = self._directory.member(GATEWAY)
        return Member(path=path, pid=None if gateway is None else gateway.pid)

    def _of_pool(self, capability: str) -> Member:
        pool = [m for m in self.find(capability) if m.pid is not None and not m.draining]
        if not pool:
            raise NoProcess(f"nobody who lives has the capability {capability}")
        self._next_member[capability] += 1
        return pool[self._next_member[capability] % len(pool)]

    def _fault_of_the_loop(self, error: BaseException) -> None:
        self.loop.call_exception_handler({"message": "a handler has raised", "exception": error})

    # --- the others ---------------------------------------------------------------------------

    def _inform(self, info: Any) -> None:
        if self._dispatcher is not None:
            self._dispatcher.inform(info)
            if self._subscriber is not None:
                self._subscriber.paused = self._dispatcher.crowded

    def _resume_events(self) -> None:
        if self._subscriber is not None:
            self._subscriber.paused = False
            self._subscriber.drain()

    def _changed(self, change: Change) -> None:
        match change:
            case Joined(member):
                if member.pid is not None:
                    for channel in self._carried_by(member.path):
                        channel.is_up()
            case Down(path, generation, reason):
                if self._reception is not None:
                    self._reception.inbox.forget(Sender(path, generation))
                for channel in self._carried_by(path):
                    channel.is_down(generation, reason)
                if self._monitors.get(path) == generation:
                    self.demonitor(path)
                    self._inform(change)
            case Left(path):
                self._left(path)

    def _carried_by(self, path: str) -> list[Channel]:
        if path == GATEWAY:
            return [channel for channel in self._channels.values() if channel.carrier == path]
        found = [channel for channel in self._detours if channel.carrier == path]
        channel = self._channels.get(path)
        return found if channel is None or channel.carrier != path else [channel, *found]

    def _let_go(self, path: str) -> None:
        """A connection to `path` is closed: follow it no longer, unless others need that."""
        needed = any(each.connected or not each.idle for each in self._carried_by(path))
        if path not in self._monitors and not needed:
            self._directory.unfollow(path)

    def _left(self, path: str) -> None:
        channel = self._channels.get(path)
        if channel is not None:
            channel.close()
            self.counters["lost_with_receiver"] += len(channel.outbox)
            del self._channels[path]
            self._detours.discard(channel)
            self._let_go(channel.carrier)

    def _on_tick(self) -> None:
        self._tick = self.loop.call_later(_TICK_S, self._on_tick)
        for channel in {*self._channels.values(), *self._detours}:
            channel.probe()
            channel.idle_turns = channel.idle_turns + 1 if channel.idle else 0
            if channel.idle_turns == _IDLE_TICKS:
                channel.disconnect()
                self._let_go(channel.carrier)
        self._ticks += 1
        if self._reception is not None and self._ticks % _PRUNE_TICKS == 0:
            self._reception.inbox.forget_gone()
        if self._passage is not None:
            self._passage.forget_gone()
        self._keep_counts()
        if self._remarks is not None and self._ticks % _REMARK_TICKS == 0:
            self._remarks.tell(self.stats())

    def _keep_counts(self) -> None:
        """Once per tick, and before each redelivery: a message that kills is not counted later."""
        if self._meter is not None:
            self._meter.write(self.stats(), time.time())


def _expire(future: asyncio.Future[bytes], what: str) -> None:
    if not future.done():
        future.set_exception(CallTimeout(f"{what} in time"))
