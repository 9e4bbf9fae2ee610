"""s6: s6-svscan, and an s6-supervise for each child."""

from __future__ import annotations

import shlex

from benchmarks.peers.base import Peer

__all__ = ["S6"]


class S6(Peer):
    """It waits a second between two lives, always."""

    name = "s6"
    programs = ("s6-svscan", "s6-supervise")
    slow = True

    def start(self) -> None:
        services = self.directory / "services"
        for number in range(self.count):
            service = services / f"c{number}"
            service.mkdir(parents=True)
            run = service / "run"
            run.write_text(f"#!/bin/sh\nexec {shlex.join(self.command)}\n", encoding="utf-8")
            run.chmod(0o755)
        # Its table takes 500 services unless told otherwise.
        self.run(["s6-svscan", "-c", str(max(500, self.count + 10)), str(services)])
