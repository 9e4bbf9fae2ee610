"""Who is on the bus: what a runtime knows of the others, and learns of their comings and goings.

The bus needs a `Directory`; where that has its knowledge from (a host's snapshot and its
lifecycle events) is not the bus's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from supervisor_tree.bus.delivery import DEFAULT_LIMIT
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.ways import Interceptors
from supervisor_tree.core.specs import Acl, OnFull

__all__ = ["Change", "Directory", "Down", "Joined", "Left", "Member", "MemoryDirectory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One agent of the tree.  `pid` None: it is between two lives, or stopped.

    `inbox`: its code takes messages; known for certain only when it is `ready`.
    """

    path: str
    generation: int = 0
    pid: int | None = None
    description: str = ""
    capabilities: tuple[str, ...] = ()
    limit: int = DEFAULT_LIMIT
    on_full: OnFull = OnFull.REJECT
    acl: Acl = field(default_factory=Acl)
    draining: bool = False
    ready: bool = True
    inbox: bool = True
    intercepts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Joined:
    """A member is new, has begun another life, or what is known of it has changed."""

    member: Member


@dataclass(frozen=True, slots=True)
class Down:
    """This life of a member has ended."""

    path: str
    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Left:
    """A member is no longer in the tree."""

    path: str


Change: TypeAlias = Joined | Down | Left


class Directory(Protocol):
    """What the bus asks.  Watchers are called in the loop of the bus, after the change."""

    @property
    def epoch(self) -> int:
        """Another number whenever anything but the lives of members may have changed."""

    def member(self, path: str) -> Member | None:
        """Who has this path; None if nobody has."""

    def members(self) -> list[Member]:
        """All, in the order of the tree."""

    def interceptors(self) -> Interceptors:
        """Those who intercept, the dead too, in the order of the tree."""

    def identify(self, pid: int) -> Sender | None:
        """Whose life this process is; None if it is none that is known."""

    def watch(self, watcher: Callable[[Change], None]) -> Callable[[], None]:
        """Tell `watcher` of changes to those that are followed; call the result to end that."""

    def follow(self, path: str) -> None:
        """Changes to this member matter from now on."""

    def unfollow(self, path: str) -> None:
        """They no longer do."""

    def close(self) -> None:
        """Nothing more will be asked."""


class MemoryDirectory:
    """A directory that knows what it is told by `apply`.

    A process is known by its pid until another has it, so that the last words of a life
    that has just ended still have a sender.
    """

    def __init__(self, members: list[Member] | None = None) -> None:
        self._members: dict[str, Member] = {}
        self._pids: dict[int, Sender] = {}
        self._watchers: list[Callable[[Change], None]] = []
        self._epoch = 0
        for member in members or []:
            self.apply(Joined(member))

    @property
    def epoch(self) -> int:
        """See Directory."""
        return self._epoch

    def member(self, path: str) -> Member | None:
        """See Directory."""
        return self._members.get(path)

    def members(self) -> list[Member]:
        """See Directory."""
        return list(self._members.values())

    def interceptors(self) -> Interceptors:
        """See Directory."""
        return tuple((m.path, m.intercepts) for m in self._members.values() if m.intercepts)

    def identify(self, pid: int) -> Sender | None:
        """See Directory."""
        return self._pids.get(pid)

    def watch(self, watcher: Callable[[Change], None]) -> Callable[[], None]:
        """See Directory."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def follow(self, path: str) -> None:
        """See Directory; here every change is told."""

    def unfollow(self, path: str) -> None:
        """See Directory."""

    def close(self) -> None:
        """See Directory."""

    def apply(self, change: Change) -> None:
        """Take a change in, and tell the watchers."""
        match change:
            case Joined(member):
                self._epoch += 1
                self._members[member.path] = member
                if member.pid is not None:
                    self._forget_pids(member.path)
                    self._pids[member.pid] = Sender(member.path, member.generation)
            case Down(path, generation):
                known = self._members.get(path)
                if known is not None and known.generation == generation:
                    self._members[path] = replace(known, pid=None)
            case Left(path):
                self._epoch += 1
                self._members.pop(path, None)
                self._forget_pids(path)
        for watcher in list(self._watchers):
            watcher(change)

    def _forget_pids(self, path: str) -> None:
        for pid in [pid for pid, sender in self._pids.items() if sender.path == path]:
            del self._pids[pid]
