"""The limit: `benchmarks.floor`, a fork loop with the same imports as our spawner."""

from __future__ import annotations

import sys
from typing import ClassVar

from benchmarks.peers.base import Peer

__all__ = ["BareForks", "DressedForks"]


class BareForks(Peer):
    """os.fork, the agent called at once; pidfd, waitid, os.fork."""

    name = "bare fork loop"
    flags: ClassVar[tuple[str, ...]] = ()
    mode: ClassVar[str] = "restart"

    def start(self) -> None:
        where = [self.workload.module, str(self.lines.path), str(self.count)]
        self.run([sys.executable, "-m", "benchmarks.floor", self.mode, *where, *self.flags])


class DressedForks(BareForks):
    """The same with a session, two new pipes for the output, and all else closed."""

    name = "fork loop, session and pipes"
    flags = ("--dressed",)
