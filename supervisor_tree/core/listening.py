"""Where a child listens: the sockets that the host opens, keeps and passes to each life.

They outlive a life, so that nobody who connects during a restart is refused.  How a life
finds them is sd_listen_fds(3)'s: descriptors from 3 on, LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = [
    "MOST_SOCKETS",
    "Address",
    "ListenSocket",
    "clashes",
    "listen",
    "read_address",
    "socket_name",
]

MOST_SOCKETS = 64  # of one child; they ride on one message, and the kernel takes 253 on one

_LONGEST_UNIX = 107  # bytes, unix(7)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_NUMBER = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_TCP = re.compile(
    rf"tcp://(?:(?P<four>{_NUMBER}(?:\.{_NUMBER}){{3}})|\[(?P<six>[0-9a-fA-F:.]+)\])"
    r":(?P<port>[0-9]{1,5})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSocket:
    """One of them.

    listen
        `tcp://ADDRESS:PORT` (port 0: one that the kernel chooses once), `unix:///PATH`, or
        `fd:NAME` of what the host itself was given by its service manager.
    backlog
        connections that may wait to be accepted, listen(2); the kernel has a limit of its own.
    mode
        permissions of the file of a Unix socket.
    """

    name: str
    listen: str
    backlog: int = 4096
    mode: int = 0o600


class Address(NamedTuple):
    """`host` is a path for `unix` and a name for `fd`, whose `port` is 0."""

    kind: Literal["tcp", "unix", "fd"]
    host: str
    port: int = 0


def read_address(text: str) -> Address:
    """What `listen` says.  Raises ValueError with a text that follows the key."""
    found = _TCP.fullmatch(text)
    if found is not None and int(found["port"]) <= 65535:
        return Address("tcp", found["four"] or found["six"], int(found["port"]))
    if text.startswith("unix:///") and not text.endswith("/") and "\0" not in text:
        path = text.removeprefix("unix://")
        size = len(path.encode("utf-8", "surrogateescape"))
        if size > _LONGEST_UNIX:
            raise ValueError(f"is too long for a socket: {size} bytes, {_LONGEST_UNIX} are allowed")
        return Address("unix", path)
    name = text.removeprefix("fd:")
    if name != text and name and ":" not in name and name.isprintable():
        return Address("fd", name)
    raise ValueError(
        "must be tcp://ADDRESS:PORT such as tcp://127.0.0.1:8080 (an address, no name), "
        f"unix:///PATH, or fd:NAME of a socket that the host was given, not {text!r:.80}"
    )


def listen(value: Any) -> str | None:
    """Rule of `listen`; see `values.Rule`."""
    if not isinstance(value, str):
        return f"must be text such as tcp://127.0.0.1:8080, not {value!r:.80}"
    try:
        read_address(value)
    except ValueError as error:
        return str(error)
    return None


def socket_name(value: Any) -> str | None:
    """Rule of `name`: LISTEN_FDNAMES joins names by colons."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return None
    return f"must be letters, digits, '.', '_' and '-', at most 100, not {value!r:.80}"


def clashes(names: Sequence[Any]) -> Iterator[tuple[int, str]]:
    """Which of one child's sockets there cannot be beside the others, and why."""
    for index, name in enumerate(names):
        if index >= MOST_SOCKETS:
            yield index, f"is one too many: a child has at most {MOST_SOCKETS} sockets"
        elif isinstance(name, str) and name in names[:index]:
            yield index, f"must be unique among the child's sockets, not {name!r} again"
