"""A real Erlang VM that runs supervision scenarios: the live oracle.

The VM runs `otp/oracle.escript`, which puts stdlib's own `supervisor` through scenarios
and writes down what it does.  One VM serves thousands of scenarios (some 400 a second).

    python -m tests.oracle.otp_live < scenarios.jsonl > traces.jsonl
    python -m tests.oracle.otp_live --verify PAIRS.jsonl[.gz]

`--verify` runs recorded scenarios again and requires identical traces: it is what shows
that this oracle tells the truth.  Its last line is `N scenarios, M mismatches`, its exit
status 0 only if M is 0.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import selectors
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["MissingErlang", "OtpVm", "Scenario", "Trace", "read_lines", "traces"]

Scenario: TypeAlias = dict[str, Any]
Trace: TypeAlias = dict[str, Any]

SCRIPT = Path(__file__).parent / "otp" / "oracle.escript"
AHEAD = 16  # scenarios that the VM has before it, so that it never waits for us
CHUNK = 1 << 16
SHOWN = 5  # mismatches printed in full


class MissingErlang(RuntimeError):
    """There is no `escript` on this machine (Debian: package erlang-base)."""


class OtpVm:
    """One VM.  Use as a context manager; the VM is gone when it is left.

    deadline_s: how long the VM may be silent while it owes a trace.  A VM that is silent
    for longer, or that dies, is replaced, and the scenario it was at is given the trace
    `{"id": ..., "error": why}`.  (The VM itself ends a scenario after 20 s in the same
    way, so this is for a VM that hangs as a whole.)
    """

    _partial: bytes  # of a line that has not come to its end yet

    def __init__(self, deadline_s: float = 60.0) -> None:
        found = shutil.which("escript")
        if found is None:
            raise MissingErlang("escript not found (Debian: apt install erlang-base)")
        self._command = [found, str(SCRIPT)]
        self._deadline_s = deadline_s
        self._pending: deque[Scenario] = deque()
        self._start()

    def __enter__(self) -> OtpVm:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, scenario: Scenario) -> Trace:
        """Return the trace of one scenario."""
        [(_, trace)] = self.traces([scenario])
        return trace

    def traces(self, scenarios: Iterable[Scenario]) -> Iterator[tuple[Scenario, Trace]]:
        """Yield each scenario with its trace, in order.

        The VM works ahead while the caller looks at what it has been given.
        """
        source = iter(scenarios)
        more = True
        while more or self._pending:
            while more and len(self._pending) < AHEAD:
                scenario = next(source, None)
                if scenario is None:
                    more = False
                else:
                    self._ask(scenario)
            if self._pending:
                yield self._pending[0], self._answer()

    def _ask(self, scenario: Scenario) -> None:
        self._pending.append(scenario)
        self._outgoing += json.dumps(scenario).encode() + b"\n"
        self._pump(0.0)

    def _answer(self) -> Trace:
        """The trace of the oldest scenario, which is then no longer pending."""
        limit = time.monotonic() + self._deadline_s
        while not self._lines and self._alive and time.monotonic() < limit:
            self._pump(limit - time.monotonic())
        scenario = self._pending.popleft()
        if self._lines:
            return dict(json.loads(self._lines.popleft()))
        why = "the VM was silent too long" if self._alive else "the VM has died"
        self._end()
        self._start()
        for waiting in self._pending:
            self._outgoing += json.dumps(waiting).encode() + b"\n"
        return {"id": scenario["id"], "error": why}

    def _pump(self, timeout: float) -> None:
        """Write and read what can be written and read, waiting at most `timeout` seconds."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if self._outgoing:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            ready = {key.fd for key, _ in selector.select(timeout)}
        if self._stdin in ready:
            try:
                written = os.write(self._stdin, self._outgoing[:CHUNK])
            except BrokenPipeError:
                self._alive = False
            else:
                del self._outgoing[:written]
        if self._stdout in ready:
            got = os.read(self._stdout, CHUNK)
            self._alive = bool(got)
            *whole, rest = (self._partial + got).split(b"\n")
            self._partial = rest
            self._lines.extend(whole)

    def _start(self) -> None:
        environment = {**os.environ, "ERL_CRASH_DUMP_SECONDS": "0"}
        self._vm = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self._vm.stdin is not None
        assert self._vm.stdout is not None
        self._stdin, self._stdout = self._vm.stdin.fileno(), self._vm.stdout.fileno()
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        self._outgoing = bytearray()
        self._partial = b""
        self._lines: deque[bytes] = deque()
        self._alive = True

    def _end(self) -> None:
        self._vm.kill()
        for pipe in (self._vm.stdin, self._vm.stdout):
            assert pipe is not None
            pipe.close()
        self._vm.wait()


def traces(scenarios: Iterable[Scenario]) -> Iterator[tuple[Scenario, Trace]]:
    """Yield each scenario with the trace that a VM started for this gives it."""
    with OtpVm() as vm:
        yield from vm.traces(scenarios)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON lines file, which may be compressed by gzip."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            yield json.loads(line)


def verify(path: Path) -> int:
    """Run the recorded scenarios of `path` again; return how many traces differ."""
    pairs = list(read_lines(path))
    mismatches = 0
    answers = traces(pair["scenario"] for pair in pairs)
    for pair, (_, trace) in zip(pairs, answers, strict=True):
        if trace != pair["trace"]:
            mismatches += 1
            if mismatches <= SHOWN:
                print(f"{trace['id']}: {first_difference(trace, pair['trace'])}")
    print(f"{len(pairs)} scenarios, {mismatches} mismatches")
    return mismatches


def first_difference(live: Trace, recorded: Trace) -> str:
    """Say in a line or two where two traces part."""
    if "error" in live:
        return str(live["error"])
    for ours, theirs in zip(live["steps"], recorded["steps"], strict=False):
        for key in theirs:
            if ours.get(key) != theirs[key]:
                where = f"step {theirs.get('n', theirs['op'])}, {key}"
                return f"{where}:\n  live     {ours.get(key)}\n  recorded {theirs[key]}"
    return f"{len(live['steps'])} steps, {len(recorded['steps'])} recorded"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.otp_live")
    parser.add_argument("--verify", type=Path, metavar="FILE", help="recorded pairs to run again")
    arguments = parser.parse_args()
    if arguments.verify is not None:
        return 1 if verify(arguments.verify) else 0
    for _, trace in traces(map(json.loads, sys.stdin)):
        print(json.dumps(trace))
    return 0


if __name__ == "__main__":
    sys.exit(main())
