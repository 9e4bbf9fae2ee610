"""The process `/_/logger`: takes what children write from their pipes to their log files.

The root hands it the read ends (see `streams`), and keeps them too: whatever happens here, what
has not been written is still in the pipes.  `wire` says how a batch survives a kill.

One loop, one thread.  Pipes are watched edge-triggered, as a line without its end stays in
its pipe: unread, so that it outlives this process.  It is taken at last when the pipe ends,
when it grows beyond 64 KiB or half of the pipe, or when the child has been silent for 2 s
(a prompt, a progress bar): such a piece is marked as one that the next line continues.

If a file cannot be written, lines are dropped and counted, and a note says so when writing
works again: a full disk must not stop a child.
"""

from __future__ import annotations

import functools
import os
import resource
import select
import signal
import socket
import sysconfig
import time
from collections.abc import Mapping
from typing import Any, Protocol

from supervisor_tree.core.specdata import logs_from_data
from supervisor_tree.core.specs import Logs
from supervisor_tree.notify import Notifier
from supervisor_tree.runtime.logs.awaited import Awaited
from supervisor_tree.runtime.logs.book import file_of, format_batch, lost_text, prefix_of
from supervisor_tree.runtime.logs.budget import Ages, Budget
from supervisor_tree.runtime.logs.file import LogFile
from supervisor_tree.runtime.logs.pipe import Book, Pipe, dropped_note, fitting, note, redacted
from supervisor_tree.runtime.logs.redaction import Redaction
from supervisor_tree.runtime.logs.tools import LogTools, keep_buffers
from supervisor_tree.runtime.logs.wire import (
    Disconnected,
    Intent,
    capacity,
    connect,
    receive,
    send,
    unread,
)

__all__ = ["LogWriter", "main"]

_DRAIN_S = 2.0  # a stop takes no longer, however much is still being written
_QUIET_S = 0.05  # nothing came for so long: drained
_IDLE_PARTIAL_S = 2.0
_MAX_LINE = 64 * 1024
_MAX_BATCH = 4 << 20  # bytes written at once: short lines grow by their prefix
_RETRY_S = 0.5  # before a file that could not be written is tried again
_HOUSEKEEP_S = 1.0
_CLOSE_IDLE_S = 30.0
# Between rounds while no pipe has much: a batch costs the same however few its lines are.
_PAUSE_S = 0.005
_MUCH = 16 * 1024
_EDGE = select.EPOLLIN | select.EPOLLET


class _Stopping(Protocol):
    def is_set(self) -> bool: ...

    def fileno(self) -> int: ...


class _Context(Protocol):
    @property
    def args(self) -> Mapping[str, Any]: ...

    @property
    def stopping(self) -> _Stopping: ...


def main(ctx: _Context) -> None:
    """Run until asked to stop or the root is gone.

    Arguments: `run_dir`, `log_dir`, and optionally `total_bytes`, the budget of all files, and
    `max_age`, the limit in seconds for files of those that have not written yet, None: none.
    """
    stopping = ctx.stopping
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file size limit shall be an errno
    keep_buffers()
    os.umask(0o027)  # logs are for the owner, and for a group that watches
    os.environ["TZ"] = "UTC"  # rotated files are named in UTC, as lines are
    time.tzset()
    # loguru asks for 36 of Python's own paths per file, 3 ms in all; here they never change.
    setattr(sysconfig, "get_path", functools.cache(sysconfig.get_path))  # noqa: B010
    log_dir = str(ctx.args["log_dir"])
    connection = connect(os.path.join(str(ctx.args["run_dir"]), "logger.sock"))
    total = int(ctx.args.get("total_bytes", 1_000_000_000))
    max_age = ctx.args.get("max_age")
    writer = LogWriter(connection, log_dir, total, max_age, stopping)
    try:
        writer.run()
    finally:
        writer.close()


