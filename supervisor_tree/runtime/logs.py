"""The root's side of the logs: it keeps the pipes, the logger empties them.

The root never reads a pipe while a logger is there; it gives the logger duplicates and
closes its own when the logger says that a pipe has ended and is empty.  So a logger may be
killed at any time, and the next one finds everything that had not been written.

While no logger is connected the pipes fill.  For `OUTAGE_S` nothing is done about it: a new
logger is there within milliseconds, and no line is lost.  If it takes longer, the root
throws away the oldest bytes of pipes that are filling up, and counts: children do not block
on logs.  The next logger writes how much was lost.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from supervisor_tree.core.specs import Logs
from supervisor_tree.runtime.hostlog import OwnLines
from supervisor_tree.runtime.logbook import file_of, format_batch, lost_text, prefix_of
from supervisor_tree.runtime.logstate import LogStats, Stream, StreamLife, spare_pages
from supervisor_tree.runtime.logwire import (
    Disconnected,
    Journal,
    discard,
    receive,
    send,
    settle,
    unread,
)

__all__ = ["OUTAGE_S", "LogStreams"]

OUTAGE_S = 3.0
_SOCKET_NAME = "logger.sock"
_PIPE_SIZE = 256 * 1024
_SINK_SIZE = 1024 * 1024
_SWEEP_S = 1.0  # while discarding: a second look at all pipes, besides what epoll tells
_PEERCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_EDGE = select.EPOLLIN | select.EPOLLET


class LogStreams:
    """Owns the read ends of all children's output.  Nothing here blocks.

    `clock` is monotonic time in seconds.  The caller watches `sockets()`, and calls
    `tick` when `due` says so.  `max_streams` bounds what the lives of a crashing child can
    pile up while there is no logger.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, max_streams: int = 8192
    ) -> None:
        self._clock = clock
        self._max_streams = max_streams
        self._expected_pid: int | None = None
        self._lives: dict[int, StreamLife] = {}  # by key of each of their streams
        self._streams: dict[int, Stream] = {}
        self._by_fd: dict[int, Stream] = {}
        self._next_key = 2
        self._epoll = select.epoll()
        self._listener: socket.socket | None = None
        self._address = ""
        self._connection: socket.socket | None = None
        self._queue: list[tuple[list[Any], StreamLife | None]] = []
        self._away_since: float | None = clock()
        self._discarding = False
        self._sweep_at = 0.0
        self._retry_at = 0.0
        self._memory = os.memfd_create("logger-journal", os.MFD_CLOEXEC)
        os.ftruncate(self._memory, os.sysconf("SC_PAGESIZE"))
        self._journal = Journal(self._memory)
        self._sink = os.pipe2(os.O_CLOEXEC)
        self._pages_left = spare_pages()
        self._widen(self._sink[1], _SINK_SIZE)
        self._own: OwnLines | None = None
        self._connections = self._lines = self._bytes = self._dropped = 0
        self._lost_lines = self._lost_bytes = 0

    # -- for the host -----------------------------------------------------------------

    def listen(self, run_dir: str) -> None:
        """Make the socket that the logger connects to.  OSError: the directory will not do."""
        self._address = os.path.join(run_dir, _SOCKET_NAME)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._address)  # the run directory is locked: it is a dead host's
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._listener.bind(self._address)
        os.chmod(self._address, 0o600)
        self._listener.listen(8)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)

    def sockets(self) -> list[tuple[int, Callable[[], None]]]:
        """What to watch for reading, and what to call then.  Never changes."""
        return [(self._epoll.fileno(), self.handle)]

    def expect(self, pid: int | None) -> None:
        """Take connections of this process only; None: of any process of this user."""
        self._expected_pid = pid

    @property
    def connected(self) -> bool:
        """Whether a logger is there."""
        return self._connection is not None

    @property
    def stats(self) -> LogStats:
        """Counters; see there."""
        return LogStats(
            connected=self.connected,
            connections=self._connections,
            streams=len(self._streams),
            lines=self._lines,
            bytes=self._bytes,
            dropped=self._dropped,
            lost_lines=self._lost_lines,
            lost_bytes=self._lost_bytes,
            own_dropped=self._own.dropped if self._own else 0,
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
    ) -> None:
        """Take over the read ends of one life's output (-1: there is none)."""
        limits = logs or Logs()
        life = StreamLife(
            path, generation, pid, [limits.rotation, limits.retention, limits.total_bytes], []
        )
        key, self._next_key = self._next_key, self._next_key + 2
        for number, (name, fd) in enumerate((("out", stdout), ("err", stderr))):
            if fd < 0:
                continue
            os.set_blocking(fd, False)
            self._widen(fd, _PIPE_SIZE)
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
        if self._discarding:
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
            elif self._listener is not None and fd == self._listener.fileno():
                self._accept(self._listener)
            elif self._connection is not None and fd == self._connection.fileno():
                if event & select.EPOLLOUT:
                    self._flush()
                if event & ~select.EPOLLOUT:
                    self._heed_logger()

    def close(self, log_dir: str | None = None) -> None:
        """End, after the logger.  What it has left is written to `log_dir` here and now."""
        if self._connection is not None:
            self._heed_logger()
        if self._connection is not None:
            self._lose_connection()
        if self._own is not None:
            self._own.close()
        for stream in list(self._streams.values()):
            if log_dir is not None:
                with contextlib.suppress(OSError):
                    self._write_out(stream, log_dir)
            self._release(stream)
        if self._listener is not None:
            self._listener.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._address)
        self._epoll.close()
        self._journal.close()
        for fd in (self._memory, *self._sink):
            os.close(fd)

    # -- the connection ---------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # gone again, or no descriptor left: the logger comes again
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
        pid, uid, _ = _PEERCRED.unpack(credentials)
        if uid not in {os.geteuid(), 0} or self._expected_pid not in {None, pid}:
            connection.close()
            return
        if self._connection is not None:
            self._lose_connection()
        connection.setblocking(False)
        self._connection = connection
        self._connections += 1
        self._away_since = None
        self._stop_discarding()
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        lives = {id(life): life for life in self._lives.values()}
        for stream in self._streams.values():
            stream.handed = False
        self._queue = [(["hello"], None)]
        self._queue += [([], life) for life in lives.values()]
        self._queue.append((["live"], None))
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
            self._lose_connection()
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
        frame = ["life", heads, life.path, life.pid, life.generation, life.limits]
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
            case ["closed", int(key), int(lines), int(count), int(dropped)]:
                self._lines += lines
                self._bytes += count
                self._dropped += dropped
                stream = self._streams.get(key)
                if stream is not None:
                    self._release(stream)
            case ["again", list(keys)]:
                for stream in (self._streams[key] for key in keys if key in self._streams):
                    stream.handed = False
                    self._queue.append(([], self._lives[stream.key]))
                self._retry_at = self._clock() + _SWEEP_S

    # -- the pipes --------------------------------------------------------------------

    def _widen(self, pipe: int, size: int) -> None:
        """Make a pipe hold more, where this user's share of pipe memory allows."""
        pages = size // os.sysconf("SC_PAGESIZE")
        if pages > self._pages_left:
            return
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
            self._pages_left -= pages

    def _stop_discarding(self) -> None:
        if self._discarding:
            self._discarding = False
            for stream in self._streams.values():
                self._epoll.unregister(stream.fd)

    def _relieve(self, stream: Stream) -> None:
        """Throw the oldest bytes of a pipe away if it is about to be full.

        A pipe whose pages are half used takes no more at half its size, hence 3/8.
        """
        capacity = fcntl.fcntl(stream.fd, fcntl.F_GETPIPE_SZ)
        waiting = unread(stream.fd)
        if waiting >= capacity * 3 // 8:
            self._lose(stream, waiting - capacity // 8)

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
        self._lost_lines += lines
        self._lost_bytes += len(data)

    def _evict(self) -> None:
        """Give up the oldest life that has ended: crashes must not use up all descriptors."""
        poll = select.poll()
        for stream in self._streams.values():
            poll.register(stream.fd, 0)
        hung_up = {fd for fd, _ in poll.poll(0)}
        for stream in list(self._streams.values()):
            if stream.fd in hung_up and not stream.handed:
                self._lose(stream, max(1, unread(stream.fd)))
                self._release(stream)
                return

    def _release(self, stream: Stream) -> None:
        if self._discarding:
            self._epoll.unregister(stream.fd)
        pages = fcntl.fcntl(stream.fd, fcntl.F_GETPIPE_SZ) // os.sysconf("SC_PAGESIZE")
        if pages == _PIPE_SIZE // os.sysconf("SC_PAGESIZE"):
            self._pages_left += pages
        os.close(stream.fd)
        del self._by_fd[stream.fd], self._streams[stream.key]
        self._lives.pop(stream.key).streams.remove(stream)

    def _write_out(self, stream: Stream, log_dir: str) -> None:
        """What a logger that is gone for good has left of one pipe, to its file."""
        life = self._lives[stream.key]
        file = file_of(log_dir, life.path)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while block := os.read(stream.fd, _SINK_SIZE):
                data += block
        intent = self._journal.read()
        if intent is not None and intent.key == stream.key:
            data = data[settle(self._journal, self._sink[0], file) :]
            self._journal.clear()
            discard(self._sink[0])
        who = (life.pid, life.generation)
        batch = b""
        if stream.torn:
            data = data[data.find(b"\n") + 1 or len(data) :]
        if stream.lost_lines:
            text = lost_text(stream.lost_lines)
            batch += format_batch(text, prefix_of(time.time(), life.path, "note", *who))
        if data:
            batch += format_batch(data, prefix_of(time.time(), life.path, stream.name, *who))
        if batch:
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "ab", buffering=0) as handle:
                handle.write(batch)
