"""The table of members: written by the root, mapped by whoever is on the bus.

What one agent wants to know of another is read from a file in the run directory, with no
message and no waiting, however many agents there are.

    header   magic, superseded, members, buckets, and     5 words of 8 bytes
             how many of the members intercept
    lives    generation << 32 | pid << 8 | flags          1 word per member
    ends     generation << 32 | kind << 16 | number       1 word per member, how the last one was
    buckets  number of the member + 1, by hash of path    1 word each, open addressing
    offsets  of each member's facts, and of their end     1 word per member, and 1
    numbers  of the members that intercept                1 word each
    facts    what the specification says, msgpack

A life is one aligned word, so the kernel's memory carries it whole: nobody reads the pid of
one life with the generation of another.  When the members themselves change, a new file takes
the place of the old one, and the old one says that it is superseded.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from supervisor_tree.bus.directory import Member
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.place import is_shared
from supervisor_tree.bus.ways import Interceptors
from supervisor_tree.core.specs import Acl, OnFull
from supervisor_tree.files import create_anew

__all__ = ["End", "Flag", "Life", "MemberTable", "TableWriter", "table_path"]

_MAGIC = int.from_bytes(b"STMBRS03", sys.byteorder)
_HEADER_WORDS = 5
_SUPERSEDED = 1  # the number of its word
_TAKING = 4
_WORD = 8
_RIGHTS = ("may_call", "may_cast", "may_publish", "may_subscribe")
_KINDS = ("", "normal", "shutdown", "abnormal", "signal", "status")  # the last two are numbered
_OPENINGS = 100  # of a table that is superseded each time, in one look


class Flag:
    """What else there is to say of a life; bits of a byte."""

    READY = 1
    DRAINING = 2  # it is being stopped
    INBOX = 4  # it takes messages


class Life(NamedTuple):
    """The present state of a member.  `pid` 0: it has no process."""

    generation: int = 0
    pid: int = 0
    flags: int = 0


class End(NamedTuple):
    """How a life has ended: "normal", "shutdown", "abnormal", "signal 9", "status 1"."""

    generation: int
    reason: str

    @staticmethod
    def of(generation: int, reason: Mapping[str, Any]) -> End:
        """From the reason that an event carries."""
        kind = str(reason.get("kind", "abnormal"))
        signal, code = reason.get("signal"), reason.get("code")
        if kind == "abnormal" and (signal or code is not None):
            kind = f"signal {signal}" if signal else f"status {code}"
        return End(generation, kind)


def table_path(run_dir: Path) -> Path:
    """Where the table is."""
    return run_dir / "members"


def _pack_life(life: Life) -> int:
    return (life.generation & 0xFFFFFFFF) << 32 | (life.pid & 0xFFFFFF) << 8 | life.flags & 0xFF


def _unpack_life(word: int) -> Life:
    return Life(word >> 32, word >> 8 & 0xFFFFFF, word & 0xFF)


def _pack_end(end: End) -> int:
    kind, _, number = end.reason.partition(" ")
    return (end.generation & 0xFFFFFFFF) << 32 | _KINDS.index(kind) << 16 | int(number or 0)


def _unpack_end(word: int) -> End:
    kind, number = _KINDS[word >> 16 & 0xFFFF], word & 0xFFFF
    return End(word >> 32, f"{kind} {number}" if kind in _KINDS[-2:] else kind)


def _hash(path: str) -> int:
    return crc32(path.encode())


# --- the root's side -----------------------------------------------------------------------


class TableWriter:
    """The one who writes.  `put` and `remove` show after `flush`, `set_life` at once."""

    def __init__(self, run_dir: Path) -> None:
        self._path = table_path(run_dir)
        self._facts: dict[str, bytes] = {}
        self._interceptors: set[str] = set()
        self._lives: dict[str, Life] = {}
        self._ends: dict[str, End] = {}
        self._numbers: dict[str, int] = {}
        self._map: mmap.mmap | None = None
        self._words: memoryview[int] | None = None
        self._changed = True

    def put(self, member: Member) -> None:
        """A member is there, or is described anew; its life is told by `set_life`."""
        facts = _pack_facts(member)
        if self._facts.get(member.path) != facts:
            self._facts[member.path] = facts
            if member.intercepts:
                self._interceptors.add(member.path)
            else:
                self._interceptors.discard(member.path)
            self._changed = True

    def remove(self, path: str) -> None:
        """A member is no longer in the tree."""
        if self._facts.pop(path, None) is not None:
            self._lives.pop(path, None)
            self._ends.pop(path, None)
            self._interceptors.discard(path)
            self._changed = True

    def identify(self, pid: int) -> Sender | None:
        """Whose present life this process is."""
        for path, life in self._lives.items():
            if life.pid == pid:
                return Sender(path, life.generation)
        return None

    def set_life(self, path: str, life: Life) -> None:
        """How a member fares; of no effect for who is none."""
        if path not in self._facts or self._lives.get(path) == life:
            return
        self._lives[path] = life
        number = self._numbers.get(path)
        if number is not None and self._words is not None:
            self._words[_HEADER_WORDS + number] = _pack_life(life)

    def set_end(self, path: str, end: End) -> None:
        """How the last life of a member has ended; told before its life is set anew."""
        if path not in self._facts:
            return
        self._ends[path] = end
        number = self._numbers.get(path)
        if number is not None and self._words is not None:
            self._words[_HEADER_WORDS + len(self._numbers) + number] = _pack_end(end)

    def members(self) -> list[Member]:
        """All, in the order in which they joined."""
        return [
            _with_life(_unpack_facts(facts), _pack_life(self._lives.get(path, Life())))
            for path, facts in self._facts.items()
        ]

    def flush(self) -> None:
        """Let readers see who is there now.  Raises OSError when the file cannot be written."""
        if self._changed:
            self.write()

    def write(self) -> None:
        """Make the file, changed or not.  Raises OSError."""
        data, numbers = self._image()
        new = self._path.with_suffix(".new")
        try:
            mapped = _map_new(new, data)
            os.replace(new, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        self._retire()
        self._map, self._words, self._numbers = mapped, memoryview(mapped).cast("Q"), numbers
        self._changed = False

    def close(self) -> None:
        """Let go of the file and remove it."""
        self._retire()
        self._path.unlink(missing_ok=True)

    def _retire(self) -> None:
        if self._map is not None and self._words is not None:
            self._words[_SUPERSEDED] = 1
            self._words.release()
            self._map.close()
            self._map = self._words = None

    def _image(self) -> tuple[bytes, dict[str, int]]:
        numbers = {path: number for number, path in enumerate(self._facts)}
        count = len(numbers)
        buckets = 1 << (2 * count).bit_length()
        index = [0] * buckets
        for path, number in numbers.items():
            at = _hash(path) % buckets
            while index[at]:
                at = (at + 1) % buckets
            index[at] = number + 1
        taking = [number for path, number in numbers.items() if path in self._interceptors]
        at = _WORD * (_HEADER_WORDS + 2 * count + buckets + count + 1 + len(taking))
        offsets = [at]
        for facts in self._facts.values():
            at += len(facts)
            offsets.append(at)
        lives = [_pack_life(self._lives.get(path, Life())) for path in numbers]
        ends = [_pack_end(self._ends.get(path, End(0, ""))) for path in numbers]
        head_words = [_MAGIC, 0, count, buckets, len(taking)]
        words = [*head_words, *lives, *ends, *index, *offsets, *taking]
        head = array("Q", words).tobytes()
        body = head + b"".join(self._facts.values())
        return body + bytes(-len(body) % _WORD), numbers


def _map_new(path: Path, data: bytes) -> mmap.mmap:
    """A fresh file with this content, mapped.

    Its room is taken first: a store to a page that a full disk has none for is a SIGBUS.
    """
    fd = create_anew(path)
    try:
        if is_shared(path.parent):
            os.fchmod(fd, 0o644)
        os.posix_fallocate(fd, 0, len(data))
        mapped = mmap.mmap(fd, len(data))
    finally:
        os.close(fd)
    mapped[:] = data
    return mapped


def _pack_facts(member: Member) -> bytes:
    row = [
        member.path,
        member.description,
        member.capabilities,
        member.limit,
        member.on_full.value,
        [getattr(member.acl, right) for right in _RIGHTS],
        member.intercepts,
    ]
    packed: bytes = msgpack.packb(row)
    return packed


def _unpack_facts(facts: bytes) -> Member:
    row = msgpack.unpackb(facts, use_list=False)
    path, description, capabilities, limit, on_full, acl, intercepts = row
    return Member(
        path=path,
        description=description,
        capabilities=capabilities,
        limit=limit,
        on_full=OnFull(on_full),
        acl=Acl(**dict(zip(_RIGHTS, acl, strict=True))),
        intercepts=intercepts,
    )


# --- everybody's side ----------------------------------------------------------------------


class MemberTable:
    """The one who reads.  A table that is not there yet has no members."""

    def __init__(self, run_dir: Path) -> None:
        self._path = table_path(run_dir)
        self._map: mmap.mmap | None = None
        self._words: memoryview[int] | None = None
        self._epoch = 0
        self._interceptors: Interceptors | None = None  # those of this epoch, once asked for
        self._known: dict[str, tuple[int, Member]] = {}  # number, facts alone
        self._present: dict[str, tuple[int, Member]] = {}  # word of its life, facts and life
        self._open()

    def close(self) -> None:
        """Let go of the file."""
        if self._map is not None and self._words is not None:
            self._words.release()
            self._map.close()
        self._map = self._words = None
        self._known.clear()
        self._present.clear()

    @property
    def epoch(self) -> int:
        """Another number each time that the members themselves have changed."""
        self._current()
        return self._epoch

    def member(self, path: str) -> Member | None:
        """Who has this path, as of now."""
        words = self._current()
        known = self._known.get(path)
        if known is None:
            if words is None or (known := self._look_up(words, path)) is None:
                return None
            self._known[path] = known
        assert words is not None
        word = words[_HEADER_WORDS + known[0]]
        present = self._present.get(path)
        if present is None or present[0] != word:
            present = self._present[path] = (word, _with_life(known[1], word))
        return present[1]

    def last_end(self, path: str) -> End | None:
        """How the last life of this path that is over has ended; None if that is not known."""
        if self.member(path) is None:
            return None
        words, (number, _facts) = self._words, self._known[path]
        assert words is not None
        word = words[_HEADER_WORDS + words[2] + number]
        return _unpack_end(word) if word else None

    def members(self) -> list[Member]:
        """All, in the order in which they joined."""
        words = self._current()
        if words is None:
            return []
        # All paths first: while the members are looked up, another table may come into force.
        paths = [self._facts_of(words, number).path for number in range(words[2])]
        found = (self.member(path) for path in paths)
        return [member for member in found if member is not None]

    def interceptors(self) -> Interceptors:
        """Those who intercept, the dead too, in the order in which they joined."""
        words = self._current()
        if words is None:
            return ()
        if self._interceptors is None:
            first = _HEADER_WORDS + 3 * words[2] + words[3] + 1
            numbers = words[first : first + words[_TAKING]]
            found = [self._facts_of(words, number) for number in numbers]
            self._interceptors = tuple((facts.path, facts.intercepts) for facts in found)
        return self._interceptors

    def identify(self, pid: int) -> Sender | None:
        """Whose present life this process is."""
        words = self._current()
        if words is None or pid <= 0:
            return None
        for number, word in enumerate(words[_HEADER_WORDS : _HEADER_WORDS + words[2]]):
            if word >> 8 & 0xFFFFFF == pid:
                return Sender(self._facts_of(words, number).path, word >> 32)
        return None

    def _current(self) -> memoryview[int] | None:
        """The words of the table in force."""
        for _ in range(_OPENINGS):
            words = self._words
            if words is not None and not words[_SUPERSEDED]:
                return words
            self.close()
            self._open()
            if self._words is None:
                return None
        return self._words

    def _open(self) -> None:
        self._epoch += 1
        self._interceptors = None
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            return
        finally:
            os.close(fd)
        if mapped[:_WORD] == _MAGIC.to_bytes(_WORD, sys.byteorder):
            self._map, self._words = mapped, memoryview(mapped).cast("Q")
        else:
            mapped.close()

    def _look_up(self, words: memoryview[int], path: str) -> tuple[int, Member] | None:
        count, buckets = words[2], words[3]
        at = _hash(path) % buckets
        for _ in range(buckets):
            entry = words[_HEADER_WORDS + 2 * count + at]
            if not entry:
                return None
            facts = self._facts_of(words, entry - 1)
            if facts.path == path:
                return entry - 1, facts
            at = (at + 1) % buckets
        return None

    def _facts_of(self, words: memoryview[int], number: int) -> Member:
        assert self._map is not None
        first = _HEADER_WORDS + 2 * words[2] + words[3] + number
        return _unpack_facts(self._map[words[first] : words[first + 1]])


def _with_life(facts: Member, word: int) -> Member:
    life = _unpack_life(word)
    return Member(
        path=facts.path,
        generation=life.generation,
        pid=life.pid or None,
        description=facts.description,
        capabilities=facts.capabilities,
        limit=facts.limit,
        on_full=facts.on_full,
        acl=facts.acl,
        intercepts=facts.intercepts,
        draining=bool(life.flags & Flag.DRAINING),
        ready=bool(life.flags & Flag.READY),
        inbox=bool(life.flags & Flag.INBOX),
    )
