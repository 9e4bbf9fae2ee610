"""What a host remembers of its own troubles: boots, leaks and reports, all in its state directory.

Implements `control.diagnosis_verbs.DiagnosisView` by way of the desk.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor_tree.control.holds import Hold
from supervisor_tree.core.actions import TreeEnded, Why
from supervisor_tree.core.environment import is_owned
from supervisor_tree.core.tree import Tree
from supervisor_tree.runtime.boots import BootLedger
from supervisor_tree.runtime.chronicle import Chronicle
from supervisor_tree.runtime.desk import Desk
from supervisor_tree.runtime.leaks import LeakLedger
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.reporter import Reporter
from supervisor_tree.runtime.reports import Reports
from supervisor_tree.runtime.settings import HostSettings
from supervisor_tree.runtime.state import Leftover

__all__ = ["Diagnosis"]

_MOST_TOLD = 20  # processes, one by one


class Diagnosis:
    """Of one host.  `begin` when its directories are its own, `open` when its parts are there."""

    def __init__(self, settings: HostSettings, instance: str, chronicle: Chronicle) -> None:
        self._settings = settings
        self._boots = BootLedger(settings.state_dir, instance)
        self._leaks = LeakLedger(settings.state_dir)
        self._chronicle = chronicle

    def begin(self, wall: float) -> bool:
        """Note this boot; whether the host comes up in safe mode.

        An embedding program sees for itself what becomes of its tree, and is not second-guessed.
        """
        settings = self._settings
        safe_mode = self._boots.begin(wall, breaker=settings.safe_mode and settings.lifeline < 0)
        if self._boots.problem:
            self._chronicle.tell(self._boots.problem)
        if safe_mode:
            self._chronicle.tell(
                f"SAFE MODE: the last {self._boots.unclean(wall)} lives of this host ended within "
                "minutes and not in order; no child is started. See `doctor` and `report`, then "
                "`reset-failed` starts all of them (or `run --no-safe-mode`)"
            )
        return safe_mode

    def open(
        self,
        desk: Desk,
        reactor: Reactor,
        leftovers: Sequence[Leftover],
        ended: Sequence[Leftover],
    ) -> None:
        """The host's parts are there, and so are `leftovers`, which are left alone."""
        self._desk = desk
        self._reports = Reports(self._settings.state_dir / "reports")
        self._reporter = Reporter(desk, reactor, self._reports, self._chronicle)
        for left in ended[:_MOST_TOLD]:
            self._chronicle.tell(
                f"ended, of a former life of this host: pid {left.pid} of {left.path} "
                f"({left.command.strip()})"
            )
        if len(ended) > _MOST_TOLD:
            self._chronicle.tell(f"and {len(ended) - _MOST_TOLD} more of them")
        for left in leftovers:
            self._chronicle.tell(
                f"left alone, of a former life of this host: pid {left.pid} of {left.path} "
                f"({left.command.strip()}); its child is started all the same"
            )

    def heard(self, record: Mapping[str, Any]) -> None:
        """An event has been published.  A fault of ours is told, and the host goes on."""
        try:
            if record["event"] == "host_started" and record["safe_mode"]:
                self._reporter.write("safe_mode", "the host has come up in safe mode")
            self._leaks.heard(record)
            self._reporter.heard(record)
        except Exception as error:
            self._chronicle.fault(error)

    def forced(self, what: str) -> None:
        """The host ends what it runs, or itself, by force."""
        self._reporter.write("forced_exit", what)

    def tree_ended(self, ended: TreeEnded, words: str) -> None:
        """The tree has ended by itself; the first start of it may have failed."""
        if ended.why is Why.BOOT:
            self._reporter.write("failed_start", words)

    def crashed(self, error: BaseException) -> None:
        """A bug of ours ends the host: the boot ledger says so by saying nothing."""
        self._reporter.write("host_crash", "".join(traceback.format_exception(error)[-20:]))

    def end(self, outcome: str) -> None:
        """The host ends in order."""
        self._boots.end(outcome)

    def flush(self) -> None:
        """The last moment for reports that were to be written soon."""
        self._reporter.flush()

    # --- control.diagnosis_verbs.DiagnosisView ---------------------------------------------------

    @property
    def tree(self) -> Tree:
        """See DiagnosisView."""
        return self._desk.tree

    def now(self) -> float:
        """See DiagnosisView."""
        return self._desk.now()

    def wall(self) -> float:
        """See DiagnosisView."""
        return self._desk.wall()

    def said(self, path: str) -> str:
        """See DiagnosisView."""
        return self._desk.said(path)

    def holds(self) -> Mapping[str, Hold]:
        """What operators want against the rules and the specification, by path."""
        return self._desk.holds()

    def unmet(self, path: str) -> list[str]:
        """See DiagnosisView."""
        return self._desk.unmet(path)

    def leaks(self) -> list[dict[str, Any]]:
        """See DiagnosisView."""
        return self._leaks.entries()

    def lost(self) -> dict[str, int]:
        """See DiagnosisView."""
        boots = int(bool(self._boots.problem))
        return {"reports": self._reports.lost, "leaks": self._leaks.lost, "boots": boots}

    def write_report(self, path: str) -> str | None:
        """See DiagnosisView."""
        file = self._reporter.write("asked", "an operator has asked for it", path)
        return None if file is None else str(file)

    def inherited(self) -> dict[str, str]:
        """See DiagnosisView."""
        return {key: value for key, value in os.environ.items() if not is_owned(key)}

    def owned(self, path: str) -> dict[str, str]:
        """See DiagnosisView."""
        return self._desk.owned(path)
