"""An agent's own receiving socket: a ROUTER in the run directory, and who speaks there.

Who a peer is, is the kernel's word: libzmq notes SO_PEERCRED of each connection, the
directory knows whose life the process is.  What a peer says of itself is only compared with
that.  Looked up once per connection: a routing id that libzmq has given names one connection
for ever, and a peer that brings its own is not heard.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import zmq

from supervisor_tree.bus.codec import MAX_FRAME_BYTES, BadFrame, decode, encode
from supervisor_tree.bus.directory import Directory
from supervisor_tree.bus.mailbox import Entry, Mailbox, Pair, Sender, Verdict
from supervisor_tree.bus.messages import Call, Cast, Failure, Hello, Message, Refused, Reply, Skip

__all__ = ["HEARTBEAT_MS", "HEARTBEAT_TIMEOUT_MS", "Inbox", "inbox_address", "inbox_name"]

_FRAMES_PER_TURN = 64
_WAITING_FRAMES = 10_000
_PEERS = 4096  # connections remembered; libzmq does not say when one ends
HEARTBEAT_MS = 500
HEARTBEAT_TIMEOUT_MS = 1500


def inbox_name(path: str) -> str:
    """The file name that stands for a path of any length (a socket's has at most 107 bytes)."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def inbox_address(run_dir: Path, path: str) -> str:
    """Where the agent of this path listens."""
    return f"ipc://{run_dir}/inbox/{inbox_name(path)}"


class _Peer:
    """One connection."""

    __slots__ = ("may_call", "may_cast", "pair", "pid", "sender")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.sender: Sender | None = None
        self.pair: Pair | None = None
        self.may_call = self.may_cast = True


class Inbox:
    """The socket of one life.  No call blocks.

    `report(kind, facts)` hears of what is refused: "forged" and "not_allowed", with the
    sender that the kernel names.  Everything is counted in `counters`.
    """

    def __init__(  # noqa: PLR0913 - a composition: what it speaks by, as whom, to whom
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        run_dir: Path,
        me: Sender,
        mailbox: Mailbox,
        *,
        directory: Directory,
        report: Callable[[str, dict[str, object]], None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.mailbox = mailbox
        self._me = me
        self._directory = directory
        self._report = report
        self._peers: dict[bytes, _Peer] = {}
        self._routes: dict[Sender, bytes] = {}
        self._uids = {0, os.geteuid()}
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, _WAITING_FRAMES)
        self._socket.setsockopt(zmq.SNDHWM, _WAITING_FRAMES)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        former = os.umask(0o177)
        try:
            self._socket.bind(inbox_address(run_dir, me.path))
        finally:
            os.umask(former)

    def fileno(self) -> int:
        """Readable when there may be something to `drain`; an edge, not a level."""
        return int(self._socket.getsockopt(zmq.FD))

    @property
    def readable(self) -> bool:
        """True if frames wait."""
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def drain(self) -> None:
        """Take in what has come, up to a limit per call."""
        receive, peers = self._socket.recv, self._peers
        for _ in range(_FRAMES_PER_TURN):
            try:
                route = receive(zmq.NOBLOCK)
            except zmq.Again:
                return
            peer = peers.get(route)
            if peer is None:
                part = receive(zmq.NOBLOCK, copy=False)
                frame, peer = part.bytes, self._meet(route, part)
            else:
                frame = receive(zmq.NOBLOCK)
            if self._socket.getsockopt(zmq.RCVMORE):
                while self._socket.getsockopt(zmq.RCVMORE):
                    receive(zmq.NOBLOCK)
                self.counters["malformed"] += 1
            elif peer is not None:
                self._receive(route, peer, frame)

    def send_acks(self) -> None:
        """Tell the senders what is done."""
        for sender, ack in self.mailbox.acks():
            route = self._routes.get(sender)
            if route is not None:
                self._send(route, ack)

    def answer(self, entry: Entry, answer: Reply | Failure) -> None:
        """Send the answer of a call, or drop and count it."""
        assert isinstance(entry.route, bytes)
        self._send(entry.route, answer)

    def forget(self, sender: Sender) -> None:
        """This life of a sender is over."""
        self._routes.pop(sender, None)
        self.mailbox.forget(sender)
        for route in [r for r, peer in self._peers.items() if peer.sender == sender]:
            if self._peers[route].pair is not None:
                self._peers[route].pair = None

    def close(self) -> None:
        """Stop listening."""
        self._socket.close(linger=0)

    # --- in ---------------------------------------------------------------------------------

    def _meet(self, route: bytes, part: zmq.Frame) -> _Peer | None:
        uid, pid = _credentials(part)
        if uid not in self._uids or pid is None or not route.startswith(b"\0"):
            self.counters["strangers"] += 1
            return None
        peer = self._peers[route] = _Peer(pid)
        while len(self._peers) > _PEERS:
            del self._peers[next(iter(self._peers))]
        return peer

    def _receive(self, route: bytes, peer: _Peer, frame: bytes) -> None:
        try:
            messages = decode(frame)
        except BadFrame:
            self.counters["malformed"] += 1
            return
        mailbox = self.mailbox
        for message in messages:
            if isinstance(message, Hello):
                self._hello(route, peer, message)
            elif not isinstance(message, Cast | Call | Skip):
                self.counters["malformed"] += 1
            elif peer.pair is None:
                self.counters["unannounced"] += 1
                self._send(route, Refused("hello"))
                return
            elif isinstance(message, Call):
                self._call(route, peer, peer.pair, message)
            else:
                allowed = peer.may_cast or self._not_allowed(peer, "cast")
                taken = message if allowed else Skip(message.seq)
                verdict = mailbox.arrived(peer.pair, taken, route)
                if verdict is Verdict.GAP:
                    self._send(route, mailbox.welcome(peer.pair))
                if verdict is not Verdict.QUEUED:
                    self.counters[verdict.value] += 1
        for entry in mailbox.overflow():
            self.counters["dropped"] += 1
            if isinstance(entry.message, Call):
                self._refuse(entry.route, entry.message, "MailboxFull")

    def _hello(self, route: bytes, peer: _Peer, hello: Hello) -> None:
        sender = self._directory.identify(peer.pid)
        if sender is None:
            self.counters["unknown"] += 1
            self._send(route, Refused("unknown"))
            return
        if sender != (hello.path, hello.generation):
            self.counters["forged"] += 1
            facts = {"sender": sender.path, "generation": sender.generation, "pid": peer.pid}
            self._report("forged", {**facts, "claimed": hello.path, "as": hello.generation})
            self._send(route, Refused("forged"))
            return
        member = self._directory.member(sender.path)
        if member is not None:
            peer.may_call = member.acl.allows_call(self._me.path)
            peer.may_cast = member.acl.allows_cast(self._me.path)
        peer.sender = sender
        peer.pair, welcome = self.mailbox.hello(sender, hello.base)
        self._routes[sender] = route
        self._send(route, welcome)

    def _call(self, route: bytes, peer: _Peer, pair: Pair, call: Call) -> None:
        me = self._directory.member(self._me.path)
        if not peer.may_call:
            self._not_allowed(peer, "call")
            self._refuse(route, call, "NotAllowed")
        elif me is not None and me.draining:
            self._refuse(route, call, "Draining")
        elif self.mailbox.arrived(pair, call, route) is Verdict.FULL:
            self.counters["full"] += 1
            self._refuse(route, call, "MailboxFull")

    def _not_allowed(self, peer: _Peer, verb: str) -> bool:
        assert peer.sender is not None
        self.counters["not_allowed"] += 1
        self._report("not_allowed", {"sender": peer.sender.path, "verb": verb})
        return False

    def _refuse(self, route: object, call: Call, type: str) -> None:
        assert isinstance(route, bytes)
        self._send(route, Failure(call.id, type, f"{self._me.path} has refused a call"))

    def _send(self, route: bytes, message: Message) -> None:
        try:
            self._socket.send_multipart([route, encode([message])], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            gone = error.errno == zmq.EHOSTUNREACH
            self.counters["answers_unreachable" if gone else "answers_dropped"] += 1
            if gone:
                self._peers.pop(route, None)


def _credentials(frame: zmq.Frame) -> tuple[int | None, int | None]:
    """(uid, pid) of the sending process, from "localhost:UID:GID:PID"; None where unknown."""
    try:
        _host, uid, _gid, pid = str(frame.get("Peer-Address")).rsplit(":", 3)
        return int(uid), int(pid)
    except (zmq.ZMQError, KeyError, ValueError):
        return None, None