class LogWriter:
    """The logger's loop and all it holds."""

    def __init__(
        self,
        connection: socket.socket,
        log_dir: str,
        total_bytes: int,
        max_age: float | None,
        stopping: _Stopping,
    ) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._log_dir = log_dir
        self._ages = Ages(max_age)
        self._budget = Budget(
            log_dir, total_bytes, max_age=self._ages.of, is_open=self._is_open, step=self._beat
        )
        self._enforce_at = 0.0
        self._stopping = stopping
        self._pipes: dict[int, Pipe] = {}  # by descriptor
        self._ready: dict[int, Pipe] = {}
        self._partial: dict[int, Pipe] = {}
        self._books: dict[str, Book] = {}
        self._outbox: list[list[Any]] = []
        self._tools: LogTools | None = None
        self._dropped = 0  # lines that the root has not been told of
        self._problem = ""  # as it was told last
        self._root_gone = False
        self._housekeeping_at = 0.0
        self._largest = 0  # batch of the last round
        self._epoll = select.epoll()
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self._epoll.register(stopping.fileno(), select.EPOLLIN | select.EPOLLET)

    # -- the loop ---------------------------------------------------------------------

    def run(self) -> None:
        """Until asked to stop, or the root is gone: then what is there is written, no more."""
        while not (self._stopping.is_set() or self._root_gone):
            self._turn(self._timeout())
            if 0 < self._largest < _MUCH:
                time.sleep(_PAUSE_S)
        deadline = time.monotonic() + _DRAIN_S
        while time.monotonic() < deadline:
            if not self._turn(0.0 if self._ready else _QUIET_S) and not self._ready:
                break
        self._write_notes(time.monotonic(), last=True)
        self._tell_dropped()
        self._flush_outbox()

    def close(self) -> None:
        """Let go of everything."""
        for book in self._books.values():
            book.file.release()
        for pipe in self._pipes.values():
            os.close(pipe.fd)
        self._epoll.close()
        self._connection.close()
        if self._tools is not None:
            self._tools.close()

    def _timeout(self) -> float:
        if self._ready:
            return 0.0
        wake = [self._enforce_at]
        wake += [self._housekeeping_at] if self._housekeeping_at else []
        wake += [min(pipe.waits_until for pipe in self._partial.values())] if self._partial else []
        return max(0.0, min(wake) - time.monotonic())

    def _turn(self, timeout: float) -> int:
        """Wait, then write one batch of each pipe that has one.  Returns the number of events."""
        events = self._epoll.poll(timeout)
        self._beat()
        for fd, event in events:
            pipe = self._pipes.get(fd)
            if pipe is not None:
                pipe.hung_up = pipe.hung_up or bool(event & select.EPOLLHUP)
                self._ready[fd] = pipe
            elif fd == self._connection.fileno():
                self._heed_root()
        now = time.monotonic()
        for pipe in [pipe for pipe in self._partial.values() if pipe.waits_until <= now]:
            self._ready[pipe.fd] = pipe
        self._largest = 0
        for pipe in list(self._ready.values()):
            if not self._serve(pipe, now):
                del self._ready[pipe.fd]
        if self._housekeeping_at and now >= self._housekeeping_at:
            self._keep_house(now)
        if now >= self._enforce_at:
            self._enforce_budget()
        self._flush_outbox()
        return len(events)

    def _beat(self) -> None:
        """Every step that may take its time is followed by this: slow is not frozen."""
        if self._tools is not None:
            self._tools.journal.beat()

    # -- one pipe ---------------------------------------------------------------------

    def _serve(self, pipe: Pipe, now: float) -> bool:
        """Write one batch.  True if there may be more to write now."""
        self._beat()
        tools = self._tools
        data = None if tools is None else tools.peek(pipe.fd)
        if tools is None or data is None:
            if pipe.hung_up:
                self._finish(pipe)
            return False
        taken, partial = self._cut(pipe, data, tools.peek_size // 2, now)
        if taken == 0:
            return False
        self._partial.pop(pipe.fd, None)
        pipe.waits_until, pipe.seen = 0.0, 0
        skipped = 0
        if pipe.torn:
            skipped = data.find(b"\n", 0, taken) + 1 or taken
            pipe.torn = not data.endswith(b"\n", 0, skipped)
        if pipe.awaited is not None and (word := pipe.awaited.look(data, skipped, taken)):
            # Before it is consumed: who is killed meanwhile leaves it to the next one.
            self._outbox.append([word, pipe.key])
            self._flush_outbox()
        if skipped < taken:
            taken = self._write(pipe, data, skipped, taken, partial=partial, now=now)
        tools.consume(pipe.fd, taken)
        self._largest = max(self._largest, taken)
        return True

    def _cut(self, pipe: Pipe, data: bytes, most: int, now: float) -> tuple[int, bool]:
        """How many bytes to take, and whether they end within a line.  0: wait for more.

        `most`: of a line that has not ended.
        """
        taken = data.rfind(b"\n") + 1
        if taken:
            return taken, False
        if pipe.hung_up and len(data) == unread(pipe.fd):
            return len(data), False
        limit = min(_MAX_LINE, most, capacity(pipe.fd) // 2)
        if len(data) >= limit:
            return min(len(data), _MAX_LINE), True
        if pipe.redaction is not None:
            return 0, False  # what is still to come may make a secret of it
        if pipe.waits_until and now >= pipe.waits_until and len(data) == pipe.seen:
            return len(data), True
        if len(data) != pipe.seen:
            pipe.seen, pipe.waits_until = len(data), now + _IDLE_PARTIAL_S
            self._partial[pipe.fd] = pipe
        return 0, False

    def _write(  # noqa: PLR0913
        self, pipe: Pipe, data: bytes, start: int, end: int, *, partial: bool, now: float
    ) -> int:
        """Write `data[start:end]`, or as many of its lines as make one batch.

        Returns where the batch has ended; what could not be written counts as done, dropped.
        """
        book = pipe.book
        prefix = prefix_of(
            time.time(), pipe.path, pipe.name, pipe.pid, pipe.generation, partial=partial
        )
        end = fitting(data, start, end, min(_MAX_BATCH, book.file.limits.rotation), len(prefix))
        body = data[start:end]
        if pipe.redaction is not None:
            body, end = redacted(pipe.redaction, body, start, partial=partial)
            if partial and not body:
                return end  # hidden, or held back until there is more
        batch = format_batch(body, prefix)
        lines = data.count(b"\n", start, end) or 1
        pipe.bytes += end - start
        if now < book.retry_at or not self._append(pipe, book, batch, end, now):
            book.dropped += lines
            self._dropped += lines
            self._housekeeping_at = self._housekeeping_at or now + _HOUSEKEEP_S
        else:
            pipe.lines += lines
        return end

    def _append(self, pipe: Pipe, book: Book, batch: bytes, taken: int, now: float) -> bool:
        """To the file, with a note of what was dropped before.  False: it cannot be written."""
        journal = None if self._tools is None else self._tools.journal
        told = dropped_note(book, pipe) if book.dropped else b""
        batch = told + batch

        def placed(state: os.stat_result) -> None:
            if journal is not None and taken:
                where = (state.st_dev, state.st_ino, state.st_size)
                journal.write(Intent(pipe.key, taken, len(batch), *where))

        try:
            book.file.append(batch, placed)
        except OSError as error:
            book.problem = error.strerror or str(error)
            book.retry_at = now + _RETRY_S
            book.owner = pipe
            return False
        book.dropped = 0
        book.used_at = now
        self._housekeeping_at = self._housekeeping_at or now + _HOUSEKEEP_S
        if self._budget.spend(len(batch)) or book.file.rotated:
            book.file.rotated = False
            self._enforce_budget()
        return True

    def _finish(self, pipe: Pipe) -> None:
        """The pipe is at its end and empty: the root may let go of it."""
        # The root holds the same open pipe, so closing our descriptor would not unregister it.
        self._epoll.unregister(pipe.fd)
        os.close(pipe.fd)
        del self._pipes[pipe.fd]
        pipe.book.pipes -= 1
        self._partial.pop(pipe.fd, None)
        self._tell_dropped()
        self._outbox.append(["closed", pipe.key, pipe.lines, pipe.bytes])

    def _tell_dropped(self) -> None:
        """How many lines since the last time, and why; that it is over, too."""
        problems = [book.problem for book in self._books.values() if book.dropped]
        problem = problems[0] if problems else ""
        if self._dropped or problem != self._problem:
            self._outbox.append(["dropped", self._dropped, problem])
            self._dropped, self._problem = 0, problem

    # -- the root ---------------------------------------------------------------------

    def _heed_root(self) -> None:
        try:
            while True:
                frame, fds, lost = receive(self._connection)
                self._on_frame(frame, fds, lost)
        except BlockingIOError:
            return
        except Disconnected:
            self._root_gone = True
            self._epoll.unregister(self._connection.fileno())

    def _on_frame(self, frame: list[Any], fds: list[int], lost: bool) -> None:
        self._beat()
        match frame:
            case ["hello"] if len(fds) == 3:
                self._tools = LogTools(*fds)
            case ["life", streams, path, pid, generation, said, awaited]:
                limits = logs_from_data(said)
                if lost or len(fds) != len(streams):
                    for fd in fds:
                        os.close(fd)
                    self._outbox.append(["again", [stream[0] for stream in streams]])
                    return
                line = Awaited(awaited) if awaited else None
                for (key, name, discarded, torn), fd in zip(streams, fds, strict=True):
                    pipe = Pipe(key, fd, name, (path, pid, generation))
                    pipe.awaited = line
                    self._adopt(pipe, limits, discarded, torn)
            case ["live"]:
                if self._tools is not None:
                    self._tools.clear()
                Notifier.from_environment().ready()
            case ["reopen"]:
                for book in self._books.values():
                    book.file.release()
            case _:  # a ping too: that it was read shows already
                for fd in fds:
                    os.close(fd)

    def _adopt(self, pipe: Pipe, limits: Logs, discarded: int, torn: bool) -> None:
        file = file_of(self._log_dir, pipe.path)
        book = self._books.get(file)
        if book is None:
            book = self._books[file] = Book(LogFile(file, limits))
        book.file.limits = limits
        self._ages.learn(file, limits.max_age)
        pipe.book = book
        book.pipes += 1
        pipe.redaction = Redaction(limits.redact) if limits.redact else None
        pipe.torn = torn
        if self._tools is not None:
            self._tools.settle(pipe.key, pipe.fd, file)
        if discarded:
            self._append(pipe, book, note(pipe, lost_text(discarded)), 0, time.monotonic())
        self._pipes[pipe.fd] = pipe
        self._epoll.register(pipe.fd, _EDGE)

    def _flush_outbox(self) -> None:
        try:
            while self._outbox and not self._root_gone:
                send(self._connection, self._outbox[0])
                del self._outbox[0]
        except BlockingIOError:
            self._housekeeping_at = self._housekeeping_at or time.monotonic() + _HOUSEKEEP_S
        except Disconnected:
            self._root_gone = True

    # -- the files --------------------------------------------------------------------

    def _keep_house(self, now: float) -> None:
        """Write notes that wait, close files that nobody writes."""
        self._housekeeping_at = 0.0
        self._write_notes(now)
        self._tell_dropped()
        waits = bool(self._outbox)
        for name, book in list(self._books.items()):
            if book.file.is_open and now - book.used_at >= _CLOSE_IDLE_S:
                book.file.release()
            waits = waits or book.file.is_open or book.dropped > 0
            if not (book.file.is_open or book.dropped or book.pipes):
                del self._books[name]
        if waits:
            self._housekeeping_at = now + _HOUSEKEEP_S

    def _write_notes(self, now: float, *, last: bool = False) -> None:
        for book in self._books.values():
            if book.dropped and book.owner is not None and (last or now >= book.retry_at):
                self._append(book.owner, book, b"", 0, now)

    def _enforce_budget(self) -> None:
        self._budget.shortest_age = self._ages.shortest
        for file in self._budget.enforce(time.time()):
            self._books[file].file.rotate_next = True
        self._enforce_at = time.monotonic() + self._budget.interval_s

    def _is_open(self, file: str) -> bool:
        book = self._books.get(file)
        return book is not None and book.file.is_open
