"""What the signals to a root do, on real hosts."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import psutil
import pytest

import supervisor_tree
from supervisor_tree import SupervisorSpec
from supervisor_tree.errors import NoHost
from tests.integration.hosting import COMMAND, RunningHost

STUBBORN = "trap '' TERM INT; while :; do sleep 1; done"


def write_config(directory: Path, *children: str, more: str = "") -> Path:
    config = directory / "host.yaml"
    listed = "\n".join(f"    - {child}" for child in children)
    config.write_text(f"version: 1\ntree:\n{more}  children:\n{listed}\n")
    return config


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_the_tree_in_order(tmp_path: Path, number: int) -> None:
    sleepers = [f"{{id: {name}, command: [sleep, '100']}}" for name in "ab"]
    config = write_config(tmp_path, *sleepers, more="  start: sequential\n")
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/b")
        assert host.stop(number) == 0
        stopped = [
            line.split()[1] for line in host.output.splitlines() if line.endswith(" stopped")
        ]
        assert stopped == ["/b", "/a"]
        assert not list(host.run_dir.glob("*.sock"))


def test_a_second_interrupt_does_not_wait_for_a_stubborn_child(tmp_path: Path) -> None:
    config = write_config(
        tmp_path, f'{{id: a, shutdown: infinity, command: [sh, -c, "{STUBBORN}"]}}'
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/a")
        host.process.send_signal(signal.SIGINT)
        wait_for_line(host, "/a", "stopping")
        host.process.send_signal(signal.SIGINT)
        assert host.process.wait(10) == 0


@pytest.mark.kills_the_root
def test_a_third_interrupt_does_not_wait_at_all(tmp_path: Path) -> None:
    config = write_config(
        tmp_path, f'{{id: a, shutdown: infinity, command: [sh, -c, "{STUBBORN}"]}}'
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/a")
        host.process.send_signal(signal.SIGSTOP)
        for _ in range(3):
            host.process.send_signal(signal.SIGINT)
            host.process.send_signal(signal.SIGTERM)
        host.process.send_signal(signal.SIGCONT)
        assert host.process.wait(10) in (0, 130, 143)
        assert not list(host.run_dir.glob("*.sock"))
        with (host.run_dir / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_signal_without_a_meaning_changes_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path, "{id: a, command: [sleep, '100']}")
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/a")
        for number in (signal.SIGUSR2, signal.SIGUSR1):
            host.process.send_signal(number)
        assert host.row("/a")["generation"] == 1
        assert host.stop() == 0


STRAY = ["ALRM", "VTALRM", "PROF", "IO", "PWR", "STKFLT", "TRAP", "XCPU", "XFSZ", "PIPE"]


def test_a_signal_sent_by_mistake_does_not_end_the_tree(tmp_path: Path) -> None:
    config = write_config(tmp_path, "{id: a, command: [sleep, '100']}")
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/a")
        for number in (*(signal.Signals[f"SIG{name}"] for name in STRAY), signal.SIGRTMIN + 3):
            host.process.send_signal(number)
        assert host.row("/a")["generation"] == 1
        assert host.stop() == 0
    (log,) = (tmp_path / "state").rglob("host.log")
    said = log.read_text()
    for name in (*STRAY[:8], "RTMIN+3"):
        assert f"SIG{name} is not used by this version; nothing was done" in said


def test_a_root_that_is_being_started_is_not_ended_by_mistake(tmp_path: Path) -> None:
    mine = psutil.Process()
    before, started = set(mine.children()), Event()

    def pester() -> None:
        while not started.is_set():
            for root in set(mine.children()) - before:
                for name in STRAY:
                    with suppress(ProcessLookupError):
                        os.kill(root.pid, signal.Signals[f"SIG{name}"])

    with ThreadPoolExecutor(1) as threads:
        pestering = threads.submit(pester)
        try:
            with supervisor_tree.run(SupervisorSpec(), run_dir=tmp_path / "run") as tree:
                started.set()
                assert tree.exit_code is None
        finally:
            started.set()
        pestering.result()


def test_a_host_whose_terminal_is_closed_ends(tmp_path: Path) -> None:
    config = write_config(tmp_path, "{id: a, command: [sleep, '100']}")
    master, slave = pty.openpty()
    command = [COMMAND, "--run-dir", str(tmp_path / "run"), "run", str(config)]
    with subprocess.Popen(
        ["setsid", "--ctty", *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
    ) as host:
        os.close(slave)
        shown = b""
        while b"is running" not in shown:
            shown += os.read(master, 4096)
        os.close(master)
        assert host.wait(20) == 0


def test_no_host_is_said_to_be_there_when_there_is_none(tmp_path: Path) -> None:
    result = subprocess.run(
        [COMMAND, "--run-dir", str(tmp_path), "status"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode == NoHost.exit_code
    assert str(tmp_path) in result.stderr


def wait_for_line(host: RunningHost, *words: str) -> None:
    deadline = time.monotonic() + 10
    while not any(all(word in line for word in words) for line in host.output.splitlines()):
        assert time.monotonic() < deadline, host.output


def test_the_first_interrupt_says_what_a_second_one_does_and_the_last_line_how_it_ended(
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, "{id: a, command: [sleep, '100']}")
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/a")
        assert host.stop(signal.SIGINT) == 0
        told = host.output.splitlines()
        said = "SIGINT: the tree is stopped in reverse order; a second one"
        (line,) = [line for line in told if said in line]
        assert line.split()[0].endswith("Z")
        assert line.split()[1:3] == ["/", "SIGINT:"]
        assert told[-1].endswith("has ended with exit code 0")
