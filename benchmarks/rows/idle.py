"""What a host costs that has nothing to do: CPU and memory of its own processes."""

from __future__ import annotations

import time

from benchmarks.measure import cpu_seconds, memory_bytes, now_s
from benchmarks.peers import Ours
from benchmarks.report import Figure, Options, Report, at_most
from benchmarks.workload import TRIVIAL

__all__ = ["run"]

_LIMIT_S = 120.0
_SETTLE_S = 3.0
_MB = 1_000_000


def run(options: Options) -> Report:
    """1,000 trivial children, looked at for 30 s; `scale-watchdogs` is the same with watchdogs."""
    count, span_s = (100, 2.0) if options.quick else (1000, 30.0)
    report = Report("idle", f"root and spawner with {count:,} idle children", "% of a core")
    with Ours(TRIVIAL, count) as host:
        host.wait_up(_LIMIT_S)
        host.wait_ready(_LIMIT_S)
        time.sleep(_SETTLE_S)
        pids = host.pids()
        begin, before = now_s(), {who: cpu_seconds([pid]) for who, pid in pids.items()}
        time.sleep(span_s)
        taken_s = now_s() - begin
        shares = {who: (cpu_seconds([pid]) - before[who]) / taken_s for who, pid in pids.items()}
        sizes = {
            who: (memory_bytes(pid, "Rss") / _MB, memory_bytes(pid) / _MB)
            for who, pid in pids.items()
        }
    for who, share in shares.items():
        report.enter(who, [share * 100])
    both = [who for who in pids if who != "logger"]
    share = sum(shares[who] for who in both) * 100
    rss, pss = (sum(sizes[who][kind] for who in both) for kind in (0, 1))
    report.figures.append(at_most("CPU of root and spawner", share, 0.5, "%"))
    # The spawner's PSS is shared out among its children; its RSS is the larger, honest figure.
    report.figures.append(at_most("RSS of root and spawner", rss, 60.0, "MB"))
    report.figures.append(Figure("PSS of root and spawner", f"{pss:.3g} MB"))
    for who, (own_rss, own_pss) in sizes.items():
        report.figures.append(Figure(f"{who}: RSS, PSS", f"{own_rss:.3g} MB, {own_pss:.3g} MB"))
    return report
