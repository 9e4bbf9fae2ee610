"""The recorded traces of a real OTP supervisor, replayed over the core."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.conftest import require_all
from tests.oracle.replay import compare, main, read_pairs, run_scenario

RECORDED = Path(__file__).parent / "data" / "otp25-pairs.jsonl.gz"
COUNT = None if require_all() else 300


@pytest.mark.parametrize("seed", [None, 1, 2], ids=["at once", "late", "later"])
def test_the_core_does_what_otp_did(seed: int | None):
    for number, pair in enumerate(islice(read_pairs(RECORDED), COUNT)):
        ours = run_scenario(pair["scenario"], None if seed is None else seed * 10_007 + number)
        assert compare(ours, pair["trace"]) == [], pair["scenario"]["id"]


def test_a_difference_is_seen():
    pair = next(read_pairs(RECORDED))
    ours = run_scenario(pair["scenario"])
    ours["steps"][0]["events"].pop()
    assert compare(ours, pair["trace"])


def test_the_command_counts_what_it_has_compared(capsys: pytest.CaptureFixture[str]):
    assert main([str(RECORDED), "--max", "20", "--async", "3"]) == 0
    assert capsys.readouterr().out == "20 scenarios, 0 mismatches\n"
