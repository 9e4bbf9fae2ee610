"""Where a spare waits to be told which life it is to be.

A pair of sockets that keep the bounds of messages: the one letter that ever comes is there
whole, with its descriptors, or it is not there.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from typing import Any

import msgpack

from supervisor_tree.core.listening import MOST_SOCKETS

__all__ = ["Gate", "open_gate", "pass_letter"]

_LETTER_BYTES = 1 << 16  # what is longer is no matter for a spare
_MOST_FDS = max(3, MOST_SOCKETS)  # its output and status pipe, or its sockets


def open_gate() -> tuple[int, int]:
    """The spawner's end, which never blocks, and the spare's.  Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours.detach(), theirs.detach()


def pass_letter(gate: int, letter: Sequence[Any], fds: Sequence[int]) -> bool:
    """Send a spare off with these descriptors; False if it cannot take them.  Both stay open."""
    message = msgpack.packb(letter)
    if len(message) > _LETTER_BYTES:
        return False
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, gate)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        return end.sendmsg([message], rights, socket.MSG_NOSIGNAL) == len(message)
    except OSError:
        return False
    finally:
        end.detach()


class Gate:
    """The spare's end; it is closed when `wait` returns."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd)
        self._room = socket.CMSG_SPACE(_MOST_FDS * array.array("i").itemsize)

    def wait(self) -> tuple[list[Any], list[int]]:
        """The letter and its descriptors; the process ends if nobody can send one any more."""
        data, ancillary, flags, _ = self._socket.recvmsg(
            _LETTER_BYTES, self._room, socket.MSG_CMSG_CLOEXEC
        )
        if not data or flags & socket.MSG_CTRUNC:
            os._exit(0)
        fds = array.array("i")
        for _, _, payload in ancillary:
            fds.frombytes(payload)
        self._socket.close()
        return msgpack.unpackb(data, strict_map_key=False), list(fds)
