"""What each agent has sent and received, hour by hour, where its death cannot take it.

Kept in a mapped file, as `bus.record` is: what is stored there is the kernel's, so the counts
of a life that was killed stay, and the next life adds to them.  No message is sent for it; who
wants to know reads the file.  It holds words of 8 bytes:

    magic, queued, held                 now: waiting for the handler, and for other receivers
    24 x hour, in, out, redelivered, dropped

`hour` is whole hours since the epoch; the bucket of an hour is used again a day later.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from supervisor_tree.bus.place import COUNT

__all__ = [
    "HOURS",
    "Meter",
    "Remarks",
    "Traffic",
    "Words",
    "add",
    "last_day",
    "read_traffic",
    "remark",
]

Words: TypeAlias = "memoryview[int] | list[int]"

HOURS = 24
_MAGIC = int.from_bytes(b"STMETR01", sys.byteorder)
_HEAD = 3
_SIZE = 4096  # one page, most of it free
_HOUR_S = 3600

# Which of a bus's counters make up each of ours.
_COUNTS = {
    "in": ("calls", "casts", "events"),
    "out": ("sent", "published"),
    "redelivered": ("redelivered",),
    "dropped": (
        *("dropped", "full", "malformed", "unknown", "strangers", "forged", "not_allowed"),
        *("answers_dropped", "lost_with_receiver", "dead_letters"),
    ),
}
_BUCKET = 1 + len(_COUNTS)
_WORDS = _HEAD + HOURS * _BUCKET

# What a stranger or a broken peer has sent: told to the log, as nobody else would know.
_REMARKED = {
    "malformed": "{} malformed",
    "strangers": "{} from strangers",
    "unknown": "{} from processes that are no members",
}


class Traffic(NamedTuple):
    """The last 24 h of one path, over its lives; `queued` and `held` are of this moment."""

    received: int = 0
    sent: int = 0
    queued: int = 0
    held: int = 0
    redelivered: int = 0
    dropped: int = 0


def add(words: Words, hour: int, counts: Sequence[int]) -> None:
    """Count these in the bucket of `hour`: in, out, redelivered, dropped."""
    start = _HEAD + hour % HOURS * _BUCKET
    if words[start] != hour:
        words[start] = 0  # whoever reads meanwhile passes it over
        for at in range(start + 1, start + _BUCKET):
            words[at] = 0
        words[start] = hour
    for at, count in enumerate(counts, start + 1):
        words[at] += count


def last_day(words: Sequence[int], hour: int) -> list[int]:
    """in, out, redelivered, dropped: of `hour`, which is not over, and the 23 before it."""
    sums = [0] * len(_COUNTS)
    for start in range(_HEAD, _WORDS, _BUCKET):
        if hour - HOURS < words[start] <= hour:
            for at, count in enumerate(words[start + 1 : start + _BUCKET]):
                sums[at] += count
    return sums


def remark(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """What of others' making was dropped between two moments, in words; "" for nothing."""
    more = {name: after.get(name, 0) - before.get(name, 0) for name in _REMARKED}
    return ", ".join(_REMARKED[name].format(count) for name, count in more.items() if count)


class Remarks:
    """What others have sent in vain, for the log of who got it: its standard error."""

    def __init__(self) -> None:
        self._told: Mapping[str, int] = {}

    def tell(self, stats: Mapping[str, int]) -> None:
        """Called once a minute with `Bus.stats`: a line, if there is something new to tell."""
        if words := remark(self._told, stats):
            print(f"bus: dropped in the last minute: {words}", file=sys.stderr, flush=True)
        self._told = stats


class Meter:
    """The writing end, for the life of one path that is kept in `directory` under `name`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._former: Mapping[str, int] = {}
        fd = os.open(_file(directory, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _SIZE)  # a full disk is an errno here, and a SIGBUS later
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        self._words = memoryview(self._map).cast("Q")
        if self._words[0] != _MAGIC:
            self._map[:] = bytes(_SIZE)
            self._words[0] = _MAGIC

    def write(self, stats: Mapping[str, int], now: float) -> None:
        """Take in what `Bus.stats` says of this life so far, at Unix time `now`."""
        if stats == self._former:
            return
        self._words[1], self._words[2] = stats.get("queued", 0), stats.get("held", 0)
        counts = [
            sum(stats.get(name, 0) - self._former.get(name, 0) for name in names)
            for names in _COUNTS.values()
        ]
        add(self._words, int(now // _HOUR_S), counts)
        self._former = stats

    def close(self) -> None:
        """Nothing waits any more; the file stays for the next life."""
        self._words[1] = self._words[2] = 0
        self._words.release()
        self._map.close()


def read_traffic(directory: Path, name: str, now: float) -> Traffic | None:
    """What stands in the file at Unix time `now`; None if there is none of ours."""
    try:
        data = _file(directory, name).read_bytes()
    except OSError:
        return None
    if len(data) != _SIZE:
        return None
    words = memoryview(data).cast("Q")
    if words[0] != _MAGIC:
        return None
    received, sent, redelivered, dropped = last_day(words, int(now // _HOUR_S))
    return Traffic(received, sent, words[1], words[2], redelivered, dropped)


def _file(directory: Path, name: str) -> Path:
    return directory / f"{name}{COUNT}"
