"""What keeps the processes of a child within limits that count for all of them together.

A cgroup does it where there can be one.  Where not, `memory_max` is watched over by a process
of the host's own, `/_/meter`, which looks every two seconds; `pids_max` and `cpu_max` nobody
can keep then, and the host says so, once.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from supervisor_tree.core.specs import Backoff, ChildSpec, Limits
from supervisor_tree.core.stimuli import MemoryExceeded, StartChildRequested, Stimulus
from supervisor_tree.files import write_whole
from supervisor_tree.runtime.cgroups import Cgroup, Territory, needs
from supervisor_tree.runtime.sharing import share

if TYPE_CHECKING:
    from supervisor_tree.runtime.chronicle import Chronicle
    from supervisor_tree.runtime.driver import Driver
    from supervisor_tree.runtime.notify import NotifySocket
    from supervisor_tree.runtime.reactor import Reactor
    from supervisor_tree.runtime.settings import HostSettings

__all__ = [
    "CEILINGS",
    "METER",
    "OVERSIZE_KEY",
    "Around",
    "Confinement",
    "Loop",
    "Relatives",
    "Steering",
    "confine",
]

METER = "/_/meter"
CEILINGS = "ceilings.json"  # in the run directory; written by the root, read by the meter
OVERSIZE_KEY = "X_SUPERVISOR_TREE_OVERSIZE"  # generation, bytes and path; from the meter alone
_NO_LIMITS = Limits()


class Steering(Protocol):
    """What is needed of the driver."""

    confinement: Confinement | None

    @property
    def lives(self) -> Mapping[tuple[str, int], Any]: ...

    def submit(self, make: Callable[[int], Stimulus], answer: Callable[[Any], None]) -> None: ...


class Loop(Protocol):
    """What is needed of the reactor."""

    def call_in(self, key: str, delay_s: float, callback: Callable[[], None]) -> None: ...


class Confinement:
    """Of all children of one host.  `tell` hears what an operator should know."""

    def __init__(
        self,
        territory: Territory,
        instance: str,
        driver: Steering,
        loop: Loop,
        tell: Callable[[str], None],
    ) -> None:
        self.territory = territory
        self._file = territory.run_dir / CEILINGS
        self._instance = instance
        self._driver = driver
        self._loop = loop
        self._tell = tell
        self._ceilings: dict[tuple[str, int], int] = {}  # of lives that the meter watches
        self._told: set[str] = set()
        self._metered = False
        self._strangers = False
        self._on_stranger: Callable[[], None] = lambda: None

    def settle(self, on_stranger: Callable[[], None], *, leave: bool) -> None:
        """At the start of a host, once it has the run directory.

        `on_stranger` is called before the first child of another user is started.  `leave`: what
        a former life of the host has left running shall go on.
        """
        self._on_stranger = on_stranger
        self._driver.confinement = self
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)
        if self.territory.settle(leave=leave):
            self._tell("cgroups that a former life of this host had left are removed")

    def prepare(self, path: str, generation: int, spec: ChildSpec) -> Cgroup | None:
        """For a life that is about to begin: its cgroup, if it needs one and can have one."""
        if spec.user is not None and not self._strangers:
            self._strangers = True
            self._on_stranger()
        limits = spec.limits
        if limits == _NO_LIMITS or not needs(limits):
            return None
        cgroup = self.territory.cgroup(path, generation, limits)
        missing = self.territory.missing(limits)
        self._tell_of([key for key in missing if key not in self._told], path)
        if "memory_max" in missing and limits.memory_max is not None:
            self._ceilings[path, generation] = limits.memory_max
            if not self._metered:
                self._metered = True
                self._loop.call_in("meter", 0.0, self._start_meter)
        return cgroup

    def write(self, children: Iterable[tuple[str, int, int, int]]) -> None:
        """Let the meter know who is there: (path, generation, pid, start_ticks) of each."""
        if not self._metered:
            return
        lives, ceilings = self._driver.lives, self._ceilings
        self._ceilings = {key: limit for key, limit in ceilings.items() if key in lives}
        there = {(path, generation): (pid, ticks) for path, generation, pid, ticks in children}
        rows = [[*key, *there[key], limit] for key, limit in self._ceilings.items() if key in there]
        with contextlib.suppress(OSError):  # a full disk; with the next child it is tried again
            write_whole(self._file, json.dumps(rows).encode())

    def measured(self, text: str) -> Iterator[Stimulus]:
        """What the meter has said of a life."""
        generation, held, path = text.split(" ", 2)
        life = (path, int(generation))
        limit = self._ceilings.pop(life, None)
        if limit is not None:
            self._tell(f"{path} holds {_mb(int(held))}, limits.memory_max is {_mb(limit)}: killed")
            yield MemoryExceeded(*life)

    def facts(self) -> dict[str, Any]:
        """For `health` and `doctor`: what there is, and which keys nobody keeps and why."""
        territory = self.territory
        return {
            "controllers": sorted(territory.controllers),
            "directory": None if territory.directory is None else str(territory.directory),
            "missing": sorted(self._told),
            "problem": territory.problem,
        }

    def close(self) -> None:
        """The host ends."""
        self.territory.close()
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _tell_of(self, keys: list[str], path: str) -> None:
        """Of each key once: the next child with it meets with the same."""
        if not keys:
            return
        self._told.update(keys)
        lost = [key for key in keys if key != "memory_max"]
        fates = ["memory_max is looked after every 2 s"] * ("memory_max" in keys)
        fates += [f"{' and '.join(lost)} CANNOT BE KEPT"] * bool(lost)
        why = self.territory.why(keys[0])
        self._tell(f"limits of {path}: it gets no cgroup, so {', '.join(fates)} ({why})")

    def _start_meter(self) -> None:
        meter = ChildSpec(
            id=METER.rpartition("/")[2],
            agent="supervisor_tree.spawner.meter:main",
            type="robot",
            shutdown=1.0,
            backoff=Backoff(initial=0.1, max=5.0, reset_after=10.0),
            args={"file": str(self._file), "instance": self._instance, "root": os.getpid()},
        )
        above = METER.rpartition("/")[0]
        self._driver.submit(
            lambda request: StartChildRequested(request, above, meter), lambda answer: None
        )


class Around(Protocol):
    """The parts of a host that it is made of."""

    settings: HostSettings
    instance: str
    driver: Driver
    reactor: Reactor
    notify: NotifySocket
    chronicle: Chronicle

    @property
    def launcher(self) -> Relatives: ...


class Relatives(Protocol):
    """What knows of the host's processes."""

    def family(self) -> list[int]:
        """All of them, the root first."""
        ...


def confine(host: Around, *, leave: bool) -> Confinement:
    """That of a host which is being built and has its run directory."""
    territory = Territory(host.settings.run_dir, host.launcher.family)
    tell = host.chronicle.tell
    confinement = Confinement(territory, host.instance, host.driver, host.reactor, tell)
    confinement.settle(partial(share, host.settings, host.notify), leave=leave)
    return confinement


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
