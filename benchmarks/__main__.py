"""`python -m benchmarks [ROW...] [--quick] [--no-peers] [--json FILE]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.peers.base import become_subreaper
from benchmarks.report import Options, Report
from benchmarks.rows import ROWS

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and perhaps write JSON; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="few samples, small trees")
    parser.add_argument("--no-peers", action="store_true", help="ourselves and the limits only")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there too")
    words = parser.parse_args(argv)
    unknown = [name for name in words.rows if name not in ROWS]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)} (there are {', '.join(ROWS)})")
    signal.signal(signal.SIGTERM, _end)  # so that contestants are stopped
    become_subreaper()
    options = Options(quick=words.quick, peers=not words.no_peers)
    print(_machine_line(), flush=True)
    reports = []
    for name in words.rows or ROWS:
        reports.append(ROWS[name](options))
        print(_text(reports[-1]), flush=True)
    if words.json is not None:
        words.json.write_text(json.dumps(_data(reports), indent=1) + "\n", encoding="utf-8")
    figures = [figure for report in reports for figure in report.figures]
    missed = [figure for figure in figures if figure.met is False]
    met = [figure for figure in figures if figure.met]
    print(f"\n{len(met)} goals met, {len(missed)} missed")
    return 1 if missed else 0


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


def _machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "supervisor_tree": version("supervisor_tree"),
        "load": os.getloadavg()[0],
    }


def _machine_line() -> str:
    it = _machine()
    return (
        f"{it['cores']} x {it['cpu']}, Linux {it['kernel']}, Python {it['python']}, "
        f"supervisor_tree {it['supervisor_tree']}, load {it['load']:.1f}"
    )


def _text(report: Report) -> str:
    lines = [f"\n## {report.row}: {report.title}\n"]
    if report.entries:
        lines += [
            f"| who | median, {report.unit} | p90 | samples |",
            "| --- | ---: | ---: | ---: |",
        ]
        for entry in report.entries:
            it = entry.spread
            lines.append(f"| {entry.who} | {it.median:.3g} | {it.p90:.3g} | {it.count} |")
    if report.figures:
        lines += ["", "| figure | measured | goal | |", "| --- | ---: | ---: | --- |"]
        for figure in report.figures:
            verdict = {True: "met", False: "**missed**", None: ""}[figure.met]
            lines.append(f"| {figure.what} | {figure.value} | {figure.goal} | {verdict} |")
    lines += [f"\nleft out: {reason}" for reason in report.left_out]
    return "\n".join(lines)


def _data(reports: Sequence[Report]) -> dict[str, Any]:
    return {"machine": _machine(), "rows": [dataclasses.asdict(report) for report in reports]}


if __name__ == "__main__":
    sys.exit(main())
