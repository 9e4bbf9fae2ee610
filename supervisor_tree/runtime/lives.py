"""A life as the root knows it, and what its driver needs of the host around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from supervisor_tree.control.holds import Asker
from supervisor_tree.core.actions import HoldChanged, Report, TreeEnded
from supervisor_tree.core.lifecycle import LifecycleEvent
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.runtime.listeners import Named

__all__ = ["Life", "Outside"]


@dataclass(slots=True)
class Life:
    """One process that the core has asked for.  `unmet` is what it is not ready without."""

    path: str
    generation: int
    spec: ChildSpec
    pid: int | None = None
    start_ticks: int = 0
    ready: bool = False
    unmet: frozenset[str] = frozenset()
    status: str = ""
    busy: str = ""  # what it says it is busy with
    failed: bool = False
    ignored: bool = False
    inbox: bool = False  # it takes messages of the bus
    sockets: Mapping[str, str] | None = None  # what it is told of those that it listens on

    @property
    def variables(self) -> dict[str, str]:
        """What its specification makes the host set in its environment."""
        found, watchdog = dict(self.sockets or {}), self.spec.watchdog
        if watchdog is not None and watchdog.idle is not None:
            found["WATCHDOG_USEC"] = str(round(watchdog.idle * 1e6))
        return found


class Outside(Protocol):
    """What the driver needs of the host around it."""

    def environment(self, path: str, generation: int) -> Mapping[str, str]:
        """The keys of a child's environment that the host owns."""
        ...

    def sockets(self, path: str, spec: ChildSpec) -> Sequence[Named]:
        """What the child listens on.  Raises OSError with a sentence for an operator."""
        ...

    def note(self, event: LifecycleEvent) -> None:
        """What is about to be published, so that lives which begin before that can know it."""
        ...

    def publish(self, event: LifecycleEvent) -> None: ...

    def report(self, report: Report) -> None: ...

    def attach(self, life: Life, stdout: int, stderr: int) -> None:
        """Take over the read ends of a child's output."""
        ...

    def remember(self, change: HoldChanged, asker: Asker | None) -> None:
        """Keep for the next life of the host what an operator wants."""
        ...

    def tree_ended(self, ended: TreeEnded) -> None: ...
