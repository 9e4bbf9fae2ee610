"""What the root writes itself: the rest in a pipe whose logger is gone for good."""

from __future__ import annotations

import contextlib
import os
import time

from supervisor_tree.runtime.logs.book import file_of, format_batch, lost_text, prefix_of
from supervisor_tree.runtime.logs.redaction import Redaction
from supervisor_tree.runtime.logs.state import Stream, StreamLife
from supervisor_tree.runtime.logs.wire import Journal, discard, settle

__all__ = ["write_rest"]

_BLOCK = 1024 * 1024


def write_rest(stream: Stream, life: StreamLife, log_dir: str, journal: Journal, sink: int) -> None:
    """What a logger that is gone for good has left of one pipe, to its file.

    `sink` is the reading end of the pipe that `wire` tells of.  OSError: it cannot be written.
    """
    file = file_of(log_dir, life.path)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while block := os.read(stream.fd, _BLOCK):
            data += block
    intent = journal.read()
    if intent is not None and intent.key == stream.key:
        data = data[settle(journal, sink, file) :]
        journal.clear()
        discard(sink)
    who = (life.pid, life.generation)
    batch = b""
    if stream.torn:
        data = data[data.find(b"\n") + 1 or len(data) :]
    if stream.lost_lines:
        text = lost_text(stream.lost_lines)
        batch += format_batch(text, prefix_of(time.time(), life.path, "note", *who))
    if data and life.logs["redact"]:
        data = Redaction(life.logs["redact"]).lines(data)
    if data:
        batch += format_batch(data, prefix_of(time.time(), life.path, stream.name, *who))
    if batch:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "ab", buffering=0) as handle:
            handle.write(batch)
