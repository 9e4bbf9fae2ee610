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
from typing import Any

import zmq

from supervisor_tree.control.wire import (
    CONTROL_SOCKET,
    EVENTS_SOCKET,
    MAX_FRAME_BYTES,
    MalformedFrame,
    error_frame,
    event_frames,
    read_request,
    reply_frame,
)
from supervisor_tree.errors import (
    AlreadyRunning,
    ConfigError,
    ConfigProblem,
    NotPermitted,
    OperationFailed,
    SupervisorTreeError,
    UsageError,
)

__all__ = ["ControlServer", "Request"]

_FRAMES_PER_TURN = 256  # then the loop's other descriptors have their turn
_WAITING_REPLIES = 1000  # per client
_WAITING_EVENTS = 10_000  # per subscriber, as many as the event log keeps
_MAX_SUBSCRIPTION_BYTES = 4096


class Request:
    """One question, and the way to answer it: exactly once by `reply` or `reply_error`."""

    __slots__ = ("_client", "_server", "answered", "args", "id", "verb")

    def __init__(
        self, server: ControlServer, client: bytes, id: int, verb: str, args: dict[str, Any]
    ) -> None:
        self._server = server
        self._client = client
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
        self._paths = (run_dir / CONTROL_SOCKET, run_dir / EVENTS_SOCKET)
        self._uids = {0, os.geteuid()}
        _refuse_a_listener(self._paths[0])
        self._context = zmq.Context()
        try:
            self._router = self._context.socket(zmq.ROUTER)
            self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self._router.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
            self._router.setsockopt(zmq.SNDHWM, _WAITING_REPLIES)
            self._events = self._context.socket(zmq.XPUB)
            self._events.setsockopt(zmq.MAXMSGSIZE, _MAX_SUBSCRIPTION_BYTES)
            self._events.setsockopt(zmq.SNDHWM, _WAITING_EVENTS)
            for uid in self._uids:
                self._events.setsockopt(zmq.IPC_FILTER_UID, uid)
            _bind(self._router, self._paths[0])
            _bind(self._events, self._paths[1])
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    # --- for the root's loop --------------------------------------------------------------

    def sockets(self) -> list[tuple[int, Callable[[], None]]]:
        """What to watch for reading, and what to call then."""
        return [
            (int(self._router.getsockopt(zmq.FD)), self.drain),
            (int(self._events.getsockopt(zmq.FD)), self._drain_subscriptions),
            (self._wake, self._woken),
        ]

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
        self._context.destroy(linger=int(linger_s * 1000))
        os.close(self._wake)
        for path in self._paths:
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
        permitted = _peer_uid(frames[1]) in self._uids
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
        request = Request(self, client, id, verb, args)
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


def _peer_uid(frame: zmq.Frame) -> int | None:
    """Uid of the sending process, from the ipc connection's credentials ("localhost:UID:GID:PID").

    None where libzmq knows none; nobody is then permitted.
    """
    try:
        uid = str(frame.get("Peer-Address")).split(":")[-3]
    except (zmq.ZMQError, KeyError, IndexError):
        return None
    return int(uid) if uid.isdigit() else None


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
            raise _unusable(path, str(error)) from None
    raise AlreadyRunning(f"cannot listen at {path}: another process does")


def _bind(sock: zmq.Socket[bytes], path: Path) -> None:
    # libzmq makes the socket file in this thread, so a umask around the call gives its mode.
    former = os.umask(0o177)
    try:
        sock.bind(f"ipc://{path}")
    except (zmq.ZMQError, OSError) as error:
        raise _unusable(path, str(error)) from None
    finally:
        os.umask(former)


def _unusable(path: Path, why: str) -> ConfigError:
    problem = ConfigProblem(str(path), 0, 0, "", f"cannot listen here: {why}")
    return ConfigError([problem])
