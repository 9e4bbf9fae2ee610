"""The connections between two hosts: tcp, encrypted and known by their keys (CURVE).

Each host connects to the others and is connected to: what its own agents say and what they are
answered goes by its `Uplink`, the other direction by the other's.  A `Gate` takes in the peers
whose keys it was given; a stranger is refused by the handshake (ZeroMQ RFC 26 and 27), before a
byte of any message.  Nothing is kept here: what does not get through is sent again by whoever
has said it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import zmq
from zmq.utils.monitor import parse_monitor_message

from supervisor_tree.bus.codec import MAX_TAKEN_BYTES, BadFrame
from supervisor_tree.bus.crossing import Header, read_header, write_header
from supervisor_tree.bus.inbox import HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
from supervisor_tree.core.hosts import Peer

__all__ = ["Gate", "Readable", "Uplink"]

_FRAMES_PER_TURN = 64
_UPLINK_FRAMES = 256  # under way to one peer; what is more is said again later
_GATE_FRAMES = 10_000
_RECONNECT_MS, _RECONNECT_MAX_MS = 100, 2000
_HANDSHAKE_MS = 5000
_ZAP = "inproc://zeromq.zap.01"
_REFUSALS = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

_Context = zmq.Context[zmq.Socket[bytes]]


class Readable:
    """A socket whose frames go to a callback, a bounded number per turn of the loop."""

    def __init__(
        self,
        sock: zmq.Socket[bytes],
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[list[zmq.Frame]], object],
    ) -> None:
        self._sock = sock
        self._loop = loop
        self._receive = receive
        self._closed = False
        loop.add_reader(int(sock.getsockopt(zmq.FD)), self.drain)
        loop.call_soon(self.drain)  # the descriptor gives edges, and one may be over

    def drain(self) -> None:
        """Take in what has come."""
        for _ in range(_FRAMES_PER_TURN):
            if self._closed:
                return
            try:
                frames = self._sock.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._receive(frames)
        self._loop.call_soon(self.drain)

    def look(self) -> None:
        """After a send, which uses the descriptor's notice up."""
        if int(self._sock.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.call_soon(self.drain)

    def close(self) -> None:
        self._closed = True
        self._loop.remove_reader(int(self._sock.getsockopt(zmq.FD)))
        self._sock.close(linger=0)


class Uplink:
    """Our connection to one peer.  `up` tells whether it stands.

    `on_frame(header, frame)` hears what comes back, `on_change(uplink)` that `up` has changed.
    """

    def __init__(  # noqa: PLR0913 - a composition, made in one place
        self,
        context: _Context,
        loop: asyncio.AbstractEventLoop,
        peer: Peer,
        keys: tuple[str, str],
        *,
        on_frame: Callable[[Header, bytes], object],
        on_change: Callable[[Uplink], object],
        counters: Counter[str],
    ) -> None:
        self.peer = peer
        self.up = False
        self._on_frame = on_frame
        self._on_change = on_change
        self._counters = counters
        self._sock = _socket(context, zmq.DEALER, keys)
        self._sock.curve_serverkey = peer.key.encode()
        self._sock.setsockopt(zmq.SNDHWM, _UPLINK_FRAMES)
        self._sock.setsockopt(zmq.RCVHWM, _GATE_FRAMES)
        self._sock.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits for a host that is not there
        self._sock.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
        self._sock.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
        self._sock.setsockopt(zmq.CONNECT_TIMEOUT, _HANDSHAKE_MS)
        monitor = self._sock.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self._frames = Readable(self._sock, loop, self._receive)
        self._monitor = Readable(monitor, loop, self._changed)
        self._sock.connect(peer.address or "")

    def send(self, header: Header, frame: bytes = b"") -> bool:
        """Send it now; False if that is not possible."""
        if not self.up:
            return False
        try:
            self._sock.send_multipart([write_header(header), frame], zmq.NOBLOCK)
        except zmq.Again:
            return False
        self._frames.look()
        return True

    def close(self) -> None:
        """Let go of the connection."""
        self._sock.disable_monitor()
        self._monitor.close()
        self._frames.close()

    def _receive(self, frames: list[zmq.Frame]) -> None:
        try:
            header, frame = _parts(frames)
        except BadFrame:
            self._counters["malformed"] += 1
            return
        self._on_frame(header, frame)

    def _changed(self, frames: list[zmq.Frame]) -> None:
        event = parse_monitor_message([part.bytes for part in frames])["event"]
        up = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if up != self.up:
            self.up = up
            self._on_change(self)


class Gate:
    """Where peers connect.  `peers` has their names by their public keys.

    `on_frame(name, route, header, frame)` hears what comes from them.  Those who are refused
    are counted as "strangers".  Raises zmq.ZMQError if it cannot listen at `address`.
    """

    def __init__(  # noqa: PLR0913 - a composition, made in one place
        self,
        context: _Context,
        loop: asyncio.AbstractEventLoop,
        address: str,
        keys: tuple[str, str],
        peers: Mapping[bytes, str],
        *,
        on_frame: Callable[[str, bytes, Header, bytes], object],
        counters: Counter[str],
    ) -> None:
        self._peers = peers
        self._on_frame = on_frame
        self._counters = counters
        doorkeeper = context.socket(zmq.REP)
        doorkeeper.bind(_ZAP)  # first: libzmq takes everybody in while nobody answers there
        self._doorkeeper = Readable(doorkeeper, loop, self._admit)
        self._answer = doorkeeper.send_multipart
        self._sock = _socket(context, zmq.ROUTER, keys)
        self._sock.curve_server = True
        self._sock.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._sock.setsockopt(zmq.RCVHWM, _GATE_FRAMES)
        self._sock.setsockopt(zmq.SNDHWM, _GATE_FRAMES)
        self._monitor = Readable(self._sock.get_monitor_socket(_REFUSALS), loop, self._refused)
        self._frames = Readable(self._sock, loop, self._receive)
        self._sock.bind(address)

    def send(self, route: bytes, header: Header, frame: bytes) -> bool:
        """Send it now; False if whoever was there is not, or has no room."""
        try:
            self._sock.send_multipart([route, write_header(header), frame], zmq.NOBLOCK)
        except zmq.ZMQError:
            self._counters["answers_dropped"] += 1
            return False
        self._frames.look()
        return True

    def close(self) -> None:
        """Listen no more."""
        self._sock.disable_monitor()
        self._monitor.close()
        self._frames.close()
        self._doorkeeper.close()  # last, as it was first

    def _receive(self, frames: list[zmq.Frame]) -> None:
        route = frames[0].bytes
        try:
            if not route.startswith(b"\0"):  # chosen by the peer: another may have had it
                raise BadFrame("a routing id of its own")
            header, frame = _parts(frames[1:])
        except BadFrame:
            self._counters["malformed"] += 1
            return
        self._on_frame(str(frames[-1].get("User-Id")), route, header, frame)

    def _admit(self, frames: list[zmq.Frame]) -> None:
        """ZeroMQ RFC 27: version, request, domain, address, identity, mechanism, credentials."""
        request = [part.bytes for part in frames]
        name = None
        if len(request) == 7 and request[5] == b"CURVE":
            name = self._peers.get(request[6])
        verdict = (b"200", b"OK") if name is not None else (b"400", b"not known here")
        number = request[1] if len(request) > 1 else b""
        self._answer([b"1.0", number, *verdict, (name or "").encode(), b""])
        self._doorkeeper.look()

    def _refused(self, _event: list[zmq.Frame]) -> None:
        self._counters["strangers"] += 1


def _socket(context: _Context, kind: int, keys: tuple[str, str]) -> zmq.Socket[bytes]:
    """A socket that speaks nothing but CURVE; `keys` are (public, secret) in Z85."""
    sock = context.socket(kind)
    sock.curve_publickey, sock.curve_secretkey = (key.encode() for key in keys)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.MAXMSGSIZE, MAX_TAKEN_BYTES)
    sock.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    sock.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    sock.setsockopt(zmq.IPV6, 1)
    return sock


def _parts(frames: list[zmq.Frame]) -> tuple[Header, bytes]:
    if len(frames) != 2:
        raise BadFrame("not two parts")
    return read_header(frames[0].bytes), frames[1].bytes
