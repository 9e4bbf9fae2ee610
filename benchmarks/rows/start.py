"""From the command to the last child's first line, and for us until the root says ready.

Every run starts from nothing: our interpreters, our preload, the limit's too.  Runs take
turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.measure import now_s
from benchmarks.peers import S6, BareForks, Ours, Peer, Pm2, Supervisord
from benchmarks.report import Options, Report
from benchmarks.workload import TRIVIAL, USUAL, Workload

__all__ = ["trivial", "usual"]

_LIMIT_S = 120.0
_FIRST_LINES = "supervisor_tree, until the last first line"


class _Forks(BareForks):
    mode = "start"


def trivial(options: Options) -> Report:
    """1,000 children that do nothing; s6 with 500, which is what it is known to bear."""
    report = Report("start", "start of 1,000 trivial children", "children/s")
    ours, theirs = (100, 50) if options.quick else (1000, 500)
    kinds: list[tuple[type[Peer], int]] = [(Ours, ours), (_Forks, ours)]
    if options.peers:
        kinds.append((S6, theirs))
    _take_turns(report, TRIVIAL, kinds, 1 if options.quick else 3)
    report.compare(Ours.name, BareForks.name, least=1 / 1.5)
    report.compare(Ours.name, S6.name, least=3.0)
    return report


def usual(options: Options) -> Report:
    """100 children with the usual imports."""
    report = Report("start-usual", "start of 100 children with the usual imports", "children/s")
    count = 10 if options.quick else 100
    kinds: list[tuple[type[Peer], int]] = [(Ours, count), (_Forks, count)]
    if options.peers:
        kinds += [(Pm2, count), (Supervisord, count)]
    _take_turns(report, USUAL, kinds, 1 if options.quick else 3)
    report.compare(Ours.name, Pm2.name, least=15.0)
    report.compare(Ours.name, Supervisord.name, least=15.0)
    return report


def _take_turns(
    report: Report, workload: Workload, kinds: Sequence[tuple[type[Peer], int]], turns: int
) -> None:
    rates: dict[str, list[float]] = {}
    reasons = {kind: kind.missing() for kind, _ in kinds}
    report.left_out += [f"{kind.name}: {reason}" for kind, reason in reasons.items() if reason]
    for turn in range(turns):
        for kind, count in kinds:
            if reasons[kind] is None and (turn == 0 or kind.name not in _ONCE):
                for who, seconds in _ONE.get(kind, _first_lines)(kind(workload, count)):
                    rates.setdefault(who, []).append(count / seconds)
    for who, samples in rates.items():
        report.enter(who, samples)


def _first_lines(peer: Peer) -> list[tuple[str, float]]:
    begin = now_s()
    with peer:
        last = max(life.at for life in peer.wait_up(_LIMIT_S))
    return [(peer.name, last - begin)]


def _until_ready(peer: Peer) -> list[tuple[str, float]]:
    assert isinstance(peer, Ours)
    begin = now_s()
    with peer:
        ready = peer.wait_ready(_LIMIT_S)
        last = max(life.at for life in peer.wait_up(_LIMIT_S))
    return [(peer.name, max(ready, last) - begin), (_FIRST_LINES, last - begin)]


_ONE: dict[type[Peer], Callable[[Peer], list[tuple[str, float]]]] = {Ours: _until_ready}
_ONCE = frozenset({Pm2.name, Supervisord.name})  # ten seconds and more each
