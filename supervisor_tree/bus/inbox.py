"""An agent's own receiving socket: a ROUTER in the run directory, and who speaks there.

Who a peer is, is the kernel's word: libzmq notes SO_PEERCRED of each connection, the
directory knows whose life the process is.  What a peer says of itself is only compared with
that.  Looked up once per connection: a routing id that libzmq has given names one connection
for ever, and a peer that brings its own is not heard.  The host's own gateway alone speaks for
others: for those of the hosts that the directory knows.
"""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from supervisor_tree.bus.codec import MAX_TAKEN_BYTES, BadFrame, decode, encode
from supervisor_tree.bus.directory import Directory
from supervisor_tree.bus.mailbox import Entry, Mailbox, Pair, Sender, Verdict
from supervisor_tree.bus.messages import (
    Bye,
    Call,
    Cast,
    Failure,
    Hello,
    Message,
    Refused,
    Reply,
    Skip,
)
from supervisor_tree.bus.place import binding, inbox_address, inbox_name, known_uids
from supervisor_tree.bus.ways import comes_from
from supervisor_tree.core.hosts import GATEWAY, host_of, seat_of

__all__ = [
    "HEARTBEAT_MS",
    "HEARTBEAT_TIMEOUT_MS",
    "Inbox",
    "credentials",
]

_FRAMES_PER_TURN = 64
_WAITING_FRAMES = 10_000
# Answers are kept for a while: a connection that breaks takes what is on its way with it.
_ANSWERS = 1024
_ANSWERS_BYTES = 4 * 1024 * 1024
_PEERS = 4096  # connections remembered; libzmq does not say when one ends
# Asked by senders alone, who have something to lose.  A receiver owes a stopped sender nothing
# but answers, and asking both ways would cost twice as much: 1,000 idle agents notice.
HEARTBEAT_MS = 500
HEARTBEAT_TIMEOUT_MS = 1500


