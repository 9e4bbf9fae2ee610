"""What the log path takes in while many children write at once."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from benchmarks.measure import NothingCame, cpu_seconds, now_s
from benchmarks.peers import Ours, Peer, Pm2, Supervisord
from benchmarks.report import Figure, Options, Report, at_least, at_most
from benchmarks.workload import NOISY

__all__ = ["run"]

_UP_S = 120.0
_LATE_S = 60.0
_MB = 1_000_000
_OFFERED = 100  # MB/s, of all children together
_LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class _Noise:
    """One run: MB/s taken in, the longest wait of a write, CPU of who takes it in."""

    rate: float
    longest_s: float
    share: float


def run(options: Options) -> Report:
    """50 children: 100 MB/s for 5 s, then as much as gets through; the peers the latter alone."""
    count, span_s = (5, 0.5) if options.quick else (50, 5.0)
    report = Report("scale-logs", f"log lines of {count} children at once", "MB/s")
    asked = _noise(Ours, count, _OFFERED, span_s)
    report.enter(f"{Ours.name}, {_OFFERED} MB/s offered", [asked.rate])
    report.figures += [
        at_least(f"taken in of {_OFFERED} MB/s", asked.rate, 0.99 * _OFFERED, "MB/s"),
        at_most("CPU of the logger at that", asked.share * 100, 100.0, "% of a core"),
        Figure("longest wait of one write at that", f"{asked.longest_s * 1000:.3g} ms"),
    ]
    kinds: list[type[Peer]] = [Ours]
    if options.peers:
        kinds += [Supervisord, Pm2]
    for kind in kinds:
        reason = kind.missing()
        if reason is not None:
            report.left_out.append(f"{kind.name}: {reason}")
            continue
        report.enter(f"{kind.name}, flat out", [_noise(kind, count, 0, span_s).rate])
    for kind in kinds[1:]:
        report.compare(f"{Ours.name}, flat out", f"{kind.name}, flat out")
    return report


def _noise(kind: type[Peer], count: int, offered: float, span_s: float) -> _Noise:
    """`offered` MB/s by all together; 0: flat out."""
    with kind(NOISY, count) as peer:
        noise, go = peer.directory / "noise", peer.directory / "go"
        noise.write_text(f"{offered * _MB / count} {span_s}", encoding="utf-8")
        os.mkfifo(go)
        peer.wait_up(_UP_S)
        taker = peer.pids()["logger"] if isinstance(peer, Ours) else peer.manager
        time.sleep(1.0)
        before = cpu_seconds([taker])
        begin = now_s()
        go.open("wb").close()
        results = _results(peer, count, span_s + _LATE_S)
        end = max(at for _written, at, _longest in results)
        share = (cpu_seconds([taker]) - before) / (now_s() - begin)
        total = sum(written for written, _at, _longest in results)
        longest_s = max(longest for _written, _at, longest in results)
        return _Noise(total / _MB / (end - begin), longest_s, share)


def _results(peer: Peer, count: int, limit_s: float) -> list[tuple[float, float, float]]:
    deadline = now_s() + limit_s
    while len(found := list(peer.directory.glob("*.noise"))) < count:
        if now_s() > deadline:
            raise NothingCame(f"{peer.name}: {len(found)} of {count} have written all")
        time.sleep(_LOOK_S)
    rows = [file.read_text(encoding="utf-8").split() for file in found]
    return [(float(written), float(at), float(longest)) for written, at, longest in rows]
