"""The directory of a running host: who is there from the table, who has come and gone from events.

The table answers whatever is asked, at once.  That something has *changed* is heard on the
root's event socket, and only for those members who are followed: a restart of a thousand
agents then costs each of the others nothing.  A subscription takes a moment to hold, so
whoever is followed is looked at again shortly afterwards, and then now and then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import zmq

from supervisor_tree.bus.client import Bus
from supervisor_tree.bus.directory import Change, Down, Joined, Left, Member
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.table import End, MemberTable
from supervisor_tree.bus.ways import Interceptors
from supervisor_tree.wire import (
    CONTROL_SOCKET,
    EVENTS_SOCKET,
    MAX_FRAME_BYTES,
    MalformedFrame,
    read_event,
    request_frame,
)

__all__ = ["LiveDirectory", "join"]

_LOOKS_S = (0.02, 0.1)  # after a subscription was asked for
_LOOK_S = 2.0  # from then on
_EVENTS_PER_TURN = 256
_REASONS_KEPT = 1000
_REPORTS = 1000  # on their way to the root


def join(
    run_dir: Path,
    me: Sender,
    handlers: Any,
    *,
    inbox: bool,
    on_fault: Callable[[BaseException], None] | None = None,
) -> Bus:
    """Make the Bus of a process that the host of `run_dir` knows as `me`, on this loop."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    directory = LiveDirectory(run_dir, context, asyncio.get_running_loop())
    return Bus(
        run_dir,
        me,
        directory,
        handlers,
        inbox=inbox,
        context=context,
        on_fault=on_fault,
        report=directory.report,
    )


class LiveDirectory:
    """A `Directory` that is true.  Make, use and close it in the loop's thread."""

    def __init__(
        self,
        run_dir: Path,
        context: zmq.Context[zmq.Socket[bytes]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._run_dir = run_dir
        self._context = context
        self._loop = loop
        self._table = MemberTable(run_dir)
        self._watchers: list[Callable[[Change], None]] = []
        self._told: dict[str, Member | None] = {}  # those who are followed, as last told
        self._reasons: dict[Sender, str] = {}
        self._events: zmq.Socket[bytes] | None = None
        self._reports: zmq.Socket[bytes] | None = None
        self._reported = 0
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Let go of the table and the sockets."""
        if self._timer is not None:
            self._timer.cancel()
        if self._events is not None:
            self._loop.remove_reader(int(self._events.getsockopt(zmq.FD)))
            self._events.close(linger=0)
            self._events = None
        if self._reports is not None:
            self._reports.close(linger=200)
        self._table.close()

    # --- Directory ----------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """See Directory."""
        return self._table.epoch

    def member(self, path: str) -> Member | None:
        """See Directory."""
        return self._table.member(path)

    def members(self) -> list[Member]:
        """See Directory."""
        return self._table.members()

    def interceptors(self) -> Interceptors:
        """See Directory."""
        return self._table.interceptors()

    def identify(self, pid: int) -> Sender | None:
        """See Directory."""
        return self._table.identify(pid)

    def watch(self, watcher: Callable[[Change], None]) -> Callable[[], None]:
        """See Directory."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def follow(self, path: str) -> None:
        """See Directory."""
        if path in self._told:
            return
        self._told[path] = self._table.member(path)
        if self._events is None:
            self._events = self._socket(zmq.SUB, EVENTS_SOCKET)
            self._loop.add_reader(int(self._events.getsockopt(zmq.FD)), self._drain)
        self._events.setsockopt(zmq.SUBSCRIBE, path.encode())
        self._loop.call_soon(self._drain)
        self._look_in(list(_LOOKS_S))

    def unfollow(self, path: str) -> None:
        """See Directory."""
        if path in self._told:
            del self._told[path]
            if self._events is not None:
                self._events.setsockopt(zmq.UNSUBSCRIBE, path.encode())
                self._loop.call_soon(self._drain)

    # --- towards the root ---------------------------------------------------------------------

    def report(self, kind: str, facts: Mapping[str, Any]) -> bool:
        """Tell the root what it has to know of; False if that had no room."""
        if self._reports is None:
            self._reports = self._socket(zmq.DEALER, CONTROL_SOCKET)
            self._reports.setsockopt(zmq.SNDHWM, _REPORTS)
        self._reported += 1
        frame = request_frame(self._reported, "bus_report", {"kind": kind, "facts": dict(facts)})
        try:
            self._reports.send(frame, zmq.NOBLOCK)
            while self._reports.poll(0):  # its answers say nothing that is needed
                self._reports.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    # --- what has changed ---------------------------------------------------------------------

    def _look_in(self, waits: list[float]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait = waits.pop(0) if waits else _LOOK_S
        self._timer = self._loop.call_later(wait, self._look_again, waits)

    def _look_again(self, waits: list[float]) -> None:
        for path in list(self._told):
            self._look(path)
        self._timer = None
        if self._told:
            self._look_in(waits)

    def _look(self, path: str) -> None:
        """Compare what was told of a member with the table, and tell the difference."""
        if path not in self._told:  # whoever was just told of another's end has let it go
            return
        before, now = self._told[path], self._table.member(path)
        if now is before or now == before:
            return
        self._told[path] = now
        if before is not None and before.pid is not None:
            same = now is not None and (now.generation, now.pid) == (before.generation, before.pid)
            if not same:
                self._tell(Down(path, before.generation, self._reason(before)))
        self._tell(Left(path) if now is None else Joined(now))

    def _reason(self, member: Member) -> str:
        """From the event, or if the subscription did not hold yet, from the table."""
        told = self._reasons.pop(Sender(member.path, member.generation), None)
        if told is not None:
            return told
        end = self._table.last_end(member.path)
        return end.reason if end is not None and end.generation == member.generation else "gone"

    def _tell(self, change: Change) -> None:
        for watcher in list(self._watchers):
            watcher(change)

    def _drain(self) -> None:
        for _ in range(_EVENTS_PER_TURN):
            if self._events is None:
                return
            try:
                frames = self._events.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(frames) == 2:
                self._heard(frames[1])
        self._loop.call_soon(self._drain)

    def _heard(self, frame: bytes) -> None:
        try:
            event = read_event(frame)
        except MalformedFrame:
            return
        path = event.get("path")
        if path not in self._told:
            return
        if event.get("event") == "child_exited":
            self._exited(path, event)
        self._look(path)

    def _exited(self, path: str, event: Mapping[str, Any]) -> None:
        """Whoever is followed has ended, and its next life may have begun already."""
        generation = int(event.get("generation") or 0)
        self._reasons[Sender(path, generation)] = End.of(
            generation, event.get("reason") or {}
        ).reason
        while len(self._reasons) > _REASONS_KEPT:
            del self._reasons[next(iter(self._reasons))]
        before = self._told[path]
        if before is not None and before.generation < generation:
            # A whole life that was not seen to begin: its partners have spoken to it all the same.
            self._told[path] = replace(before, generation=generation, pid=event.get("pid") or 0)

    def _socket(self, kind: int, name: str) -> zmq.Socket[bytes]:
        sock = self._context.socket(kind)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        sock.setsockopt(zmq.RECONNECT_IVL, 20)
        sock.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        sock.setsockopt(zmq.RCVHWM, 10_000)
        sock.connect(f"ipc://{self._run_dir / name}")
        return sock
