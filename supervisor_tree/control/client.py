"""Asking a running host: a blocking client of the control socket.

ZeroMQ goes on connecting for ever and never says "refused", so whether somebody listens
is asked of the kernel first, by a plain connect, and again while an answer is awaited:
a host that ends is noticed within half a second, not at the deadline.
"""

from __future__ import annotations

# The C module alone: `socket` adds 5 ms (enum conversions, selectors) to each command.
import _socket
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import zmq

from supervisor_tree.control.facts import add_facts
from supervisor_tree.errors import NoHost, NotPermitted, TimedOut, UsageError
from supervisor_tree.wire import (
    CONTROL_SOCKET,
    EVENTS_SOCKET,
    MAX_FRAME_BYTES,
    MalformedFrame,
    error_of,
    read_event,
    read_reply,
    request_frame,
)

if TYPE_CHECKING:  # it adds 6 ms to each command
    from pathlib import Path

__all__ = ["ControlClient", "NotSent", "check_limit", "host_answers"]

DEFAULT_TIMEOUT_S = 10.0

# A request is handed over however short its deadline is: who gives up waiting has still
# asked.  A host that is not wedged takes it within a few milliseconds.
_HAND_OVER_S = 1.0

_PROBE_S = 0.5
_LAST_WORDS_MS = 100
_EVENTS_PER_READ = 1000
# Between subscribing and being subscribed an event may slip through; an idle stream asks.
_IDLE_S = (0.05, 0.5, 2.0)


def check_limit(timeout: object) -> None:
    """Raise UsageError for a `timeout` that no clock reaches; None is no limit."""
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and timeout == timeout):  # noqa: PLR0124 - nan is not
        raise UsageError(f"timeout must be a number of seconds, not {timeout!r}")


def host_answers(run_dir: Path | str) -> bool:
    """True if a process listens at the control socket of `run_dir`.

    Raises NotPermitted if this user may not know.
    """
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
    try:
        probe.connect(os.path.join(os.fsencode(run_dir), os.fsencode(CONTROL_SOCKET)))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return False
    except BlockingIOError:  # it listens, and is busy
        return True
    except PermissionError:
        message = f"this user may not speak to the host at {run_dir}"
        raise NotPermitted(message) from None
    except OSError as error:
        raise NoHost(f"no host can be at {run_dir}: {error}") from None
    finally:
        probe.close()
    return True


class NotSent(TimedOut):
    """The host did not even take the request: nothing has been asked of it."""


