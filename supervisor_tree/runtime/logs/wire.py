"""What root and logger share: frames over one socket, and the record of the batch in hand.

The logger may be killed between any two instructions, and each line shall be in its file
once.  A batch goes through these steps, and each state is told apart from the next:

    1. tee(2)     copies what a child's pipe holds; nothing is consumed
    2. intent     pipe, number of bytes, file and its size before go into shared memory
    3. write(2)   the lines, to the file                 seen by: the size of the file
    4. splice(2)  moves the bytes from the child's pipe to the sink pipe
                                                         seen by: the sink is not empty
    5. intent is cleared, then the sink is emptied

Beside the intent the logger counts its rounds there: a number that stands still is a logger
that does.

Shared memory and sink belong to the root and outlive the logger; `settle` finishes what a
dead one has begun.  So a line is lost never, and written twice only if the file has been
moved or cut by someone else in that very moment: at least once, and all but always once.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import mmap
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgpack

__all__ = [
    "Disconnected",
    "Intent",
    "Journal",
    "capacity",
    "connect",
    "discard",
    "hung_up",
    "journal_memory",
    "listen",
    "peer_of",
    "receive",
    "send",
    "settle",
    "unread",
]

_CONNECT_WAIT_S = 10.0
_MAX_FRAME = 64 * 1024
_MAX_FDS = 4
_RECORD = struct.Struct("=6Q")
_BEATS = struct.Struct("=Q")
_PEERCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_BEATS_AT = 64  # behind the record
_RECORD_AT = 8  # byte 0 is the flag: one byte is written whole or not at all


class Disconnected(Exception):
    """The other side has closed the connection or is dead."""


@dataclass(frozen=True, slots=True)
class Intent:
    """`taken` bytes at the head of pipe `key` become `length` bytes at offset `size` of a file."""

    key: int
    taken: int
    length: int
    device: int
    inode: int
    size: int


class Journal:
    """The one intent of the one logger, in memory that both processes map."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, mmap.PAGESIZE)

    def read(self) -> Intent | None:
        """The batch in hand, None between two batches."""
        if not self._map[0]:
            return None
        return Intent(*_RECORD.unpack_from(self._map, _RECORD_AT))

    def write(self, intent: Intent) -> None:
        """Step 2.  The flag comes last, so that a torn record is never read."""
        self._map[0] = 0
        record = (intent.key, intent.taken, intent.length)
        _RECORD.pack_into(self._map, _RECORD_AT, *record, intent.device, intent.inode, intent.size)
        self._map[0] = 1

    def clear(self) -> None:
        """Step 5."""
        self._map[0] = 0

    @property
    def beats(self) -> int:
        """How often `beat` was called, modulo 2**64; by every logger so far."""
        count: int = _BEATS.unpack_from(self._map, _BEATS_AT)[0]
        return count

    def beat(self) -> None:
        """A sign of life, by the logger alone."""
        _BEATS.pack_into(self._map, _BEATS_AT, (self.beats + 1) % 2**64)

    def close(self) -> None:
        """Unmap; the memory stays with its descriptor."""
        self._map.close()


def journal_memory() -> int:
    """A descriptor of the memory that a Journal maps."""
    fd = os.memfd_create("logger-journal", os.MFD_CLOEXEC)
    os.ftruncate(fd, os.sysconf("SC_PAGESIZE"))
    return fd


def hung_up(pipes: Iterable[int]) -> set[int]:
    """Those that nobody can write to any more."""
    poll = select.poll()
    for pipe in pipes:
        poll.register(pipe, 0)
    return {fd for fd, _ in poll.poll(0)}


def settle(journal: Journal, sink: int, file: str) -> int:
    """How many bytes at the head of the intent's pipe have been written to `file` already.

    Cuts off what was written in part.  The caller consumes that number of bytes, then calls
    `Journal.clear` and `discard(sink)`, in this order.
    """
    intent = journal.read()
    if intent is None:
        return 0
    consumed = unread(sink)
    if consumed:
        return max(0, intent.taken - consumed)
    try:
        state = os.stat(file)
    except OSError:
        return 0
    same = (state.st_dev, state.st_ino) == (intent.device, intent.inode)
    # Another file means that this batch was about to open a new one: it stands at its top.
    before = intent.size if same else 0
    if state.st_size >= before + intent.length:
        return intent.taken
    if state.st_size > before:
        os.truncate(file, before)
    return 0


def capacity(pipe: int) -> int:
    """Bytes that a pipe holds at most."""
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


def unread(pipe: int) -> int:
    """Number of bytes that wait in a pipe."""
    buffer = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, buffer)
    return buffer[0]


def discard(pipe: int) -> None:
    """Empty a pipe."""
    while count := unread(pipe):
        os.read(pipe, count)


def listen(address: str) -> socket.socket:
    """Where the logger connects to.  Replaces what is there: the run directory is locked."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)
        listener.bind(address)
        os.chmod(address, 0o600)
        listener.listen(8)
    except OSError:
        listener.close()
        raise
    return listener


def connect(address: str) -> socket.socket:
    """To the root's socket, which exists before the logger does; patience for a busy root."""
    deadline = time.monotonic() + _CONNECT_WAIT_S
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(address)
            return connection
        except (ConnectionRefusedError, BlockingIOError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """Pid and user of whoever is at the other end, by the kernel's word."""
    pid, uid, _ = _PEERCRED.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    )
    return pid, uid


def send(sock: socket.socket, frame: list[Any], fds: tuple[int, ...] = ()) -> None:
    """Send one frame.  BlockingIOError: no room now.  Disconnected: nobody there."""
    data: bytes = msgpack.packb(frame)
    try:
        if fds:
            socket.send_fds(sock, [data], fds)
        else:
            sock.send(data)
    except (ConnectionError, BrokenPipeError) as error:
        raise Disconnected from error


def _receive(sock: socket.socket) -> tuple[bytes, list[int], int, Any]:
    try:
        return socket.recv_fds(sock, _MAX_FRAME, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        # It has died with something unread.  That is said once, before what it had sent is given.
        return socket.recv_fds(sock, _MAX_FRAME, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)


def receive(sock: socket.socket) -> tuple[list[Any], list[int], bool]:
    """One frame, its descriptors, and whether any of these were lost for want of numbers.

    BlockingIOError: nothing there.  Disconnected: nothing will ever come.
    """
    try:
        data, fds, flags, _ = _receive(sock)
    except ConnectionError as error:
        raise Disconnected from error
    if not data:
        raise Disconnected
    try:
        frame = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise Disconnected from error
    if not isinstance(frame, list) or not frame:
        raise Disconnected
    return frame, fds, bool(flags & socket.MSG_CTRUNC)
