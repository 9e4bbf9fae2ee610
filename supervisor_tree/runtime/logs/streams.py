"""The root's side of the logs: it keeps the pipes, the logger empties them.

The root never reads a pipe while a logger is there; it gives the logger duplicates and
closes its own when the logger says that a pipe has ended and is empty.  So a logger may be
killed at any time, and the next one finds everything that had not been written.

While no logger is connected the pipes fill.  For `OUTAGE_S` nothing is done about it: a new
logger is there within milliseconds, and no line is lost.  If it takes longer, the root
throws away the oldest bytes of pipes that are filling up, and counts: children do not block
on logs.  The next logger writes how much was lost.

A logger that is there and does nothing (stopped, or waiting for a disk) is found out by its
pulse: the root asks it for a sign of life every `_LOOK_S`.  After `_PATIENCE` looks without
one it counts as dead: its connection is given up, and whoever runs the logger is told.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import Logs
from supervisor_tree.runtime.infrastructure import LOGGER
from supervisor_tree.runtime.logs.door import Door
from supervisor_tree.runtime.logs.hostlog import OwnLines
from supervisor_tree.runtime.logs.rest import write_rest
from supervisor_tree.runtime.logs.state import (
    Counters,
    LogStats,
    PipeRoom,
    Stream,
    StreamLife,
    limits_of,
)
from supervisor_tree.runtime.logs.wire import (
    Disconnected,
    Journal,
    capacity,
    discard,
    hung_up,
    journal_memory,
    receive,
    send,
    unread,
)
from supervisor_tree.runtime.pulse import Pulse

__all__ = ["OUTAGE_S", "LogStreams"]

OUTAGE_S = 3.0
_PIPE_SIZE = 256 * 1024
_SINK_SIZE = 1024 * 1024
_SWEEP_S = 1.0  # while discarding: a second look at all pipes, besides what epoll tells
_LOOK_S = 1.0
_PATIENCE = 2
_FROZEN_S = _LOOK_S * _PATIENCE
_SLOW_PATTERN = (
    "the pattern of ready.log takes too long for what this child writes, and holds the lines of "
    "all up; it is given up for this life, which will not be ready by a line"
)
_EDGE = select.EPOLLIN | select.EPOLLET


class LogStreams:
    """Owns the read ends of all children's output.  Nothing here blocks.

    `clock` is monotonic time in seconds.  The caller watches `sockets()`, and calls
    `tick` when `due` says so.  `max_streams` bounds what the lives of a crashing child can
    pile up while there is no logger.  `redact` holds for all, beside their own.  `on_frozen` is
    called when the logger that is connected has stopped working: it should be ended by force;
    `on_problem` with why files cannot be written, and with "" when they can; `on_seen` with path
    and generation of a life that has written the line which shows it to be ready, `on_given_up`
    with those of one whose lines are not looked at any more; `tell` with what to tell an operator.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_streams: int = 8192,
        redact: tuple[str, ...] = (),
        on_frozen: Callable[[], None] = lambda: None,
        on_problem: Callable[[str], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.on_frozen = on_frozen
        self.on_problem = on_problem
        self.on_seen: Callable[[str, int], None] = lambda _path, _generation: None
        self.on_given_up: Callable[[str, int], None] = lambda _path, _generation: None
        self._tell = tell
        self._clock = clock
        self._max_streams = max_streams
        self._redact = redact
        self._pulse = Pulse(_PATIENCE)
        self._look_at = 0.0
        self._lives: dict[int, StreamLife] = {}  # by key of each of their streams
        self._streams: dict[int, Stream] = {}
        self._by_fd: dict[int, Stream] = {}
        self._next_key = 2
        self._epoll = select.epoll()
        self._door = Door(self._epoll, clock, tell)
        self.listen, self.expect = self._door.listen, self._door.expect
        self._connection: socket.socket | None = None
        self._queue: list[tuple[list[Any], StreamLife | None]] = []
        self._away_since: float | None = clock()
        self._discarding = False
        self._sweep_at = 0.0
        self._retry_at = 0.0
        self._memory = journal_memory()
        self._journal = Journal(self._memory)
        self._sink = os.pipe2(os.O_CLOEXEC)
        self._room = PipeRoom()
        self._room.widen(self._sink[1], _SINK_SIZE)
        self._own: OwnLines | None = None
        self._counters = Counters()

    # -- for the host -----------------------------------------------------------------

    def sockets(self) -> list[tuple[int, Callable[[], None]]]:
        """What to watch for reading, and what to call then.  Never changes."""
        return [(self._epoll.fileno(), self.handle)]

    def heard(self, event: LifecycleEvent) -> None:
        """The logger is the process that the launcher has told of, while it is there."""
        if event.path == LOGGER and event.event is EventName.CHILD_STARTED:
            self.expect(event.pid)
        elif event.path == LOGGER and event.event is EventName.CHILD_EXITED:
            self.expect(None)

    @property
    def address(self) -> str:
        """The path of the socket that the logger connects to."""
        return self._door.address

    @property
    def connected(self) -> bool:
        """Whether a logger is there."""
        return self._connection is not None

    @property
    def stats(self) -> LogStats:
        """Counters; see there."""
        return LogStats(
            connected=self.connected,
            streams=len(self._streams),
            own_dropped=self._own.dropped if self._own else 0,
            **asdict(self._counters),
        )

    def attach(  # noqa: PLR0913
        self,
        path: str,
        generation: int,
        pid: int,
        *,
        stdout: int = -1,
        stderr: int = -1,
        logs: Logs | None = None,
        awaited: str = "",
    ) -> None:
        """Take over the read ends of one life's output (-1: there is none)."""
        limits = limits_of(logs or Logs(), self._redact)
        life = StreamLife(path, generation, pid, limits, [], awaited)
        key, self._next_key = self._next_key, self._next_key + 2
        for number, (name, fd) in enumerate((("stdout", stdout), ("stderr", stderr))):
            if fd < 0:
                continue
            os.set_blocking(fd, False)
            self._room.widen(fd, _PIPE_SIZE)
            stream = Stream(key + number, name, fd)
            life.streams.append(stream)
            self._streams[stream.key] = self._by_fd[fd] = stream
            self._lives[stream.key] = life
            if self._discarding:
                self._epoll.register(fd, _EDGE)
        if not life.streams:
            return
        if len(self._streams) > self._max_streams:
            self._evict()
        if self._connection is not None:
            self._queue.append(([], life))
            self._flush()

    def carries(self, path: str) -> bool:
        """Whether output of this child is still on its way to its file."""
        return any(life.path == path for life in self._lives.values())

    def own_writer(self, logs: Logs | None = None) -> Callable[[str], None]:
        """A function that writes the root's own lines, to `host.log`; it drops, never blocks."""
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._own = OwnLines(write)
        self.attach("/", 1, os.getpid(), stdout=read, logs=logs)
        return self._own.write

    def reopen(self) -> None:
        """Have the logger close its files and open them anew when next written (SIGUSR1)."""
        if self._connection is not None:
            self._queue.append((["reopen"], None))
            self._flush()

    def due(self) -> float | None:
        """When `tick` wants to be called, on `clock`; None: not for now."""
        times = [self._retry_at] if self._retry_at else []
        if self._connection is not None:
            times.append(self._look_at)
        elif self._discarding:
            times.append(self._sweep_at)
        elif self._away_since is not None and self._streams:
            times.append(self._away_since + OUTAGE_S)
        return min(times) if times else None

    def tick(self) -> None:
        """Do what is due."""
        now = self._clock()
        if self._retry_at and now >= self._retry_at:
            self._retry_at = 0.0
            self._flush()
        if self._connection is not None and now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look_after_logger(now)
        if self._away_since is None or now < self._away_since + OUTAGE_S:
            return
        if not self._discarding:
            self._discarding = True
            for stream in self._streams.values():
                self._epoll.register(stream.fd, _EDGE)
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_S
            for stream in list(self._streams.values()):
                self._relieve(stream)

    def handle(self) -> None:
        """Do what the descriptors of `sockets` call for."""
        for fd, event in self._epoll.poll(0):
            stream = self._by_fd.get(fd)
            if stream is not None:
                if self._discarding:
                    self._relieve(stream)
            elif self._door.is_at(fd):
                connection = self._door.answer()
                if connection is not None:
                    self._begin(connection)
            elif self._connection is not None and fd == self._connection.fileno():
                if event & select.EPOLLOUT:
                    self._flush()
                if event & ~select.EPOLLOUT:
                    self._heed_logger()

    def close(self, log_dir: str | None = None) -> None:
        """End, after the logger.  What it has left is written to `log_dir` here and now."""
        self._heed_logger()
        self._lose_connection()
        if self._own is not None:
            self._own.close()
        for stream in list(self._streams.values()):
            if log_dir is not None:
                with contextlib.suppress(OSError):
                    life = self._lives[stream.key]
                    write_rest(stream, life, log_dir, self._journal, self._sink[0])
            self._release(stream)
        self._door.close()
        self._epoll.close()
        self._journal.close()
        for fd in (self._memory, *self._sink):
            os.close(fd)

    # -- the connection ---------------------------------------------------------------

    def _begin(self, connection: socket.socket) -> None:
        self._heed_logger()  # the last words of the former one
        self._lose_connection()
        self._connection = connection
        self._counters.connections += 1
        self._away_since = None
        self._pulse.begin()
        self._note_problem("")  # a new logger finds out for itself
        self._look_at = self._clock() + _LOOK_S
        self._stop_discarding()
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        lives = {id(life): life for life in self._lives.values()}
        for stream in self._streams.values():
            stream.handed = False
        self._queue = [(["hello"], None)]
        self._queue += [([], life) for life in lives.values()]
        self._queue.append((["live"], None))
        self._flush()

    def _look_after_logger(self, now: float) -> None:
        """Ask for a sign of life, unless the answer to the last time is not there in time."""
        if self._pulse.look(self._journal.beats):
            self._lose_connection()
            self._away_since = now - _FROZEN_S
            self.on_frozen()
        elif not self._queue:
            self._queue.append((["ping"], None))
            self._flush()

    def _lose_connection(self) -> None:
        if self._connection is None:
            return
        self._epoll.unregister(self._connection.fileno())
        self._connection.close()
        self._connection = None
        self._queue = []
        self._retry_at = 0.0
        self._away_since = self._clock()
        self._sweep_at = 0.0

    def _flush(self) -> None:
        """Send what is queued, as far as there is room."""
        done = 0
        connection = self._connection
        if connection is None:
            return
        mask = select.EPOLLIN
        try:
            for frame, life in self._queue:
                if life is not None:
                    self._send_life(connection, life)
                elif frame == ["hello"]:
                    send(connection, frame, (self._memory, *self._sink))
                else:
                    send(connection, frame)
                done += 1
        except BlockingIOError:
            mask |= select.EPOLLOUT
        except Disconnected:
            self._heed_logger()
            return
        except OSError as error:
            if error.errno not in {errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM}:
                raise
            self._retry_at = self._clock() + 0.05  # descriptors in flight: the logger is busy
        del self._queue[:done]
        self._epoll.modify(connection.fileno(), mask)

    def _send_life(self, connection: socket.socket, life: StreamLife) -> None:
        streams = [stream for stream in life.streams if not stream.handed]
        if not streams:
            return
        heads = [[s.key, s.name, s.lost_lines, s.torn] for s in streams]
        frame = ["life", heads, life.path, life.pid, life.generation, life.logs, life.awaited]
        send(connection, frame, tuple(stream.fd for stream in streams))
        for stream in streams:
            stream.handed = True
            stream.lost_lines, stream.torn = 0, False

    def _heed_logger(self) -> None:
        try:
            while self._connection is not None:
                frame, fds, _ = receive(self._connection)
                for fd in fds:
                    os.close(fd)
                self._on_frame(frame)
        except BlockingIOError:
            return
        except Disconnected:
            self._lose_connection()

    def _on_frame(self, frame: list[Any]) -> None:
        match frame:
            case ["closed", int(key), int(lines), int(count)]:
                self._counters.lines += lines
                self._counters.bytes += count
                stream = self._streams.get(key)
                if stream is not None:
                    self._release(stream)
            case ["dropped", int(lines), str(problem)]:
                self._counters.dropped += lines
                self._note_problem(problem)
            case ["seen", int(key)] if key in self._lives:
                life = self._lives[key]
                life.awaited = ""
                self.on_seen(life.path, life.generation)
            case ["given_up", int(key)] if key in self._lives:
                life = self._lives[key]
                life.awaited = ""
                self._tell(f"{life.path}: {_SLOW_PATTERN}")
                self.on_given_up(life.path, life.generation)
            case ["again", list(keys)]:
                for stream in (self._streams[key] for key in keys if key in self._streams):
                    stream.handed = False
                    self._queue.append(([], self._lives[stream.key]))
                self._retry_at = self._clock() + _SWEEP_S

    def _note_problem(self, problem: str) -> None:
        if problem != self._counters.problem:
            self._counters.problem = problem
            self.on_problem(problem)

    # -- the pipes --------------------------------------------------------------------

    def _stop_discarding(self) -> None:
        if self._discarding:
            self._discarding = False
            for stream in self._streams.values():
                self._epoll.unregister(stream.fd)

    def _relieve(self, stream: Stream) -> None:
        """Throw the oldest bytes of a pipe away if it is about to be full.

        A pipe whose pages are half used takes no more at half its size, hence 3/8.
        """
        room = capacity(stream.fd)
        waiting = unread(stream.fd)
        if waiting >= room * 3 // 8:
            self._lose(stream, waiting - room // 8)

    def _lose(self, stream: Stream, count: int) -> None:
        try:
            data = os.read(stream.fd, count)
        except BlockingIOError:
            return
        intent = self._journal.read()
        if intent is not None and intent.key == stream.key:
            # The dead logger's batch stood at the head of what is gone now.
            self._journal.clear()
            discard(self._sink[0])
        # A line counts when its beginning is lost; its rest, torn off, is lost with it.
        torn = not data.endswith(b"\n")
        lines = data.count(b"\n") + torn - stream.torn
        stream.torn = torn
        stream.lost_lines += lines
        self._counters.lost_lines += lines
        self._counters.lost_bytes += len(data)

    def _evict(self) -> None:
        """Give up the oldest life that has ended: crashes must not use up all descriptors."""
        ended = hung_up(self._by_fd)
        for stream in list(self._streams.values()):
            if stream.fd in ended and not stream.handed:
                self._lose(stream, max(1, unread(stream.fd)))
                self._release(stream)
                return

    def _release(self, stream: Stream) -> None:
        if self._discarding:
            self._epoll.unregister(stream.fd)
        self._room.give_back(stream.fd, _PIPE_SIZE)
        os.close(stream.fd)
        del self._by_fd[stream.fd], self._streams[stream.key]
        self._lives.pop(stream.key).streams.remove(stream)