class _Peer:
    """One connection."""

    __slots__ = ("may_call", "may_cast", "origin", "pair", "pid", "sender", "to")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.sender: Sender | None = None  # whose process it is
        self.origin: Sender | None = None  # whose messages they are
        self.to = ""  # for whom
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
        report: Callable[[str, dict[str, Any]], object],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.mailbox = mailbox
        self._me = me
        self._directory = directory
        self._report = report
        self._peers: dict[bytes, _Peer] = {}
        self._routes: dict[Sender, bytes] = {}
        self._answers: OrderedDict[tuple[Sender, int], Reply | Failure] = OrderedDict()
        self._answers_bytes = 0
        self._epoch = directory.epoch
        self._uids = known_uids(run_dir)
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_TAKEN_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, _WAITING_FRAMES)
        self._socket.setsockopt(zmq.SNDHWM, _WAITING_FRAMES)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._file = run_dir / "inbox" / inbox_name(me.path)
        with binding(run_dir):
            self._socket.bind(inbox_address(run_dir, me.path))

    def fileno(self) -> int:
        """Readable when there may be something to `drain`; an edge, not a level."""
        return int(self._socket.getsockopt(zmq.FD))

    @property
    def readable(self) -> bool:
        """True if frames wait."""
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def drain(self) -> None:
        """Take in what has come, up to a limit per call."""
        if self._directory.epoch != self._epoch:
            self._look_at_peers_again()
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
        """Send the answer of a call, and keep it for a sender that has to ask for it again."""
        assert isinstance(entry.route, bytes)
        sender = entry.pair.sender
        self._keep((sender, answer.id), answer)
        self._send(self._routes.get(sender, entry.route), answer)

    def forget(self, sender: Sender) -> None:
        """This life of a sender is over."""
        self._routes.pop(sender, None)
        self.mailbox.forget(sender)
        for route, peer in list(self._peers.items()):
            if sender in (peer.sender, peer.origin):
                del self._peers[route]
                if peer.pair is not None and peer.origin == sender:
                    self._routes.pop(peer.pair.sender, None)
                    self.mailbox.forget(peer.pair.sender)

    def forget_gone(self) -> None:
        """Forget the senders whose lives are over, as far as the directory knows."""
        for name, route in list(self._routes.items()):
            peer = self._peers.get(route)
            origin = None if peer is None else peer.origin
            if origin is None:
                self.forget(name)
            elif self._is_gone(origin):
                self.forget(origin)

    def close(self) -> None:
        """Stop listening; libzmq would leave the socket's file."""
        self._socket.close(linger=0)
        self._file.unlink(missing_ok=True)

    def _is_gone(self, sender: Sender) -> bool:
        if host_of(sender.path) is None:
            member = self._directory.member(sender.path)
            if member is None or member.pid is None:
                return True
            return member.generation != sender.generation
        peer, gateway = self._peers.get(self._routes[sender]), self._directory.member(GATEWAY)
        return peer is None or gateway is None or gateway.pid != peer.pid

    # --- in ---------------------------------------------------------------------------------

    def _meet(self, route: bytes, part: zmq.Frame) -> _Peer | None:
        uid, pid = credentials(part)
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
            if isinstance(message, Hello | Bye):
                self._introduced(route, peer, message)
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
                self.answer(entry, self._refusal(entry.message, "MailboxFull"))

    def _introduced(self, route: bytes, peer: _Peer, message: Hello | Bye) -> None:
        if isinstance(message, Hello):
            self._hello(route, peer, message)
        elif peer.sender is not None:
            self.forget(peer.sender)

    def _hello(self, route: bytes, peer: _Peer, hello: Hello) -> None:
        sender = self._who_is(peer.pid, Sender(hello.path, hello.generation))
        if sender is None:
            owner = self._owner_of(peer.pid)
            if owner is None:
                self.counters["unknown"] += 1
                self._send(route, Refused("unknown"))
            else:
                self._forged(route, peer, owner, hello)
            return
        if sender != (hello.path, hello.generation):
            self._forged(route, peer, sender, hello)
            return
        peer.sender = sender
        peer.origin = Sender(hello.of, hello.of_generation) if hello.of else sender
        peer.to = hello.to or self._me.path
        if not self._is_on_its_way(peer):
            peer.pair = None
            self._not_allowed(peer, "pass by")
            self._send(route, Refused("way"))
            return
        self._permit(peer, peer.origin, peer.to)
        peer.pair, welcome = self.mailbox.hello(peer.origin, hello.base, hello.to)
        self._routes[peer.pair.sender] = route
        self._send(route, welcome)
        for id in hello.asked:
            if (answer := self._answers.get((peer.pair.sender, id))) is not None:
                self._send(route, answer)

    def _keep(self, key: tuple[Sender, int], answer: Reply | Failure) -> None:
        self._answers[key] = answer
        self._answers_bytes += _size(answer)
        while len(self._answers) > 1 and (
            len(self._answers) > _ANSWERS or self._answers_bytes > _ANSWERS_BYTES
        ):
            self._answers_bytes -= _size(self._answers.popitem(last=False)[1])

    def _is_on_its_way(self, peer: _Peer) -> bool:
        """Whether what this peer brings comes to us by it (`bus.ways`)."""
        assert peer.sender is not None
        assert peer.origin is not None
        expected = comes_from(
            self._directory.interceptors(), peer.origin.path, peer.to, self._me.path
        )
        by_itself = expected == peer.origin.path
        return peer.sender.path == expected and (peer.sender == peer.origin) is by_itself

    def _forged(self, route: bytes, peer: _Peer, sender: Sender, hello: Hello) -> None:
        self.counters["forged"] += 1
        facts = {"sender": sender.path, "generation": sender.generation, "pid": peer.pid}
        self._report("forged", {**facts, "claimed": hello.path, "as": hello.generation})
        self._send(route, Refused("forged"))

    def _owner_of(self, pid: int) -> Sender | None:
        """Whose process this is, if it leads no life itself: each life has a session."""
        try:
            return self._directory.identify(os.getsid(pid))
        except ProcessLookupError:
            return None

    def _look_at_peers_again(self) -> None:
        """The policy may have changed, and what a connection may do is not asked per message."""
        self._epoch = self._directory.epoch
        for peer in self._peers.values():
            if peer.origin is None:
                continue
            if self._is_on_its_way(peer):
                self._permit(peer, peer.origin, peer.to)
            else:
                peer.pair = None  # it is to say Hello where its messages go now

    def _permit(self, peer: _Peer, sender: Sender, to: str) -> None:
        host = host_of(sender.path)
        member = self._directory.member(sender.path if host is None else seat_of(host))
        if member is not None:
            peer.may_call = member.acl.allows_call(to)
            peer.may_cast = member.acl.allows_cast(to)

    def _who_is(self, pid: int, claim: Sender) -> Sender | None:
        member = self._directory.member(claim.path)
        if member is not None and (member.pid, member.generation) == (pid, claim.generation):
            return claim
        owner = self._directory.identify(pid)
        host = host_of(claim.path)
        if host is None or owner is None or owner.path != GATEWAY:
            return owner
        return claim if self._directory.member(seat_of(host)) is not None else owner

    def _call(self, route: bytes, peer: _Peer, pair: Pair, call: Call) -> None:
        me = self._directory.member(self._me.path)
        if not peer.may_call:
            self._not_allowed(peer, "call")
            self._send(route, self._refusal(call, "NotAllowed"))
        elif me is not None and me.draining:
            self._send(route, self._refusal(call, "Draining"))
        else:
            verdict = self.mailbox.arrived(pair, call, route)
            if verdict is not Verdict.QUEUED:
                self.counters[verdict.value] += 1
            if verdict is Verdict.FULL:  # it has arrived, and so is not sent again
                self.answer(Entry(pair, call, route), self._refusal(call, "MailboxFull"))

    def _not_allowed(self, peer: _Peer, verb: str) -> bool:
        assert peer.sender is not None
        self.counters["not_allowed"] += 1
        sender = peer.sender if verb == "pass by" or peer.origin is None else peer.origin
        self._report("not_allowed", {"sender": sender.path, "verb": verb})
        return False

    def _refusal(self, call: Call, type: str) -> Failure:
        return Failure(call.id, type, f"{self._me.path} has refused a call")

    def _send(self, route: bytes, message: Message) -> bool:
        try:
            self._socket.send_multipart([route, encode([message])], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            gone = error.errno == zmq.EHOSTUNREACH
            self.counters["answers_unreachable" if gone else "answers_dropped"] += 1
            if gone:
                self._peers.pop(route, None)
            return False
        return True


def _size(answer: Reply | Failure) -> int:
    return len(answer.payload if isinstance(answer, Reply) else answer.text)


def credentials(frame: zmq.Frame) -> tuple[int | None, int | None]:
    """(uid, pid) of the sending process, from "localhost:UID:GID:PID"; None where unknown."""
    try:
        _host, uid, _gid, pid = str(frame.get("Peer-Address")).rsplit(":", 3)
        return int(uid), int(pid)
    except (zmq.ZMQError, KeyError, ValueError):
        return None, None
