"""Checkpoints: a small state that an agent keeps from life to life.

Two files in the agent's data directory take turns, so that the one that is not written
holds the last state but one.  A write makes a new file, has it on the disk (fsync(2)),
and renames it over the older of the two: a process that is killed in the middle, or a machine
that loses its power, leaves one of the states that were written, never a mixture.
Of the two the one with the higher number counts, if its checksum is right; else the other.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

__all__ = ["MAX_BYTES", "SLOTS", "Checkpoint", "CheckpointStore", "pack_state"]

MAX_BYTES = 1 << 20
SLOTS = ("checkpoint.0", "checkpoint.1")
_NEW = "checkpoint.new"
_VERSION = 1


class Checkpoint(dict[Any, Any]):
    """A state as it was given to `ctx.checkpoint`; tuples have become lists.

    `generation` is that of the life that has written it, `time` when, in Unix seconds.
    """

    generation: int
    time: float


class _Found(NamedTuple):
    sequence: int
    generation: int
    time: float
    packed: bytes


def pack_state(state: Any) -> bytes:
    """The state as it is stored.

    Raises TypeError for what is no mapping or msgpack cannot hold, ValueError for more than
    `MAX_BYTES`.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"a checkpoint is a dict, not {type(state).__qualname__}")
    try:
        packed: bytes = msgpack.packb(dict(state))
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"cannot keep this checkpoint: {error}") from None
    if len(packed) > MAX_BYTES:
        raise ValueError(
            f"a checkpoint may have {MAX_BYTES} bytes, and this has {len(packed)}; "
            "what is larger belongs into files of ctx.data_dir"
        )
    return packed


class CheckpointStore:
    """The checkpoints of one life.  `directory` is asked for when it is first needed."""

    def __init__(self, directory: Callable[[], Path], generation: int) -> None:
        self._directory = directory
        self._generation = generation
        self._sequence: int | None = None
        self._disk = threading.Lock()
        self._turn = threading.Lock()  # guards what follows
        self._next: bytes | None = None  # the newest state that is still to be written
        self._waiting: list[Callable[[BaseException | None], None]] = []
        self._writing = False

    def read(self) -> Checkpoint | None:
        """The last state that is whole; None if there is none."""
        found = self._newest()
        if found is None:
            return None
        checkpoint = Checkpoint(msgpack.unpackb(found.packed, strict_map_key=False))
        checkpoint.generation, checkpoint.time = found.generation, found.time
        return checkpoint

    def write(self, packed: bytes) -> None:
        """Have it on the disk.  Raises OSError; what was there before is still there then."""
        with self._disk:
            directory = self._directory()
            if self._sequence is None:
                newest = self._newest()
                self._sequence = 0 if newest is None else newest.sequence
            sequence = self._sequence + 1
            facts = [_VERSION, sequence, self._generation, time.time()]
            record: bytes = msgpack.packb([*facts, zlib.crc32(packed), packed])
            new = directory / _NEW
            _write_file(new, record)
            new.replace(directory / SLOTS[sequence % len(SLOTS)])
            self._sequence = sequence
            _sync(directory, os.O_DIRECTORY)

    def write_beside(self, packed: bytes, loop: AbstractEventLoop) -> Future[None]:
        """The same without holding up the loop, by a thread: done when this is on the disk.

        A state that is given while another is being written replaces one that waits for
        that: only the newest is worth its write, and both are done then.
        """
        future: Future[None] = loop.create_future()

        def done(error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_settle, future, error)

        with self._turn:
            self._next = packed
            self._waiting.append(done)
            if not self._writing:
                self._writing = True
                threading.Thread(target=self._write_all, name="checkpoint").start()
        return future

    def _write_all(self) -> None:
        while True:
            with self._turn:
                packed, waiting = self._next, self._waiting
                self._next, self._waiting = None, []
                if packed is None:
                    self._writing = False
                    return
            error: BaseException | None = None
            try:
                self.write(packed)
            except OSError as problem:
                error = problem
            for done in waiting:
                done(error)

    def _newest(self) -> _Found | None:
        directory = self._directory()
        found = [one for slot in SLOTS if (one := _read_file(directory / slot)) is not None]
        return max(found, default=None, key=lambda one: one.sequence)


def _settle(future: Future[None], error: BaseException | None) -> None:
    if future.done():  # whoever waited has been cancelled
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _write_file(path: Path, record: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    with open(fd, "wb") as file:
        file.write(record)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path, flags: int) -> None:
    """A rename is durable once its directory is (fsync(2))."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read_file(path: Path) -> _Found | None:
    """What is in a slot; None if it is torn, or not ours."""
    try:
        record = msgpack.unpackb(path.read_bytes())
    except (OSError, ValueError, msgpack.UnpackException):
        return None
    match record:
        case [1, int(sequence), int(generation), float(at), int(checksum), bytes(packed)]:
            if zlib.crc32(packed) == checksum:
                return _Found(sequence, generation, at, packed)
    return None
