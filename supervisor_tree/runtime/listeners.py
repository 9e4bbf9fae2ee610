"""The sockets on which children listen, opened and kept by the root.

They outlive a life of the child, and the spawner: whoever connects during a restart waits in
the kernel's queue for the next life.  They are closed when nobody is to answer any more: the
child was told to stop, has given up, or is gone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from supervisor_tree.core.child import ChildRow, ChildState
from supervisor_tree.core.listening import Address, ListenSocket, read_address

__all__ = ["Listeners", "Named", "variables"]

Named = tuple[str, socket.socket]


@dataclass(slots=True)
class _Open:
    """What was opened for one specification.  `file`: device and inode of a Unix socket's."""

    sockets: list[Named]
    path: str = ""
    file: tuple[int, int] | None = None
    borrowed: bool = False  # the host's own, of which others have use

    def close(self) -> None:
        if self.borrowed:
            return
        for _, one in self.sockets:
            one.close()
        if self.path and _file_at(self.path) == self.file:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


@dataclass(slots=True)
class Listeners:
    """Those of all children.  `given` is what the host has from its service manager."""

    given: Mapping[str, Sequence[int]] = field(default_factory=dict)
    _open: dict[str, dict[ListenSocket, _Open]] = field(default_factory=dict)
    _inherited: dict[str, list[socket.socket]] = field(default_factory=dict)
    _touched: bool = False

    def of(self, path: str, wanted: Sequence[ListenSocket]) -> list[Named]:
        """The child's sockets, in this order; those that are open stay as they are.

        Raises OSError with a sentence for an operator; then those are open that were before.
        """
        had = self._open.get(path, {})
        if not wanted and not had:
            return []
        have = {one: had[one] for one in wanted if one in had}
        fresh: dict[ListenSocket, _Open] = {}
        for one in set(had) - set(have):
            had.pop(one).close()
        try:
            for one in wanted:
                if one not in have:
                    have[one] = fresh[one] = self._make(one)
        except OSError as error:
            for opened in fresh.values():
                opened.close()
            reason = error.strerror or str(error)
            raise OSError(f"cannot listen on {one.listen}: {reason}") from None
        self._open[path] = have
        return [named for one in wanted for named in have[one].sockets]

    def touch(self) -> None:
        """Something has happened to children: the next `settle_if_touched` looks."""
        self._touched = bool(self._open)

    def settle_if_touched(self, row: Callable[[str], ChildRow | None]) -> None:
        """Once per turn."""
        if self._touched:
            self.settle(row)

    def settle(self, row: Callable[[str], ChildRow | None]) -> None:
        """Close those of children that will not listen any more."""
        self._touched = False
        for path in [path for path in self._open if _is_over(row(path))]:
            self._release(path)

    def close(self) -> None:
        """Close all."""
        for path in list(self._open):
            self._release(path)
        for sockets in self._inherited.values():
            for one in sockets:
                one.close()
        self._inherited.clear()

    def _release(self, path: str) -> None:
        for opened in self._open.pop(path).values():
            opened.close()

    # --- opening --------------------------------------------------------------------------

    def _make(self, wanted: ListenSocket) -> _Open:
        address = read_address(wanted.listen)
        if address.kind == "fd":
            return _Open(_named(wanted.name, self._inherited_as(address.host)), borrowed=True)
        if address.kind == "unix":
            return _listen_at_file(wanted, address.host)
        return _Open([(wanted.name, _listen_on_port(wanted, address))])

    def _inherited_as(self, name: str) -> list[socket.socket]:
        if name not in self._inherited:
            fds = self.given.get(name)
            if fds is None:
                known = ", ".join(self.given) or "none"
                raise OSError(f"the host was given no socket of this name (it has {known})")
            self._inherited[name] = [_socket_of(fd) for fd in fds]
        return self._inherited[name]


def variables(sockets: Sequence[Named]) -> dict[str, str]:
    """What the child is told of them, all but LISTEN_PID, which it knows itself."""
    if not sockets:
        return {}
    names = ":".join(name for name, _ in sockets)
    return {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names}


def _is_over(row: ChildRow | None) -> bool:
    if row is None or row.state is ChildState.PARKED:
        return True
    return row.wanted == "down" and row.pid is None


def _named(name: str, sockets: Sequence[socket.socket]) -> list[Named]:
    """Several under one name are told apart by a number from the second on."""
    return [(f"{name}.{at}" if at > 1 else name, one) for at, one in enumerate(sockets, 1)]


def _socket_of(fd: int) -> socket.socket:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise OSError("what the host was given under this name is no socket")
    return socket.socket(fileno=os.dup(fd))


def _listen_on_port(wanted: ListenSocket, address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((address.host, address.port))
        one.listen(wanted.backlog)
    except OSError:
        one.close()
        raise
    return one


def _listen_at_file(wanted: ListenSocket, path: str) -> _Open:
    _sweep(path)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~wanted.mode)
    try:
        one.bind(path)
        one.listen(wanted.backlog)
    except OSError:
        one.close()
        raise
    finally:
        os.umask(before)
    return _Open([(wanted.name, one)], path, _file_at(path))


def _sweep(path: str) -> None:
    """Remove a socket that nobody listens on any more: its host was killed."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError("there is a file of this name that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # its queue is full
            pass
    raise OSError("another process listens there")


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        facts = os.lstat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
