"""runit: runsvdir, and a runsv for each child."""

from __future__ import annotations

import shlex
import signal

from benchmarks.peers.base import Peer

__all__ = ["Runit"]


class Runit(Peer):
    """A child that lives less than a second is held back for one, so it is let live longer."""

    name = "runit"
    programs = ("runsvdir", "runsv", "sv")
    least_life_s = 1.1

    def start(self) -> None:
        services = self.directory / "services"
        for number in range(self.count):
            service = services / f"c{number}"
            service.mkdir(parents=True)
            run = service / "run"
            run.write_text(f"#!/bin/sh\nexec {shlex.join(self.command)}\n", encoding="utf-8")
            run.chmod(0o755)
        self.run(["runsvdir", "-P", str(services)])

    def ask_to_end(self) -> None:
        if self._manager is not None:
            self._manager.send_signal(signal.SIGHUP)  # runsvdir(8): TERM to every runsv

    def status_command(self) -> list[str]:
        services = self.directory / "services"
        return ["sv", "status", *(str(services / f"c{number}") for number in range(self.count))]
