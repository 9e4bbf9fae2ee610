"""Keeps the bus's table of members in step with the tree, and with clients from outside.

Every agent, robot and program of the tree is a member.  So is a process that is no child but
wants to speak, as the command line and embedding programs do: it is known by the pid that the
kernel names, from `admit_client` until it leaves or ends.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from supervisor_tree.bus.directory import Member
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.place import remove_inbox
from supervisor_tree.bus.table import End, Flag, Life, TableWriter, table_path
from supervisor_tree.core.child import ChildState
from supervisor_tree.core.hosts import GATEWAY, seat_of
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.policy import PolicyRule, resolve
from supervisor_tree.core.specs import Acl, ChildSpec, Kind, SupervisorSpec
from supervisor_tree.core.tree import Tree
from supervisor_tree.errors import TryAgain
from supervisor_tree.runtime.settings import HostSettings

__all__ = ["CLIENTS", "Membership", "Watching", "specs_by_path"]

CLIENTS = "/_/clients"
_INFRASTRUCTURE = "/_"
_RETRY_S = 5.0  # before a table that could not be written is tried again, if nobody asks
_STOPPING = (ChildState.STOPPING, ChildState.KILLING)


class Watching(Protocol):
    """What is needed of the loop."""

    def add(self, fd: int, callback: Callable[[], None]) -> None: ...

    def remove(self, fd: int) -> None: ...

    def call_in(self, key: str, delay_s: float, callback: Callable[[], None]) -> None: ...


class Membership:
    """Who is on the bus of one host.

    `takes_messages(path, generation)` tells whether that life has said so of itself.  `tell`
    hears, once, that the table cannot be written: until it can, the old one stays in force.
    """

    def __init__(
        self,
        settings: HostSettings,
        tree: Tree,
        loop: Watching,
        takes_messages: Callable[[str, int], bool],
        tell: Callable[[str], None],
    ) -> None:
        self._table = TableWriter(settings.run_dir)
        self._run_dir = settings.run_dir
        self._tree = tree
        self._loop = loop
        self._takes_messages = takes_messages
        self._tell = tell
        self._problem = ""
        self._policy = settings.policy
        self._known: set[str] = set()  # of the tree
        self._expected: set[str] = set()  # those that the tree has not got yet
        self._clients: dict[str, int] = {}  # and the pidfd of each
        self._attached = 0
        self._touched: set[str] = set()
        self._remove_inboxes()  # those of a former host that was killed
        for peer in settings.links.peers if settings.links is not None else ():
            seat, rights = seat_of(peer.name), peer.acl
            self._table.put(Member(path=seat, description="another host", acl=rights))

    @property
    def file(self) -> Path:
        """The table."""
        return table_path(self._run_dir)

    def expect(self, spec: SupervisorSpec) -> None:
        """These will be the first; told ahead, the table is written once for all of them."""
        for path, child in specs_by_path(spec):
            self._put(path, child)
        self._expected |= self._known
        self._flush()

    def starts(self, path: str) -> None:
        """A life of this child is about to begin: it must find itself in the table."""
        self._expected.discard(path)
        own = path.startswith(_INFRASTRUCTURE) and path != GATEWAY
        if path not in self._known and not own:
            spec = self._tree.spec(path)
            if isinstance(spec, ChildSpec):
                self._put(path, spec)
                self._flush()

    def heard(self, event: LifecycleEvent) -> None:
        """An event about a child; how a life has ended is there before its next one begins."""
        if event.event is EventName.CHILD_EXITED and event.path in self._known:
            end = End.of(event.generation or 0, event.detail["reason"])
            self._table.set_end(event.path, end)
        self.touch(event.path)

    def touch(self, path: str) -> None:
        """Something about this child has changed."""
        if path in self._known:
            self._set_life(path)
        self._touched.add(path)

    def settle_if_touched(self) -> None:
        """`settle`, once per turn, if anything has happened."""
        if self._touched:
            self.settle()

    def settle(self) -> None:
        """Members that have left, or are described anew."""
        children = self._tree.children
        for path in self._touched & self._known:
            spec = self._tree.spec(path)
            if isinstance(spec, ChildSpec):
                self._put(path, spec)
        self._touched.clear()
        for path in [path for path in self._known - self._expected if path not in children]:
            if self._is_gone(path):
                self._known.discard(path)
                self._remove(path)
            else:
                self._table.set_life(path, Life())
        self._flush()

    def govern(self, policy: tuple[PolicyRule, ...]) -> None:
        """From now on these rules say what nobody says for itself."""
        self._policy = policy
        self._touched |= self._known
        self.settle()

    def members(self) -> list[Member]:
        """All, in the order in which they joined."""
        return self._table.members()

    def identify(self, pid: int) -> Sender | None:
        """Whose present life, or which client, this process is."""
        return self._table.identify(pid)

    def admit_client(self, pid: int) -> Sender | None:
        """Make this process a member until it ends; None if it has ended.

        Raises TryAgain if there is no room for it.
        """
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return None
        self._attached += 1
        me = Sender(f"{CLIENTS}/{pid}-{self._attached}", 1)
        self._clients[me.path] = fd
        acl = resolve(self._policy, me.path, Acl())
        self._table.put(Member(path=me.path, description="a client from outside the tree", acl=acl))
        self._table.set_life(me.path, Life(me.generation, pid, Flag.READY))
        self._loop.add(fd, lambda: self.dismiss_client(me.path))
        self._flush()
        if self._problem:
            self.dismiss_client(me.path)
            raise TryAgain(f"cannot join the bus: {self.file}: {self._problem}")
        return me

    def dismiss_client(self, path: str) -> None:
        """It has left, or ended."""
        fd = self._clients.pop(path, None)
        if fd is not None:
            self._loop.remove(fd)
            os.close(fd)
            self._remove(path)
            self._flush()

    def write_anew(self) -> None:
        """The file was deleted.  Raises OSError if it cannot be made."""
        self._table.write()

    def close(self) -> None:
        """The host ends."""
        for path in list(self._clients):
            self.dismiss_client(path)
        with contextlib.suppress(OSError):
            self._table.close()
        self._remove_inboxes()

    def _flush(self) -> None:
        """Let everybody see it.  A full disk must not end a host: it tries again."""
        try:
            self._table.flush()
            problem = ""
        except OSError as error:
            problem = error.strerror or str(error)
            self._loop.call_in("members", _RETRY_S, self._flush)
        if problem != self._problem:
            self._problem = problem
            self._tell(f"{self.file}: {problem or 'written again'}")

    def _remove(self, path: str) -> None:
        self._table.remove(path)
        remove_inbox(self._run_dir, path)

    def _remove_inboxes(self) -> None:
        directory = self._run_dir / "inbox"
        with contextlib.suppress(OSError):
            for file in list(directory.iterdir()):
                file.unlink(missing_ok=True)
            directory.rmdir()

    def _is_gone(self, path: str) -> bool:
        """Nobody will start it again.

        Not so while what it is below of is between two lives: what was cast to it waits.
        """
        above = path.rpartition("/")[0] or "/"
        while above != "/" and above not in self._tree.supervisors:
            if above in self._tree.children:
                return False
            above = above.rpartition("/")[0] or "/"
        return True

    def _put(self, path: str, spec: ChildSpec) -> None:
        if spec.kind is Kind.SUPERVISOR:
            return
        self._known.add(path)
        self._table.put(
            Member(
                path=path,
                description=spec.description,
                capabilities=spec.capabilities,
                limit=spec.mailbox.limit,
                on_full=spec.mailbox.on_full,
                acl=resolve(self._policy, path, spec.acl),
                intercepts=spec.intercepts,
            )
        )

    def _set_life(self, path: str) -> None:
        row = self._tree.row(path)
        if row is None:
            self._table.set_life(path, Life())
            return
        flags = 0
        if row.ready:
            flags |= Flag.READY
        if row.state in _STOPPING:
            flags |= Flag.DRAINING
        if self._takes_messages(path, row.generation):
            flags |= Flag.INBOX
        self._table.set_life(path, Life(row.generation, row.pid or 0, flags))


def specs_by_path(spec: SupervisorSpec, above: str = "") -> Iterator[tuple[str, ChildSpec]]:
    """Every child specification that has a path from the start, templates excluded."""
    for child in spec.children:
        path = f"{above}/{child.id}"
        yield path, child
        if child.supervisor is not None:
            yield from specs_by_path(child.supervisor, path)
