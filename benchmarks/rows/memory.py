"""Memory of idle children: the mean PSS, so that what is shared counts once."""

from __future__ import annotations

import time

from benchmarks.measure import memory_bytes
from benchmarks.peers import Ours, Peer, Pm2, Runit, Supervisord
from benchmarks.report import Options, Report, at_most
from benchmarks.workload import TRIVIAL, USUAL

__all__ = ["run"]

_LIMIT_S = 60.0
_SETTLE_S = 1.0
_MB = 1_000_000


def run(options: Options) -> Report:
    """Usual children, ours and the first exec-based peer that is there; and trivial ones."""
    report = Report("memory", "PSS of one idle child", "MB")
    count = 5 if options.quick else 100
    ours = "supervisor_tree, usual imports"
    report.enter(ours, _sizes(Ours(USUAL, count)))
    if options.peers:
        peer = next((kind for kind in (Runit, Supervisord, Pm2) if kind.missing() is None), None)
        if peer is None:
            report.left_out.append("no peer that executes is installed")
        else:
            theirs = f"{peer.name}, usual imports"
            report.enter(theirs, _sizes(peer(USUAL, min(count, 20))))
            report.compare(ours, theirs, most=0.3)
    small = _sizes(Ours(TRIVIAL, count))
    report.enter("supervisor_tree, trivial", small)
    report.figures.append(at_most("trivial child", sum(small) / len(small), 2.5, "MB"))
    return report


def _sizes(peer: Peer) -> list[float]:
    with peer:
        lives = peer.wait_up(_LIMIT_S)
        time.sleep(_SETTLE_S)
        return [memory_bytes(life.pid) / _MB for life in lives]
