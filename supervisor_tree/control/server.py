"""The root's two ZeroMQ sockets: requests come in on one, events go out on the other.

A ROUTER at `<run_dir>/control.sock` and an XPUB at `<run_dir>/events.sock`, both of mode
0600.  Who may speak is the kernel's word: libzmq notes SO_PEERCRED of each ipc connection,
and only the host's own user and root are heard.

**The edge.**  A ZeroMQ descriptor becomes readable when the socket's state *may* have
changed, once, and any call on the socket uses that notice up, a send included.  So each
wake-up reads until EAGAIN; what a limit or a send leaves unread raises an eventfd of our
own, which stays readable until it is attended to.  The loop around needs to know none of
this: it watches `sockets()` as it watches any other descriptor.

**Limits.**  No call blocks.  A reply that its reader leaves no room for, or whose reader
is gone, is dropped and counted; so is a frame that is no request.  A subscriber that does
not keep up loses events for itself alone, and sees it by the numbers of those that follow
(that is why XPUB_NODROP is off: with it, one stopped subscriber would silence all).
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import zmq

from supervisor_tree.bus.place import is_shared
from supervisor_tree.control.door import Door, unusable
from supervisor_tree.errors import (
    AlreadyRunning,
    NotPermitted,
    OperationFailed,
    SupervisorTreeError,
    UsageError,
)
from supervisor_tree.wire import (
    CONTROL_SOCKET,
    EVENTS_SOCKET,
    MAX_FRAME_BYTES,
    MalformedFrame,
    error_frame,
    event_frames,
    read_request,
    reply_frame,
)

__all__ = ["ControlServer", "Request", "Timers"]

_FRAMES_PER_TURN = 256  # then the loop's other descriptors have their turn
_WAITING_REPLIES = 1000  # per client
_WAITING_EVENTS = 10_000  # per subscriber, as many as the event log keeps
_MAX_SUBSCRIPTION_BYTES = 4096
_SHUT_S = 0.25  # a door at least, once there was no room


class Timers(Protocol):
    """Those of the root's loop."""

    def is_set(self, key: str) -> bool:
        """Whether there is a timer `key` that has not come yet."""
        ...

    def call_in(self, key: str, delay_s: float, callback: Callable[[], None]) -> None:
        """Call `callback` in `delay_s` seconds."""
        ...


class Request:
    """One question, and the way to answer it: exactly once by `reply` or `reply_error`."""

    __slots__ = ("_client", "_server", "answered", "args", "id", "pid", "uid", "verb")

    def __init__(  # noqa: PLR0913 - who asks, and what
        self,
        server: ControlServer,
        client: bytes,
        id: int,
        verb: str,
        args: dict[str, Any],
        *,
        uid: int | None,
        pid: int | None,
    ) -> None:
        self._server = server
        self._client = client
        self.uid = uid  # of the asking process, by the kernel's word
        self.pid = pid
        self.id = id
        self.verb = verb
        self.args = args
        self.answered = False

    def reply(self, value: Any) -> None:
        """Answer.  Now or any time later; a second answer is passed over."""
        if not self.answered:
            self.answered = True
            self._server.reply(self._client, self.id, value)

    def reply_error(self, error: SupervisorTreeError) -> None:
        """Answer that it cannot be done; the asking side raises `error`."""
        if not self.answered:
            self.answered = True
            self._server.reply_error(self._client, self.id, error)

    def progress(self, value: Any) -> None:
        """Tell how far it is; the answer is still to come."""
        if not self.answered:
            self._server.reply(self._client, self.id, value, status="progress")


