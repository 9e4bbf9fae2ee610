"""Our core against OTP's own supervisor, run in a real Erlang VM."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.oracle.differential import differential
from tests.oracle.generate import scenarios
from tests.oracle.otp_live import OtpVm, Scenario, read_lines

pytestmark = [pytest.mark.otp, pytest.mark.needs("escript"), pytest.mark.timeout(1200)]

RECORDED = Path(__file__).parent / "data" / "otp25-pairs.jsonl.gz"
COUNT = int(os.environ.get("ORACLE_SCENARIOS", "300"))

OBEYS: Scenario = {
    "id": "obeys",
    "root": {"children": [{"id": "a"}]},
    "ops": [{"op": "exit", "path": "root/a", "reason": "boom"}],
}
NEVER_ENDS: Scenario = {
    "id": "never ends",
    "deadline_ms": 300,
    "root": {"children": [{"id": "a", "shutdown": "infinity", "on_stop": "ignore"}]},
    "ops": [{"op": "terminate_child", "sup": "root", "id": "a"}],
}


@pytest.fixture
def vm() -> Iterator[OtpVm]:
    with OtpVm() as running:
        yield running


def test_the_core_does_what_otp_does_in_fresh_random_scenarios(vm: OtpVm) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    found = [mismatch for _, mismatch in differential(vm, scenarios(seed, COUNT)) if mismatch]
    again = f"python -m tests.oracle.differential --count {COUNT} --seed {seed}"
    first = "\n".join(found[0].lines) if found else ""
    assert not found, f"{len(found)} mismatches (to make them small: {again}); the first:\n{first}"


def test_the_live_oracle_repeats_the_recorded_traces(vm: OtpVm) -> None:
    pairs = list(islice(read_lines(RECORDED), max(COUNT, 300)))
    traces = vm.traces(pair["scenario"] for pair in pairs)
    differ = [
        pair["scenario"]["id"]
        for pair, (_, trace) in zip(pairs, traces, strict=True)
        if {**trace, "otp": pair["trace"]["otp"]} != pair["trace"]
    ]
    assert differ == []


def test_otp_itself_restarts_a_child_that_crashed(vm: OtpVm) -> None:
    trace = vm.run(OBEYS)
    assert trace["exit"] == "shutdown"
    assert trace["steps"][1]["events"] == [
        ["exit", "root/a", 1, "boom"],
        ["report", "root", 1, "child_terminated", "a", "boom"],
        ["start", "root/a", 2],
    ]


def test_a_scenario_that_never_ends_is_given_up_and_the_next_one_runs(vm: OtpVm) -> None:
    (_, stuck), (_, after) = vm.traces([NEVER_ENDS, OBEYS])
    assert stuck == {"id": "never ends", "error": "deadline"}
    assert after["exit"] == "shutdown"


def test_a_vm_that_is_silent_too_long_is_replaced() -> None:
    endless = {**NEVER_ENDS, "deadline_ms": 60_000}
    with OtpVm(deadline_s=3.0) as vm:
        (_, stuck), (_, after) = vm.traces([endless, OBEYS])
    assert stuck == {"id": "never ends", "error": "the VM was silent too long"}
    assert after["exit"] == "shutdown"
