"""Compare the decision core with OTP's own supervisor on random scenarios.

    python -m tests.oracle.differential [--count 10000] [--seed S]

Each scenario runs on a real Erlang VM and through our core: once with every start, exit and notice
done at once, and once with all of them late and in random order; what OTP's children and
callers can see must be the same.  A scenario that differs is made small, and kept with OTP's
trace in `tests/oracle/found/`, where it stays as a regression test.

The last line is `N scenarios, M mismatches`; the exit status is 1 if M is not 0.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.oracle.generate import scenarios
from tests.oracle.otp_live import OtpVm, Scenario, Trace
from tests.oracle.replay import compare, run_scenario
from tests.oracle.shrink import shrink

__all__ = ["FOUND", "Mismatch", "differences", "differential"]

FOUND = Path(__file__).parent / "found"
SHRUNK = 10  # so many of a run are made small; a broken core must not take all day
PROGRESS = 1000


@dataclass(frozen=True)
class Mismatch:
    """A scenario, what OTP does, and in what our core differs (lines to read)."""

    scenario: Scenario
    trace: Trace
    lines: list[str]


def differences(scenario: Scenario, trace: Trace, order: int) -> list[str]:
    """In what our core differs from `trace`; `order` seeds the random order of completion."""
    if "error" in trace:
        return [f"no trace from OTP: {trace['error']}"]
    for async_seed in (None, order):
        try:
            found = compare(run_scenario(scenario, async_seed=async_seed), trace)
        except Exception:  # whatever a broken core raises is a difference like any other
            found = ["the core has raised:", *traceback.format_exc().splitlines()]
        if found:
            how = "at once" if async_seed is None else f"in random order {async_seed}"
            return [f"completed {how}:", *found]
    return []


def differential(vm: OtpVm, given: Iterable[Scenario]) -> Iterator[tuple[int, Mismatch | None]]:
    """Yield, for each scenario in order, its number from 1 and the mismatch, if it is one."""
    for number, (scenario, trace) in enumerate(vm.traces(given), start=1):
        lines = differences(scenario, trace, number)
        yield number, Mismatch(scenario, trace, lines) if lines else None


def smallest(vm: OtpVm, mismatch: Mismatch, order: int) -> Mismatch:
    """The same mismatch, or another that it hides, with a scenario as small as can be."""

    def fails(candidate: Scenario) -> bool:
        trace = vm.run(candidate)
        return "error" not in trace and bool(differences(candidate, trace, order))

    if "error" in mismatch.trace:
        return mismatch
    small = shrink(mismatch.scenario, fails)
    trace = vm.run(small)
    return Mismatch(small, trace, differences(small, trace, order) or mismatch.lines)


def keep(mismatch: Mismatch) -> Path:
    """Write the pair where `test_differential` finds it; return the file."""
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{mismatch.scenario['id']}.jsonl"
    pair = {"scenario": mismatch.scenario, "trace": mismatch.trace}
    path.write_text(json.dumps(pair) + "\n")
    return path


def tell(mismatch: Mismatch) -> None:
    print(f"\n{mismatch.scenario['id']}")
    print(f"  scenario: {json.dumps(mismatch.scenario)}")
    for line in mismatch.lines:
        print(f"  {line}")


def run(count: int, seed: int) -> int:
    """Run `count` scenarios of `seed`; return how many differ."""
    found = 0
    with OtpVm() as vm, OtpVm() as second:  # one works ahead, the other makes things small
        for number, mismatch in differential(vm, scenarios(seed, count)):
            if mismatch is not None:
                found += 1
                if found <= SHRUNK:
                    small = smallest(second, mismatch, number)
                    tell(small)
                    print(f"  kept as {keep(small)}", flush=True)
            if number % PROGRESS == 0:
                print(f"{number} scenarios, {found} mismatches so far", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.differential")
    parser.add_argument(
        "--count", type=int, default=10_000, help="scenarios (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=None, help="default: a new one each time")
    arguments = parser.parse_args()
    seed = arguments.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    found = run(arguments.count, seed)
    print(f"{arguments.count} scenarios, {found} mismatches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
