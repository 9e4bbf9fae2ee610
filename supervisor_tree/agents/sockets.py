"""The listening sockets that an agent's process was given, as sd_listen_fds(3) passes them."""

from __future__ import annotations

import os
import socket

__all__ = ["given_sockets"]

_FIRST_FD = 3  # SD_LISTEN_FDS_START


def given_sockets() -> dict[str, socket.socket]:
    """By name.  Call it once: each call makes objects that own the same descriptors."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    return {name: socket.socket(fileno=fd) for fd, name in enumerate(names, _FIRST_FD)}
