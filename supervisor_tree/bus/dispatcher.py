"""The receiving half of an agent: takes what has come, one at a time, to the agent's handlers.

    handle_call(request, sender) -> reply      handle_cast(message, sender)
    handle_event(topic, event)                 handle_info(info)
    handle_intercept(message, sender) -> what is to be passed on in its place

Handlers may be plain or `async`; the next is not begun before the last is done, as in a
gen_server.  A cast is acknowledged when its handler is done.  If a handler raises, the fault goes
to `on_fault` and no other message is handled: the life is to end, and the record knows over
which cast.  Only a call's handler may raise: the caller gets a RemoteError, and the agent goes on.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from supervisor_tree.bus.codec import BadFrame, pack, unpack
from supervisor_tree.bus.inbox import Inbox
from supervisor_tree.bus.mailbox import Entry, Mailbox
from supervisor_tree.bus.messages import Call, Cast, Event, Failure, Reply, Skip
from supervisor_tree.bus.record import Record
from supervisor_tree.errors import NotAllowed

__all__ = ["TRACE", "Dispatcher", "Intercepted", "Origin", "Passing", "Reception"]

_MESSAGES_PER_TURN = 512
_WAITING_INFOS = 1000  # from here on events are left in libzmq, which drops what is too much
_ERROR_CHARS = 1000
_TRACEBACK_CHARS = 10_000


# The W3C traceparent of the message in hand; what its handler sends carries it on.
TRACE: ContextVar[str] = ContextVar("supervisor_tree.trace", default="")


class Origin(NamedTuple):
    """Whose message a handler is given.  `redelivered`: a former life may have handled it."""

    path: str
    generation: int
    redelivered: bool = False
    trace: str = ""


class Intercepted(NamedTuple):
    """What one agent says to another, as an interceptor between them is given it.

    `to` is the receiver's path, `kind` "call" or "cast".
    """

    to: str
    kind: str
    payload: Any


class Passing(Protocol):
    """What takes messages on to the next."""

    def pass_on(self, entry: Entry, payload: bytes | None) -> None:
        """Send it on with this payload; None: nothing but its number, if it is a cast."""


class Reception(NamedTuple):
    """What an agent that takes messages has, and others have not."""

    inbox: Inbox
    mailbox: Mailbox
    record: Record


class Dispatcher:
    """One agent's handlers at work.  Nothing is handled before `begin`, nor after `end`."""

    def __init__(  # noqa: PLR0913 - what an agent has of the bus, joined in one place
        self,
        loop: asyncio.AbstractEventLoop,
        handlers: Any,
        reception: Reception | None,
        *,
        counters: Counter[str],
        on_fault: Callable[[BaseException], None],
        on_redelivered: Callable[[], None],
    ) -> None:
        self.on_room: Callable[[], None] = lambda: None  # called when `crowded` is over
        self._loop = loop
        self._handlers = handlers
        self._reception = reception
        self._counters = counters
        self._on_fault = on_fault
        self._on_redelivered = on_redelivered
        self.passage: Passing | None = None  # of who may intercept
        self._infos: deque[Any] = deque()
        self._busy = True  # until `begin`
        self._ended = False
        self._crowded = False
        self._task: asyncio.Task[None] | None = None
        if reception is not None:
            loop.add_reader(reception.inbox.fileno(), self._drain)

    @property
    def crowded(self) -> bool:
        """True if so many infos wait that no events should be added."""
        return self._crowded

    def begin(self) -> None:
        """Handle from now on what has come and will come."""
        self._busy = False
        self._loop.call_soon(self._drain)

    async def end(self) -> None:
        """Begin no other message; return when the one in hand is done."""
        self._ended = True
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task})
        if self._reception is not None:
            self._reception.inbox.send_acks()

    def close(self) -> None:
        """Take nothing in any more."""
        self._ended = True
        if self._reception is not None:
            self._loop.remove_reader(self._reception.inbox.fileno())

    def inform(self, info: Any) -> None:
        """Something for handle_info, or an Event for handle_event."""
        self._infos.append(info)
        self._crowded = len(self._infos) > _WAITING_INFOS
        if len(self._infos) == 1:
            self._loop.call_soon(self._work)

    # --- one after the other --------------------------------------------------------------------

    def _drain(self) -> None:
        if self._reception is not None and not self._ended:
            inbox = self._reception.inbox
            inbox.drain()
            if self._busy and inbox.readable:  # else `_work` looks again
                self._loop.call_soon(self._drain)
        self._work()

    def _work(self) -> None:
        """Handle what has come, a bounded number per turn of the loop."""
        if self._busy or self._ended:
            return
        for _ in range(_MESSAGES_PER_TURN):
            if self._infos:
                later = self._begin_info()
            elif self._reception is None or (entry := self._reception.mailbox.begin()) is None:
                break
            elif entry.pair.to:
                later = self._begin_passing(self._reception, entry)
            elif isinstance(entry.message, Cast):
                later = self._begin_cast(self._reception, entry, entry.message)
            elif isinstance(entry.message, Call):
                later = self._begin_call(self._reception.inbox, entry, entry.message)
            else:
                continue
            if later or self._ended:
                return
        self._look_again()

    def _look_again(self) -> None:
        waiting = bool(self._infos)
        if self._reception is not None:
            inbox, mailbox, _record = self._reception
            inbox.send_acks()
            waiting = waiting or bool(len(mailbox))
            if inbox.readable:
                self._loop.call_soon(self._drain)
        if waiting:
            self._loop.call_soon(self._work)

    def _begin_info(self) -> bool:
        """Each of the three returns True if the message is not done with when it returns."""
        info = self._infos.popleft()
        if self._crowded and len(self._infos) <= _WAITING_INFOS:
            self._crowded = False
            self._loop.call_soon(self.on_room)
        try:
            result = self._handle_info(info)
        except BaseException as error:
            self._give_up(error)
            return True
        if result is not None and isinstance(result, Awaitable):
            self._go_on_later(_awaited(result))
            return True
        return False

    def _handle_info(self, info: Any) -> Any:
        if not isinstance(info, Event):
            return self._handlers.handle_info(info)
        try:
            value = unpack(info.payload)
        except BadFrame:
            self._counters["malformed"] += 1
            return None
        self._counters["events"] += 1
        return self._handlers.handle_event(info.topic, value)

    def _begin_cast(self, reception: Reception, entry: Entry, message: Cast) -> bool:
        reception.record.begin(entry.pair.sender, message.seq)
        try:
            result = self._handle_cast(entry, message)
        except BaseException as error:
            self._give_up(error)
            return True
        if result is not None and isinstance(result, Awaitable):
            self._go_on_later(self._finish_cast(reception, entry, result))
            return True
        reception.record.clear()
        reception.mailbox.done(entry)
        return False

    def _handle_cast(self, entry: Entry, message: Cast) -> Any:
        try:
            value = unpack(message.payload)
        except BadFrame:
            self._counters["malformed"] += 1
            return None
        self._counters["casts"] += 1
        if message.redelivered:
            self._counters["redelivered"] += 1
            self._on_redelivered()
        TRACE.set(message.trace)
        origin = Origin(*entry.pair.sender, message.redelivered, message.trace)
        return self._handlers.handle_cast(value, origin)

    async def _finish_cast(
        self, reception: Reception, entry: Entry, result: Awaitable[Any]
    ) -> None:
        await result
        reception.record.clear()
        reception.mailbox.done(entry)

    def _begin_call(self, inbox: Inbox, entry: Entry, call: Call) -> bool:
        self._counters["calls"] += 1
        try:
            value = unpack(call.payload)
            TRACE.set(call.trace)
            origin = Origin(*entry.pair.sender, False, call.trace)
            result = self._handlers.handle_call(value, origin)
            if result is not None and isinstance(result, Awaitable):
                self._go_on_later(self._finish_call(inbox, entry, call, result))
                return True
            answer: Reply | Failure = Reply(call.id, pack(result))
        except Exception as error:
            answer = _failure(call, error)
        inbox.answer(entry, answer)
        return False

    async def _finish_call(
        self, inbox: Inbox, entry: Entry, call: Call, result: Awaitable[Any]
    ) -> None:
        try:
            answer: Reply | Failure = Reply(call.id, pack(await result))
        except Exception as error:
            answer = _failure(call, error)
        inbox.answer(entry, answer)

    # --- what is for another ------------------------------------------------------------------

    def _begin_passing(self, reception: Reception, entry: Entry) -> bool:
        message = entry.message
        if isinstance(message, Skip):
            self._pass(entry, None)
            return False
        if isinstance(message, Cast):
            reception.record.begin(entry.pair.sender, message.seq)
        try:
            result = self._handle_intercept(entry, message)
            if isinstance(result, Awaitable):
                self._go_on_later(self._finish_passing(reception, entry, result))
                return True
            payload = pack(result)
        except Exception as error:
            if self._refuse(reception, entry, error):
                return False
            self._give_up(error)
            return True
        self._passed(reception, entry, payload)
        return False

    def _handle_intercept(self, entry: Entry, message: Cast | Call) -> Any:
        self._counters["intercepted"] += 1
        TRACE.set(message.trace)
        kind, redelivered = "call", False
        if isinstance(message, Cast):
            kind, redelivered = "cast", message.redelivered
        origin = Origin(*entry.pair.origin, redelivered, message.trace)
        intercepted = Intercepted(entry.pair.to, kind, unpack(message.payload))
        return self._handlers.handle_intercept(intercepted, origin)

    async def _finish_passing(
        self, reception: Reception, entry: Entry, result: Awaitable[Any]
    ) -> None:
        try:
            payload = pack(await result)
        except Exception as error:
            if not self._refuse(reception, entry, error):
                raise
        else:
            self._passed(reception, entry, payload)

    def _refuse(self, reception: Reception, entry: Entry, error: Exception) -> bool:
        """Let a message go no further; False if that is no answer to a cast."""
        refused = isinstance(error, NotAllowed)
        if isinstance(entry.message, Call):
            name, text = type(error).__name__, str(error)
            failure = Failure(entry.message.id, name, text) if refused else None
            reception.inbox.answer(entry, failure or _failure(entry.message, error))
        elif refused or isinstance(error, BadFrame):
            self._passed(reception, entry, None)
        else:
            return False
        self._counters["rejected" if refused else "intercept_failed"] += 1
        return True

    def _passed(self, reception: Reception, entry: Entry, payload: bytes | None) -> None:
        if isinstance(entry.message, Cast):
            reception.record.clear()
            reception.mailbox.release(entry)
        self._pass(entry, payload)

    def _pass(self, entry: Entry, payload: bytes | None) -> None:
        assert self.passage is not None
        self.passage.pass_on(entry, payload)

    # --- what takes longer than a turn ----------------------------------------------------------

    def _go_on_later(self, work: Any) -> None:
        self._busy = True
        if self._reception is not None:
            self._reception.inbox.send_acks()
            if self._reception.inbox.readable:
                self._loop.call_soon(self._drain)
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._busy = False
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._give_up(error)
        else:
            self._work()

    def _give_up(self, error: BaseException) -> None:
        self._ended = True
        if self._reception is not None:
            self._reception.inbox.send_acks()
        self._on_fault(error)


async def _awaited(result: Awaitable[Any]) -> None:
    await result


def _failure(call: Call, error: Exception) -> Failure:
    text = "".join(traceback.format_exception(error))
    return Failure(
        call.id, type(error).__name__, str(error)[:_ERROR_CHARS], text[-_TRACEBACK_CHARS:]
    )