class ControlServer:
    """Both sockets of one host.

    `handler` is called with each well-formed Request of a permitted peer and must not
    block.  What it raises is answered: a SupervisorTreeError as itself, anything else as
    OperationFailed and to `on_fault`, because a bug in one verb must not end the host.

    Raises AlreadyRunning if a process answers at the control socket, ConfigError if the
    sockets cannot be made there.
    """

    def __init__(
        self,
        run_dir: Path,
        handler: Callable[[Request], None],
        *,
        on_fault: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._handler = handler
        self._on_fault = on_fault or (lambda error: None)
        self.paths = (run_dir / CONTROL_SOCKET, run_dir / EVENTS_SOCKET)
        self._uids = {0, os.geteuid()}
        _refuse_a_listener(self.paths[0])
        self._context = zmq.Context()
        try:
            self._router = self._context.socket(zmq.ROUTER)
            self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self._router.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
            self._router.setsockopt(zmq.SNDHWM, _WAITING_REPLIES)
            self._events = self._context.socket(zmq.XPUB)
            self._events.setsockopt(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION_BYTES)
            self._events.setsockopt(zmq.SNDHWM, _WAITING_EVENTS)
            for uid in () if is_shared(run_dir) else self._uids:  # else the file lets in
                self._events.setsockopt(zmq.IPC_FILTER_UID, uid)
            self._doors = []
            for sock, path in zip((self._router, self._events), self.paths, strict=True):
                self._doors.append(Door(sock, path))
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def bind_anew(self, path: Path) -> None:
        """Make one of the two files again after it was deleted; who is connected stays so.

        Raises ConfigError if it cannot be made; then this may be tried again.
        """
        next(door for door in self._doors if door.path == path).bind_anew()
        self._look_again()  # the call has used a notice up

    # --- for the root's loop --------------------------------------------------------------

    def sockets(self) -> list[tuple[int, Callable[[], None]]]:
        """What to watch for reading, and what to call then."""
        return [
            (int(self._router.getsockopt(zmq.FD)), self.drain),
            (int(self._events.getsockopt(zmq.FD)), self._drain_subscriptions),
            (self._wake, self._woken),
            *((door.fileno(), door.look) for door in self._doors),
        ]

    def look(self, timers: Timers) -> None:
        """Once per turn: shut a door behind which there is no room, and open it soon."""
        for door in self._doors:
            was_open = door.is_open
            door.look()
            if was_open and not door.is_open:
                self.counters["doors_shut"] += 1
                self._look_again()  # the call has used a notice up
        shut = not all(door.is_open for door in self._doors)
        if shut and not timers.is_set("doors"):
            timers.call_in("doors", _SHUT_S, self.reopen)

    def reopen(self) -> None:
        """Let those in who wait, as far as there is room again."""
        for door in self._doors:
            door.reopen()
        self._look_again()  # the call has used a notice up

    def drain(self) -> None:
        """Take in what has come, up to a limit per call; never blocks."""
        for _ in range(_FRAMES_PER_TURN):
            try:
                frames = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._receive(frames)
        self._look_again()

    def close(self, linger_s: float = 0.0) -> None:
        """Give replies under way `linger_s` to leave, then take the sockets away."""
        for door in self._doors:
            door.close()
        self._context.destroy(linger=int(linger_s * 1000))
        os.close(self._wake)
        for path in self.paths:
            path.unlink(missing_ok=True)

    # --- out --------------------------------------------------------------------------------

    def reply(self, client: bytes, id: int, value: Any, *, status: str = "ok") -> None:
        """Send one reply, or drop and count it."""
        try:
            frame = reply_frame(id, status, value)
        except (SupervisorTreeError, TypeError, ValueError, OverflowError) as error:
            frame = error_frame(id, OperationFailed(f"cannot send the answer: {error}"))
        self._send(client, frame)

    def reply_error(self, client: bytes, id: int, error: SupervisorTreeError) -> None:
        """Send one error, or drop and count it."""
        self._send(client, error_frame(id, error))

    def publish(self, event: Mapping[str, Any]) -> None:
        """Tell every subscriber of the event's path."""
        try:
            self._events.send_multipart(event_frames(event), zmq.NOBLOCK)
        except zmq.Again:
            self.counters["events_dropped"] += 1
        self._look_again_if_readable(self._events)

    def _send(self, client: bytes, frame: bytes) -> None:
        try:
            self._router.send_multipart([client, frame], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            gone = error.errno == zmq.EHOSTUNREACH
            self.counters["replies_unreachable" if gone else "replies_dropped"] += 1
        self._look_again_if_readable(self._router)

    # --- in ---------------------------------------------------------------------------------

    def _receive(self, frames: list[zmq.Frame]) -> None:
        client = frames[0].bytes
        if len(frames) != 2:
            self.counters["malformed"] += 1
            return
        uid, pid = _credentials(frames[1])
        permitted = uid in self._uids
        try:
            id, verb, args = read_request(frames[1].bytes)
        except MalformedFrame as malformed:
            self.counters["malformed"] += 1
            if malformed.id is not None and permitted:
                self._send(client, error_frame(malformed.id, UsageError(str(malformed))))
            return
        if not permitted:
            self.counters["not_permitted"] += 1
            message = "this host takes orders from its own user and from root only"
            self._send(client, error_frame(id, NotPermitted(message)))
            return
        self.counters["requests"] += 1
        request = Request(self, client, id, verb, args, uid=uid, pid=pid)
        try:
            self._handler(request)
        except SupervisorTreeError as error:
            request.reply_error(error)
        except Exception as error:
            self.counters["faults"] += 1
            self._on_fault(error)
            request.reply_error(OperationFailed(f"{verb} has failed inside the host: {error!r}"))

    def _drain_subscriptions(self) -> None:
        """Subscriptions are libzmq's business; they are read so that they do not pile up."""
        for _ in range(_FRAMES_PER_TURN):
            try:
                self._events.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
        self._look_again()

    def _woken(self) -> None:
        # Cleared first: what is raised from here on must not be lost.
        os.eventfd_read(self._wake)
        self._drain_subscriptions()
        self.drain()

    def _look_again_if_readable(self, used: zmq.Socket[bytes]) -> None:
        if int(used.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._look_again()

    def _look_again(self) -> None:
        os.eventfd_write(self._wake, 1)


def _credentials(frame: zmq.Frame) -> tuple[int | None, int | None]:
    """(uid, pid) of the sending process, from the connection's "localhost:UID:GID:PID".

    None where libzmq knows none; nobody is then permitted.
    """
    try:
        _host, uid, _gid, pid = str(frame.get("Peer-Address")).rsplit(":", 3)
        return int(uid), int(pid)
    except (zmq.ZMQError, KeyError, ValueError):
        return None, None


def _refuse_a_listener(path: Path) -> None:
    """libzmq would replace the socket of a living process without a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fsencode(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except BlockingIOError:  # it listens, and is busy
            pass
        except OSError as error:
            raise unusable(path, str(error)) from None
    raise AlreadyRunning(f"cannot listen at {path}: another process does")
