"""From SIGKILL to the first line of the next life.

All contestants run side by side, idle, with one child each.  In each round each child is
killed once, in turns that rotate, so that whatever else happens on the machine happens to
all.  The clock is read right before kill(2), and by the child in its first line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.measure import Life, now_s
from benchmarks.peers import (
    EXEC_PEERS,
    BareForks,
    DressedForks,
    OtpPort,
    Ours,
    OursWarm,
    Peer,
    Pm2,
    Runit,
    Supervisord,
)
from benchmarks.report import Options, Report
from benchmarks.workload import TRIVIAL, USUAL, Workload

__all__ = ["trivial", "usual", "warm"]

_UP_S = 30.0
_AGAIN_S = 20.0
_SETTLE_S = 0.05  # for what the last one killed has still to do


@dataclass(slots=True)
class _Contestant:
    peer: Peer
    life: Life
    samples: list[float] = field(default_factory=list)

    def kill_once(self) -> None:
        """One sample, in milliseconds."""
        time.sleep(max(_SETTLE_S, self.life.at + self.peer.least_life_s - now_s()))
        begin = now_s()
        os.kill(self.life.pid, signal.SIGKILL)
        self.life = self.peer.lines.next(_AGAIN_S)
        self.samples.append((self.life.at - begin) * 1000)


def trivial(options: Options) -> Report:
    """A child that does nothing."""
    report = Report("restart", "SIGKILL to first line of the next life, trivial child", "ms")
    _measure(report, TRIVIAL, options, rounds=60)
    report.compare(Ours.name, BareForks.name, most=1.3)
    for peer in (Runit, Pm2, OtpPort):
        report.compare(Ours.name, peer.name, most=0.4)
    report.compare(Ours.name, Supervisord.name, most=0.01)
    return report


def usual(options: Options) -> Report:
    """A child with asyncio, zmq, httpx, pydantic and loguru, until it is ready."""
    report = Report("restart-usual", "SIGKILL to ready, child with the usual imports", "ms")
    _measure(report, USUAL, options, rounds=30)
    report.compare(Ours.name, BareForks.name, most=1.3)
    for peer in EXEC_PEERS:
        report.compare(Ours.name, peer.name, most=1 / 30)
    return report


def warm(options: Options) -> Report:
    """What a spare that is forked ahead saves."""
    report = Report("warm", "SIGKILL to first line of the next life, with a spare", "ms")
    _rounds(report, TRIVIAL, (Ours, OursWarm, BareForks), 5 if options.quick else 60)
    report.compare(OursWarm.name, Ours.name, most=1.0)
    return report


def _measure(report: Report, workload: Workload, options: Options, *, rounds: int) -> None:
    kinds: list[type[Peer]] = [Ours, BareForks, DressedForks]
    if options.peers:
        kinds += EXEC_PEERS
    _rounds(report, workload, kinds, 5 if options.quick else rounds)


def _rounds(report: Report, workload: Workload, kinds: Sequence[type[Peer]], rounds: int) -> None:
    with contextlib.ExitStack() as stack:
        contestants = []
        for kind in kinds:
            reason = kind.missing()
            if reason is not None:
                report.left_out.append(f"{kind.name}: {reason}")
                continue
            peer = stack.enter_context(kind(workload))
            contestants.append(_Contestant(peer, peer.wait_up(_UP_S)[0]))
        for number in range(rounds):
            first = number % len(contestants)  # nobody always comes after the same one
            for contestant in contestants[first:] + contestants[:first]:
                if number % 6 == 0 or not contestant.peer.slow:
                    contestant.kill_once()
        for contestant in contestants:
            report.enter(contestant.peer.name, contestant.samples)
