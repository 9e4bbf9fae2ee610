"""The gateway's half for senders of this host: who they are, what they may say, and to which peer.

They connect as they do to an inbox, and are known as there: by the kernel's word.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zmq

from supervisor_tree.bus.codec import MAX_TAKEN_BYTES, BadFrame, decode, encode
from supervisor_tree.bus.crossing import Forth, Gone, abroad, arriving, screened
from supervisor_tree.bus.directory import Change, Directory, Down, Left
from supervisor_tree.bus.inbox import credentials
from supervisor_tree.bus.link import Readable, Uplink
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.messages import Call, Failure, Hello, Message, Refused
from supervisor_tree.bus.place import binding, inbox_address, known_uids
from supervisor_tree.core.hosts import GATEWAY, host_of

__all__ = ["Outbound"]

_WAITING_FRAMES = 10_000
_CONNECTIONS = 16_384  # remembered; libzmq does not say when one ends


class _Line:
    """One sender's connection, which is for one receiver."""

    __slots__ = ("pid", "sender")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.sender: Sender | None = None


class Outbound:
    """From local senders to peers, and the answers back.  No call blocks.

    `report(kind, facts)` hears of "forged" and "not_allowed".
    """

    def __init__(  # noqa: PLR0913 - a composition, made in one place
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        loop: asyncio.AbstractEventLoop,
        run_dir: Path,
        directory: Directory,
        *,
        era: int,
        uplinks: Mapping[str, Uplink],
        report: Callable[[str, dict[str, Any]], object],
        counters: Counter[str],
    ) -> None:
        self._directory = directory
        self._era = era
        self._uplinks = uplinks
        self._report = report
        self._counters = counters
        self._uids = known_uids(run_dir)
        self._lines: dict[bytes, _Line] = {}
        self._ways: dict[tuple[str, Forth], bytes] = {}  # by host and header: the connection
        self._followed: dict[Sender, set[tuple[str, Forth]]] = {}
        self._unwatch = directory.watch(self._changed)
        self._sock = context.socket(zmq.ROUTER)
        self._sock.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._sock.setsockopt(zmq.MAXMSGSIZE, MAX_TAKEN_BYTES)
        self._sock.setsockopt(zmq.RCVHWM, _WAITING_FRAMES)
        self._sock.setsockopt(zmq.SNDHWM, _WAITING_FRAMES)
        self._sock.setsockopt(zmq.LINGER, 0)
        with binding(run_dir):
            self._sock.bind(inbox_address(run_dir, GATEWAY))
        self._frames = Readable(self._sock, loop, self._receive)

    def close(self) -> None:
        """Listen no more."""
        self._unwatch()
        self._frames.close()

    def returned(self, host: str, header: Forth, frame: bytes) -> None:
        """A receiver abroad has answered."""
        way = (host, header)
        route = self._ways.get(way)
        if route is not None and not self._send(route, frame):
            self._ways.pop(way, None)

    def link_changed(self, host: str, *, up: bool) -> None:
        """Tell the senders to this host: they begin anew, or stop waiting for answers."""
        frame = encode([Refused("hello" if up else "unreachable")])
        for way in [way for way in self._ways if way[0] == host]:
            self.returned(host, way[1], frame)

    # --- in ---------------------------------------------------------------------------------

    def _receive(self, frames: list[zmq.Frame]) -> None:
        route = frames[0].bytes
        line = self._lines.get(route) or self._meet(route, frames[-1])
        if line is None:
            return
        try:
            _route, to, frame = (part.bytes for part in frames)
            address = to.decode()
            messages = arriving(decode(frame), Sender("", 0))
            host = host_of(address)
            if host is None:
                raise BadFrame("no address")
        except (ValueError, BadFrame):
            self._counters["malformed"] += 1
            return
        hello = next((m for m in decode(frame) if isinstance(m, Hello)), None)
        if hello is not None and not self._knows(route, line, hello):
            return
        if line.sender is None:
            self._send(route, encode([Refused("hello")]))
            return
        self._pass_on(route, line.sender, host, address, messages)

    def _pass_on(
        self, route: bytes, sender: Sender, host: str, address: str, messages: Sequence[Message]
    ) -> None:
        path = address.removeprefix(f"{host}:")
        header = Forth(path, sender.path, abroad(self._era, sender.generation))
        way = (host, header)
        self._ways[way] = route
        self._followed.setdefault(sender, set()).add(way)
        uplink = self._uplinks.get(host)
        if uplink is None or not uplink.up:
            self._send(route, encode([Refused("unreachable")]))
            return
        member = self._directory.member(sender.path)
        if member is not None:
            messages, refused, dropped = screened(messages, member.acl, address)
            self._refuse(route, refused, "NotAllowed", f"{sender.path} may not call {address}")
            if refused or dropped:
                self._counters["not_allowed"] += 1
                verb = "call" if refused else "cast"
                self._report("not_allowed", {"sender": sender.path, "verb": verb})
        if messages and not uplink.send(header, encode(messages)):
            self._counters["held_up"] += 1  # the casts among them are sent again
            calls = [message for message in messages if isinstance(message, Call)]
            self._refuse(route, calls, "MailboxFull", f"the link to host {host} is full")

    def _meet(self, route: bytes, part: zmq.Frame) -> _Line | None:
        uid, pid = credentials(part)
        if uid not in self._uids or pid is None or not route.startswith(b"\0"):
            self._counters["strangers"] += 1
            return None
        line = self._lines[route] = _Line(pid)
        while len(self._lines) > _CONNECTIONS:
            del self._lines[next(iter(self._lines))]
        return line

    def _knows(self, route: bytes, line: _Line, hello: Hello) -> bool:
        """Whether it is who it says; if not, it has been told."""
        claim = Sender(hello.path, hello.generation)
        member = self._directory.member(claim.path)
        if member is not None and (member.pid, member.generation) == (line.pid, claim.generation):
            line.sender = claim
            self._directory.follow(claim.path)
            return True
        owner = self._directory.identify(line.pid)
        if owner is not None:
            self._counters["forged"] += 1
            facts = {"sender": owner.path, "generation": owner.generation, "pid": line.pid}
            self._report("forged", {**facts, "claimed": claim.path, "as": claim.generation})
        self._send(route, encode([Refused("unknown" if owner is None else "forged")]))
        return False

    def _refuse(self, route: bytes, calls: Sequence[Call], type: str, text: str) -> None:
        for call in calls:
            self._send(route, encode([Failure(call.id, type, text)]))

    def _send(self, route: bytes, frame: bytes) -> bool:
        try:
            self._sock.send_multipart([route, frame], zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        self._frames.look()
        return True

    # --- the senders ------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        match change:
            case Down(path, generation):
                self._forget(Sender(path, generation))
            case Left(path):
                for sender in [sender for sender in self._followed if sender.path == path]:
                    self._forget(sender)

    def _forget(self, sender: Sender) -> None:
        """This life of a sender is over."""
        ways = self._followed.pop(sender, set())
        for way in ways:
            route = self._ways.pop(way, None)
            if route is not None:
                self._lines.pop(route, None)
        for host in {host for host, _header in ways}:
            uplink = self._uplinks.get(host)
            if uplink is not None:
                uplink.send(Gone(sender.path, abroad(self._era, sender.generation)))
