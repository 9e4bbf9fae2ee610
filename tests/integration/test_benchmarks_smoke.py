"""The benchmarks run and come to figures; whether these are good is for a quiet machine to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_benchmarks(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )


ROWS = [
    *("core", "status", "bus-cast", "bus-call", "bus-restart"),
    *("scale-watchdogs", "scale-apply", "scale-stats", "scale-logs"),
]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_without_peers_comes_to_figures(row: str, tmp_path: Path) -> None:
    done = run_benchmarks(row, "--quick", "--no-peers", "--json", str(tmp_path / "figures"))
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    (report,) = json.loads((tmp_path / "figures").read_text())["rows"]
    assert report["row"] == row
    assert all(entry["spread"]["median"] > 0 for entry in report["entries"])
    assert report["entries"]
    assert [figure["met"] for figure in report["figures"] if figure["goal"]]


def test_a_row_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = run_benchmarks("no-such-row")
    assert done.returncode == 2
    assert "restart" in done.stderr
