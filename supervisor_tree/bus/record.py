"""Which cast was in hand when a life ended: written by that life, read by the next.

A process that is killed can say nothing, and what it had sent a moment before may not have
left.  A shared mapping of a file is the kernel's: what is stored there survives the process.
(It need not survive the machine: with that, the senders and their outboxes are gone as well.)
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from pathlib import Path

import msgpack

from supervisor_tree.bus.mailbox import Sender, one_more_death
from supervisor_tree.bus.place import DEATHS, HAND
from supervisor_tree.files import write_whole

__all__ = ["Record"]

_SIZE = 4096
_SEQ = struct.Struct("<Q")
_HEAD = struct.Struct("<QQI")  # seq (0: nothing in hand), sender's generation, length of its path


class Record:
    """The record of one receiver path, kept in `directory` under `name`.

    `deaths` is what all former lives have died over, the last one included.
    """

    def __init__(self, directory: Path, name: str) -> None:
        path = directory / f"{name}{HAND}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _SIZE)  # a full disk is an errno here, and a SIGBUS later
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        ledger = directory / f"{name}{DEATHS}"
        former, over = _read(ledger), self._in_hand()
        self.deaths = one_more_death(former, over)
        if over is not None:
            # On a full disk this death is forgotten: better than an agent that cannot start.
            with contextlib.suppress(OSError):
                _write(ledger, self.deaths)
        self.clear()
        self._sender: Sender | None = None

    def begin(self, sender: Sender, seq: int) -> None:
        """From now on this cast is in hand."""
        if sender is not self._sender:
            path = sender.path.encode()[: _SIZE - _HEAD.size]
            _HEAD.pack_into(self._map, 0, 0, sender.generation, len(path))
            self._map[_HEAD.size : _HEAD.size + len(path)] = path
            self._sender = sender
        _SEQ.pack_into(self._map, 0, seq)

    def clear(self) -> None:
        """Nothing is in hand."""
        _SEQ.pack_into(self._map, 0, 0)

    def close(self) -> None:
        """Let go of the mapping; the file stays for the next life."""
        self._map.close()

    def _in_hand(self) -> tuple[Sender, int] | None:
        seq, generation, length = _HEAD.unpack_from(self._map, 0)
        if not seq or length > _SIZE - _HEAD.size:
            return None
        path = self._map[_HEAD.size : _HEAD.size + length].decode("utf-8", "replace")
        return Sender(path, generation), seq


def _read(ledger: Path) -> dict[Sender, dict[int, int]]:
    """What an earlier life has written; nothing if that cannot be read."""
    try:
        rows = msgpack.unpackb(ledger.read_bytes(), strict_map_key=False)
        return {Sender(str(path), int(n)): dict(counts) for path, n, counts in rows}
    except (OSError, ValueError, TypeError, msgpack.UnpackException):
        return {}


def _write(ledger: Path, deaths: dict[Sender, dict[int, int]]) -> None:
    rows = [[sender.path, sender.generation, counts] for sender, counts in deaths.items()]
    write_whole(ledger, msgpack.packb(rows))
