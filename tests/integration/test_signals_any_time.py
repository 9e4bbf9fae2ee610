"""A signal at any moment of a start or a stop leads to a documented end, and leaves nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.hosting import RunningHost

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
OTHERS = (signal.SIGHUP, signal.SIGUSR1)

# Each is a moment of a start: what can be seen by then.
START = {
    "begun": lambda host: holds_back(host.process.pid, signal.SIGUSR1),
    "locked": lambda host: (host.run_dir / "lock").exists(),
    "listening": lambda host: (host.run_dir / "control.sock").exists(),
    "booting": lambda host: "/a" in host.output,
    "running": lambda host: "is running" in host.output,
}
SLOW = "trap 'sleep 0.5; exit' TERM; while :; do sleep 0.1; done"


def holds_back(pid: int, number: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def start(directory: Path) -> RunningHost:
    config = directory / "host.yaml"
    config.write_text(
        "version: 1\ntree:\n  start: sequential\n  children:\n"
        "    - {id: a, command: [sleep, '100']}\n"
        f'    - {{id: b, shutdown: 20s, command: [sh, -c, "{SLOW}"]}}\n'
    )
    return RunningHost(config, directory)


def wait_for(host: RunningHost, moment: str) -> None:
    deadline = time.monotonic() + 20
    while not START[moment](host):
        assert host.process.poll() is None, host.output
        assert time.monotonic() < deadline, f"never {moment}:\n{host.output}"


def is_held(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def left(host: RunningHost) -> list[str]:
    """What a host has left behind of itself."""
    found = [str(path) for path in host.run_dir.glob("*.sock")]
    lock = host.run_dir / "lock"
    found += ["a lock"] if lock.exists() and is_held(lock) else []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SUPERVISOR_TREE_RUN_DIR") == str(host.run_dir):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def wait_left_nothing(host: RunningHost) -> None:
    """A spawner whose root was ended before it could tell needs a moment to see it."""
    deadline = time.monotonic() + 10
    while left(host):
        assert time.monotonic() < deadline, left(host)


@pytest.mark.parametrize("moment", START)
@pytest.mark.parametrize("number", STOPS)
def test_a_stop_at_any_moment_of_a_start_is_an_end(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    with start(tmp_path) as host:
        wait_for(host, moment)
        host.process.send_signal(number)
        code = host.process.wait(30)
        # Before there is a root, the signal ends the command as it would any other.
        by_default = {-number, 130} if moment == "begun" else set()
        assert code in {0, *by_default}, host.output
        wait_left_nothing(host)


@pytest.mark.parametrize("moment", START)
@pytest.mark.parametrize("number", OTHERS)
def test_what_is_no_stop_never_ends_a_start(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    with start(tmp_path) as host:
        wait_for(host, moment)
        host.process.send_signal(number)
        host.wait_ready("/b")
        assert [host.row(path)["generation"] for path in ("/a", "/b")] == [1, 1]
        assert host.stop() == 0
        wait_left_nothing(host)


@pytest.mark.parametrize("second", [*STOPS, *OTHERS])
@pytest.mark.parametrize("first", STOPS)
def test_a_second_signal_during_a_stop_ends_it_no_later_and_no_worse(
    tmp_path: Path, first: signal.Signals, second: signal.Signals
) -> None:
    with start(tmp_path) as host:
        host.wait_ready("/b")
        host.process.send_signal(first)
        deadline = time.monotonic() + 20
        while "host is stopping" not in host.output:
            assert time.monotonic() < deadline, host.output
        if host.process.poll() is None:
            os.kill(host.process.pid, second)
        assert host.process.wait(30) == 0, host.output
        wait_left_nothing(host)
