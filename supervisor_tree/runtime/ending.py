"""The part of a host's end that is done by force, and when it comes to that.

A stop has as long as its children need, unless somebody has set a limit: the operator with
`shutdown --timeout` or a second Ctrl-C, or the configuration with `stop_limit`, which knows
when the service manager above would end everything by SIGKILL.  We are first then, name what
had not stopped in a report, and end with a code that is not 0.
"""

from __future__ import annotations

import os
from typing import Protocol

from supervisor_tree.runtime.chronicle import Chronicle
from supervisor_tree.runtime.diagnosis import Diagnosis
from supervisor_tree.runtime.driver import Driver
from supervisor_tree.runtime.launcher import Launcher
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.rundir import RunDirectory
from supervisor_tree.runtime.settings import HostSettings
from supervisor_tree.runtime.signals import name_of

__all__ = ["Ending"]

_FORCED = 70  # EX_SOFTWARE, sysexits.h: a service manager takes it for a failure
_FROZEN_S = 2.0  # after so long a SIGKILL must have been carried out


class _Makers(Launcher, Protocol):
    """A launcher that can give up the processes that make others for it."""

    def abandon(self) -> None: ...


class _Host(Protocol):
    """The parts of a host that are needed to end it."""

    reactor: Reactor
    driver: Driver
    diagnosis: Diagnosis
    directory: RunDirectory
    chronicle: Chronicle
    settings: HostSettings

    @property
    def launcher(self) -> _Makers: ...

    def begin_shutdown(self) -> None: ...


class Ending:
    """Of one host."""

    def __init__(self, host: _Host) -> None:
        self.exit_code = 0  # another once the limit for every stop has been exceeded
        self._host = host
        self._interrupts = 0

    def interrupted(self, number: int) -> None:
        """SIGINT or SIGTERM: the first asks, the second shortens, the third does not wait."""
        self._interrupts += 1
        if self._interrupts == 1:
            self._host.chronicle.tell(
                f"{name_of(number)}: the tree is stopped in reverse order; a second one ends "
                "what is left by force"
            )
            self._host.begin_shutdown()
        elif self._interrupts == 2:
            self.force(f"a second {name_of(number)}")
        else:
            self._host.diagnosis.forced(f"a third {name_of(number)}; nothing was waited for")
            self._host.diagnosis.end("forced")
            # The spawner sees our end and empties every scope within two seconds.
            self._host.directory.leave()
            os._exit(128 + number)

    def say_last(self, exit_code: int, failure: str) -> None:
        """What a host says last: its exit code; if it has failed why, and where to look."""
        settings, code = self._host.settings, self.exit_code or exit_code
        why = f"has given up: {failure}; it ends" if failure else "has ended"
        said = f"host {settings.name} {why} with exit code {code}"
        if code:
            reports = settings.state_dir / "reports"
            said += f"; see `logs /` ({settings.log_dir}) and `report` ({reports})"
        self._host.chronicle.tell(said)

    def limit(self, stop_limit_s: float | None) -> None:
        """A stop has begun, and whoever is above us will not wait longer than this."""
        if stop_limit_s is not None:
            self._host.reactor.call_in("stop-limit", stop_limit_s, lambda: self._late(stop_limit_s))

    def force_in(self, timeout_s: float) -> None:
        """An operator gives the stop so long."""
        why = f"the stop was to take {timeout_s:g} s at most"
        self._host.reactor.call_in("shutdown-limit", timeout_s, lambda: self.force(why))

    def force(self, why: str) -> None:
        """SIGKILL every scope of the tree now; the core learns of it as of any exit.

        A spawner that is frozen carries nothing out: it is given up after a while, and its
        children, who are then the root's own, are ended by the root.
        """
        left = [life for life in self._host.driver.lives if not life[0].startswith("/_/")]
        named = ", ".join(path for path, _ in left[:20]) or "nobody"
        named += ", ..." if len(left) > 20 else ""
        self._host.diagnosis.forced(
            f"{why}; ended by force: {named}{', ...' if len(left) > 20 else ''}"
        )
        for path, generation in left:
            self._host.launcher.kill(path, generation)
        self._host.reactor.call_in("frozen-spawner", _FROZEN_S, self._host.launcher.abandon)

    def _late(self, stop_limit_s: float) -> None:
        self.exit_code = _FORCED
        self.force(f"the stop has taken longer than stop_limit, {stop_limit_s:g} s")
