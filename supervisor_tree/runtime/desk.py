"""The host as the operations of its control socket see it: `control.operations.HostView`."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

from supervisor_tree.control.events import EventLog
from supervisor_tree.control.holds import Asker, Hold
from supervisor_tree.core.child import ChildState
from supervisor_tree.core.origin import left_out_data
from supervisor_tree.core.stimuli import Stimulus
from supervisor_tree.runtime.agentdata import Wardrobe
from supervisor_tree.runtime.builds import Builds
from supervisor_tree.runtime.confinement import Confinement
from supervisor_tree.runtime.driver import Driver
from supervisor_tree.runtime.inherited import Inherited
from supervisor_tree.runtime.launcher import Launcher
from supervisor_tree.runtime.listeners import Listeners
from supervisor_tree.runtime.logs.streams import LogStreams
from supervisor_tree.runtime.membership import Membership
from supervisor_tree.runtime.platform_facts import PlatformFacts
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.service import Service
from supervisor_tree.runtime.settings import HostSettings
from supervisor_tree.runtime.wanted import WantedState
from supervisor_tree.version import VERSION

__all__ = ["Course", "Desk", "Makers"]


class Makers(Launcher, Protocol):
    """A launcher that has a process of its own for making others."""

    @property
    def pid(self) -> int:
        """0 while there is none."""
        ...


class Course(Protocol):
    """The parts of a running host, and how it fares.  Implemented by `host.Host`."""

    phase: str  # `starting`, `running` or `stopping`
    safe_mode: bool  # it has come up with its children parked
    settings: HostSettings
    driver: Driver
    reactor: Reactor
    log: EventLog
    members: Membership
    streams: LogStreams
    confinement: Confinement
    service: Service
    inherited: Inherited
    wanted: WantedState
    listeners: Listeners

    @property
    def launcher(self) -> Makers: ...

    def say(self, line: str) -> None:
        """A line for the host's log."""
        ...

    def environment(self, path: str, generation: int) -> Mapping[str, str]:
        """The keys of a child's environment that only the host sets."""
        ...

    def begin_shutdown(self, *, timeout_s: float | None = None) -> None:
        """Stop the tree and end; what is left after `timeout_s` is ended by force."""
        ...


class Desk:
    """Answers for one host, all of whose parts are there."""

    def __init__(self, host: Course) -> None:
        self.tree = host.driver.tree
        self.log = host.log
        self.begin_shutdown = host.begin_shutdown
        self.say = host.say
        self._host = host
        self._wardrobe = Wardrobe(host.settings.state_dir, self)
        self.clear = self._wardrobe.clear
        self.is_being_logged = host.streams.carries
        self._builds = Builds(self)
        self.begin_build, self.build_result = self._builds.begin, self._builds.result
        self.heed = self._builds.heed
        self._started_at = self.wall()
        self._platform = PlatformFacts.gather(os.environ, host.inherited, os.getpid())

    @property
    def phase(self) -> str:
        """See HostView."""
        return self._host.phase

    def facts(self) -> dict[str, Any]:
        """What a client may want to know of the host itself; plain data.

        `left_out` has the included files whose children are not there because of what is wrong.
        """
        origin = self._host.settings.origin
        return {
            "name": self._host.settings.name,
            "instance": self.log.instance,
            "pid": os.getpid(),
            "spawner_pid": self._host.launcher.pid,
            "version": VERSION,
            "config": self._host.settings.config,
            "run_dir": str(self._host.settings.run_dir),
            "state_dir": str(self._host.settings.state_dir),
            "log_dir": str(self._host.settings.log_dir),
            "logs": asdict(self._host.streams.stats),
            "safe_mode": self.in_safe_mode(),
            "turns": self._host.reactor.turns,
            "left_out": [
                each
                for each in left_out_data(map(asdict, origin.left_out), origin.included)
                if not each["goes_on"]
            ],
            "limits": self._host.confinement.facts(),
            "platform": asdict(self._platform),
            "uptime_s": round(self.wall() - self._started_at, 3),
        }

    def in_safe_mode(self) -> bool:
        """The host has come up in safe mode, and some of its children still wait for an order."""
        return self._host.safe_mode and any(
            row.state is ChildState.PARKED for row in self.tree.rows("/")
        )

    def now(self) -> float:
        """Monotonic seconds, the core's time."""
        return self._host.reactor.clock.now()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._host.reactor.clock.wall()

    def said(self, path: str) -> str:
        """The last STATUS= of the child's present life, or what it is busy with."""
        life = self._host.driver.life_of(path)
        if life is None:
            return ""
        return life.status or (f"busy with {life.busy}" if life.busy else "")

    def owned(self, path: str) -> dict[str, str]:
        """The variables that the host has set for the child's present life, if it has one."""
        life = self._host.driver.life_of(path)
        if life is None:
            return {}
        return {**self._host.environment(path, life.generation), **life.variables}

    def unmet(self, path: str) -> list[str]:
        """What the child's present life is not ready without (see `readiness`)."""
        life = self._host.driver.life_of(path)
        return [] if life is None else sorted(life.unmet)

    def holds(self) -> Mapping[str, Hold]:
        """What operators want against the rules and the specification, by path."""
        return self._host.wanted.holds

    def holds_problem(self) -> str:
        """Why they would not survive the host's end, or ""."""
        return self._host.wanted.problem

    def submit(
        self,
        make: Callable[[int], Stimulus],
        answer: Callable[[Any], None],
        asker: Asker | None = None,
    ) -> None:
        """Give the core a request; what it changes of the holds is on the disk when it answers."""
        self._host.driver.submit(make, partial(self._answered, answer, asker), asker)

    def _answered(self, answer: Callable[[Any], None], asker: Asker | None, result: Any) -> None:
        # Who hears that a child is stopped or deleted must not find it any more.
        self._host.members.settle()
        self._host.listeners.settle(self.tree.row)
        self._host.service.touch()
        self._host.wanted.when_kept(asker, partial(self._kept, answer, result))

    def _kept(self, answer: Callable[[Any], None], result: Any, problem: str) -> None:
        answer(("ok", "unremembered") if problem and result[0] == "ok" else result)

    def signal_child(self, path: str, generation: int, number: int) -> None:
        """An operator's signal to one life's leader."""
        self._host.launcher.signal(path, generation, number)

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None:
        """Turn the loop again in `delay_s` seconds."""
        self._host.reactor.call_in(key, delay_s, callback)
