"""What the logger remembers of each pipe and of each file, and what it says about them."""

from __future__ import annotations

import time

from supervisor_tree.runtime.logs.awaited import Awaited
from supervisor_tree.runtime.logs.book import format_batch, prefix_of
from supervisor_tree.runtime.logs.file import LogFile
from supervisor_tree.runtime.logs.redaction import Redaction

__all__ = ["Book", "Pipe", "dropped_note", "fitting", "note", "redacted"]


class Book:
    """A log file and what could not be written to it."""

    def __init__(self, file: LogFile) -> None:
        self.file = file
        self.used_at = 0.0
        self.retry_at = 0.0
        self.dropped = 0
        self.problem = ""
        self.owner: Pipe | None = None  # in whose name a note is written
        self.pipes = 0  # that write to it


class Pipe:
    """One stream of one life."""

    def __init__(self, key: int, fd: int, name: str, life: tuple[str, int, int]) -> None:
        self.key = key
        self.fd = fd
        self.name = name
        self.path, self.pid, self.generation = life
        self.torn = False  # its next bytes are the end of a line that the root had to discard
        self.hung_up = False
        self.seen = 0  # bytes of the incomplete line at the last look
        self.waits_until = 0.0  # when an incomplete line is taken as it is; 0: there is none
        self.lines = 0
        self.bytes = 0
        self.book: Book
        self.redaction: Redaction | None = None
        self.awaited: Awaited | None = None


def fitting(data: bytes, start: int, end: int, limit: int, prefix: int) -> int:
    """The latest line end by which a batch is at most `limit` bytes long; one line at least."""
    if (end - start) * (prefix + 1) <= limit:  # nothing but line ends would fit: no need to count
        return end
    while (lines := data.count(b"\n", start, end)) > 1:
        length = end - start + lines * prefix
        if length <= limit:
            break
        middle = start + (end - start) * limit // length
        end = data.rfind(b"\n", start, middle) + 1 or data.find(b"\n", start) + 1
    return end


def redacted(redaction: Redaction, body: bytes, start: int, *, partial: bool) -> tuple[bytes, int]:
    """What may be written of `body`, which stands at `start`, and where that ends."""
    if partial:
        shown, taken = redaction.piece(body)
        return shown, start + taken
    return redaction.lines(body), start + len(body)


def note(pipe: Pipe, text: bytes) -> bytes:
    """A line of our own about the child."""
    prefix = prefix_of(time.time(), pipe.path, "note", pipe.pid, pipe.generation)
    return format_batch(text, prefix)


def dropped_note(book: Book, pipe: Pipe) -> bytes:
    """What is said once a file can be written again."""
    return note(pipe, f"dropped {book.dropped} lines: {book.problem}".encode())