class ControlClient:
    """One connection to one host.  Not for several threads at once.

    Raises NoHost or NotPermitted when made.  `close` it, or use it in a `with` block.
    """

    def __init__(self, run_dir: Path | str) -> None:
        self._run_dir = os.fspath(run_dir)
        self._next_id = 0
        self._check_host()
        self._context = zmq.Context()
        self._linger_ms = 0
        self._dealer = self._socket(zmq.DEALER, CONTROL_SOCKET)

    @property
    def run_dir(self) -> Path:
        """Where the host has its sockets."""
        from pathlib import Path  # noqa: PLC0415

        return Path(self._run_dir)

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        self._context.destroy(linger=self._linger_ms)

    def request(
        self,
        verb: str,
        args: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        on_progress: Callable[[Any], None] | None = None,
    ) -> Any:
        """Ask and wait for the answer, at most `timeout` seconds (None: for ever).

        Raises what the host answers with (a class of `errors`), NoHost if it ends
        meanwhile, TimedOut; NotSent, a TimedOut, if the host has not got the request.
        """
        check_limit(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        self._next_id += 1
        self._hand_over(request_frame(self._next_id, verb, args or {}), verb, deadline)
        while True:
            frame = self._receive(deadline, verb)
            try:
                id, status, value = read_reply(frame)
            except MalformedFrame:
                continue
            if id != self._next_id:
                continue  # the late answer to a request that was given up
            if status == "ok":
                return value
            if status == "error":
                raise error_of(value)
            if status == "progress" and on_progress is not None:
                on_progress(value)

    def status(
        self, path: str = "/", *, all: bool = False, why: bool = False
    ) -> list[dict[str, Any]]:
        """The rows of `status`, with the process facts that only this side looks up.

        With `why` each has also `kept_down_by` ("order", "specification" or None), `because`,
        `waiting_for` and `error`.
        """
        args = {"path": path, "all": all, "why": why}
        rows: list[dict[str, Any]] = self.request("status", args)
        add_facts(rows)
        return rows

    def show(self, path: str) -> dict[str, Any]:
        """All that is known of one child, its process facts included."""
        facts: dict[str, Any] = self.request("show", {"path": path})
        add_facts([facts])
        return facts

    def subscribe_events(
        self,
        since: int | None = None,
        *,
        timeout: float | None = None,
        on_gap: Callable[[int, int], None] | None = None,
    ) -> Generator[dict[str, Any], None, None]:
        """Every event numbered above `since` (None: only those to come), then live ones.

        No event comes twice and none is missing between two; what the host no longer
        keeps is told to `on_gap(first, last)`.  Ends when the host does.  Raises TimedOut
        when none comes for `timeout` seconds.  The count begins with this call, not with
        the first `next`.  Close a generator that is left early (`contextlib.closing`).
        """
        check_limit(timeout)
        stream = self._socket(zmq.SUB, EVENTS_SOCKET)
        stream.setsockopt(zmq.SUBSCRIBE, b"")
        reader = _EventReader(self.request, on_gap or (lambda first, last: None))
        reader.begin(since)
        return self._stream(stream, reader, _Silence(timeout))

    def _stream(
        self, stream: zmq.Socket[bytes], reader: _EventReader, silence: _Silence
    ) -> Generator[dict[str, Any], None, None]:
        try:
            yield from reader.catch_up()
            silence.broken()
            while True:
                if stream.poll(silence.next_wait_ms()):
                    for event in _received(stream):
                        for next_event in reader.take(event):
                            yield next_event
                            silence.broken()
                else:  # has the subscription missed one, or the host ended?
                    self._check_host()
                    for next_event in reader.catch_up():
                        yield next_event
                        silence.broken()
        except NoHost:
            return
        finally:
            stream.close(linger=0)

    def _socket(self, kind: int, name: str) -> zmq.Socket[bytes]:
        sock = self._context.socket(kind)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        sock.setsockopt(zmq.RECONNECT_IVL, 20)
        sock.setsockopt(zmq.IMMEDIATE, 1)  # to be writable is to be connected
        sock.setsockopt(zmq.RCVHWM, 10_000)
        sock.connect(f"ipc://{os.path.join(self._run_dir, name)}")
        return sock

    def _hand_over(self, frame: bytes, verb: str, deadline: float | None) -> None:
        limit = time.monotonic() + _HAND_OVER_S
        limit = limit if deadline is None else max(limit, deadline)
        while not self._dealer.poll(int(_PROBE_S * 1000), zmq.POLLOUT):
            self._check_host()
            if time.monotonic() >= limit and deadline is not None:
                message = f"{verb}: the host at {self._run_dir} takes no requests; it was not sent"
                raise NotSent(message)
        self._dealer.send(frame, zmq.NOBLOCK)

    def _receive(self, deadline: float | None, verb: str) -> bytes:
        while True:
            left_s = _PROBE_S if deadline is None else deadline - time.monotonic()
            if self._dealer.poll(max(0, int(min(left_s, _PROBE_S) * 1000))):
                return self._dealer.recv(zmq.NOBLOCK)
            if deadline is not None and time.monotonic() >= deadline:
                self._linger_ms = int(_HAND_OVER_S * 1000)  # it may still be on its way
                raise TimedOut(f"{verb}: the host at {self._run_dir} has not answered in time")
            try:
                self._check_host()
            except NoHost:
                if not self._dealer.poll(_LAST_WORDS_MS):  # it may have answered as it ended
                    raise

    def _check_host(self) -> None:
        if not host_answers(self._run_dir):
            raise NoHost(
                f"no host is running at {self._run_dir}; start one with "
                "`supervisor-tree run CONFIG`, or name its directory with --run-dir"
            )


class _EventReader:
    """Puts replayed and live events into one sequence without holes."""

    def __init__(
        self, request: Callable[[str, Mapping[str, Any]], Any], on_gap: Callable[[int, int], None]
    ) -> None:
        self._request = request
        self._on_gap = on_gap
        self._last = 0
        self._instance = ""

    def begin(self, since: int | None) -> None:
        """Place the reader behind `since`, or at the end of what is known by now."""
        host = self._request("ping", {})
        self._instance = host["instance"]
        self._last = host["seq"] if since is None else since

    def catch_up(self) -> Iterator[dict[str, Any]]:
        """Read from the host's record all that is newer than the last one given out."""
        while True:
            page = self._request("events", {"since": self._last, "limit": _EVENTS_PER_READ})
            if page["instance"] != self._instance:  # another host's life, another count
                self._instance, self._last = page["instance"], 0
                continue
            if page["first"] > self._last + 1:
                self._on_gap(self._last + 1, page["first"] - 1)
            for event in page["events"]:
                self._last = event["seq"]
                yield event
            if len(page["events"]) < _EVENTS_PER_READ:
                return

    def take(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """One live event: given out if it is the next, after what it shows to be missing."""
        if event["seq"] > self._last + 1:
            yield from self.catch_up()
        if event["seq"] == self._last + 1:
            self._last = event["seq"]
            yield event


class _Silence:
    """How long to wait for the next event, and when its absence is too long."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self.broken()

    def broken(self) -> None:
        """An event has come."""
        self._waits = 0
        self._deadline = None if self._timeout is None else time.monotonic() + self._timeout

    def next_wait_ms(self) -> int:
        """Raises TimedOut when there is nothing left to wait for."""
        wait_s = _IDLE_S[min(self._waits, len(_IDLE_S) - 1)]
        self._waits += 1
        if self._deadline is not None:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimedOut(f"no event within {self._timeout:g} s")
            wait_s = min(wait_s, left_s)
        return int(wait_s * 1000) + 1


def _received(stream: zmq.Socket[bytes]) -> Iterator[dict[str, Any]]:
    """Every event that has arrived."""
    while True:
        try:
            frames = stream.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        if len(frames) == 2:
            try:
                yield read_event(frames[1])
            except MalformedFrame:
                continue
