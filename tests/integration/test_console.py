"""The terminal of a host in the foreground, and all that can be wrong with it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import termios
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor_tree.errors import NoHost
from supervisor_tree.runtime.console import Console
from tests.integration.hosting import COMMAND, RunningHost

DEADLINE_S = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


@pytest.fixture
def console() -> Iterator[Callable[..., Console]]:
    made: list[Console] = []

    def make(fd: int, **more: bool) -> Console:
        made.append(Console(fd, **more))
        return made[-1]

    yield make
    for console in made:
        console.close()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(the side of who looks, the side of who writes)."""
    looking, writing = os.openpty()
    tty.setraw(writing, termios.TCSANOW)
    yield looking, writing
    os.close(looking)
    os.close(writing)


def all_of(fd: int, console: Console, last: bytes) -> bytes:
    """What comes out until `last` has."""
    seen = b""
    while not seen.endswith(last):
        console.flush()
        ready, _, _ = select.select([fd], [], [], DEADLINE_S)
        assert ready, f"silence after {seen[-200:]!r}"
        seen += os.read(fd, 65_536)
    return seen


def test_a_terminal_that_is_stopped_or_full_is_not_waited_for(terminal, console):
    looking, writing = terminal
    console = console(writing)
    for number in range(900):
        console.write(f"{number} {'x' * 3000}")
    assert console.waiting
    lines = all_of(looking, console, b"x\n").splitlines()
    while len(lines) < 900:
        lines += all_of(looking, console, b"x\n").splitlines()
    assert [line.split()[0] for line in lines] == [b"%d" % number for number in range(900)]


def test_lines_are_dropped_whole_and_counted(pipe, console):
    reading, writing = pipe
    console = console(writing)
    for number in range(2000):
        console.write(f"{number} {'x' * 5000} end")
    console.write("last")
    lines = all_of(reading, console, b"last\n").splitlines()
    (note,) = [at for at, line in enumerate(lines) if b"lines left out" in line]
    lost = int(lines[note].split()[1])
    assert len(lines) - 2 + lost == 2000
    assert all(line.endswith(b" end") for line in (*lines[:note], *lines[note + 1 : -1]))


def test_who_shares_the_pipe_is_not_made_nonblocking(pipe, console):
    console(pipe[1])
    assert os.get_blocking(pipe[1])


def test_a_reader_that_has_gone_is_forgotten(pipe, console):
    reading, writing = pipe
    console = console(writing)
    os.close(reading)
    console.write("to nobody")
    console.write("to nobody")
    assert not console.waiting


def test_lines_for_a_program_are_neither_cut_nor_remarked_upon(pipe, console):
    reading, writing = pipe
    console = console(writing, verbatim=True)
    for number in range(2000):
        console.write(f"{number} {'x' * 20_000} end")
    console.write("last")
    lines = all_of(reading, console, b"last\n").splitlines()
    assert all(line.endswith(b" end") and len(line) > 20_000 for line in lines[:-1])
    assert len(lines) < 1100, "they are bounded all the same"


def test_a_console_that_is_closed_lets_go_of_the_pipe(pipe):
    reading, writing = pipe
    console = Console(writing)
    console.close()
    console.close()
    console.write("too late")
    os.close(writing)
    assert os.read(reading, 10) == b""


def host_of(directory: Path, redirection: str) -> subprocess.Popen[bytes]:
    config = directory / "host.yaml"
    config.write_text(
        "version: 1\ntree:\n  children:\n"
        '    - {id: a, command: [sh, -c, "touch here; exec sleep 1000"]}\n'
    )
    return subprocess.Popen(
        ["sh", "-c", f'exec "$0" --run-dir run run host.yaml {redirection}', COMMAND],
        cwd=directory,
        env={**os.environ, "XDG_STATE_HOME": str(directory)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def silently(command: list[str], directory: Path) -> int:
    return subprocess.run(command, cwd=directory, check=False, capture_output=True).returncode


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_a_host_runs_whatever_its_three_descriptors_are(tmp_path, redirection):
    with host_of(tmp_path, redirection) as host:
        try:
            command = [COMMAND, "--run-dir", "run", "wait", "/a", "--timeout", "20s"]
            while (code := silently(command, tmp_path)) == NoHost.exit_code:
                assert host.poll() is None
            assert code == 0
        finally:
            host.send_signal(signal.SIGTERM)
        assert host.wait(DEADLINE_S) == 0


def test_under_json_a_host_prints_each_event_as_one_line_and_nothing_else(tmp_path):
    (tmp_path / "broken.yaml").write_text("id: broken\nnonsense: 1\n")
    config = tmp_path / "host.yaml"
    config.write_text(
        "version: 1\ninclude: [broken.yaml]\ntree:\n  children:\n"
        "    - {id: a, command: [sleep, '1000']}\n"
    )
    with RunningHost(config, tmp_path, "--json") as host:
        host.wait_ready("/a")
        (host.run_dir / "notify.sock").unlink()  # of which the host tells
        while "made anew" not in host.errors:
            assert host.process.poll() is None
        assert host.stop() == 0
        events = [json.loads(line) for line in host.output.splitlines()]
        assert [event["seq"] for event in events if event["path"] == "/a"]
        assert events[-1]["event"] == "host_stopping" or events[-1]["path"] in ("/", "/a")
        assert {"child_ready", "host_started"} <= {event["event"] for event in events}
        assert "left out: " in host.errors


def test_a_host_that_cannot_begin_says_so_in_json_under_json(tmp_path):
    config = tmp_path / "host.yaml"
    config.write_text("version: 1\ntree: {}\n")
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/")
        second = host.tell("--json", "run", str(config))
    assert second.stdout == ""
    error = json.loads(second.stderr)["error"]
    assert (error["type"], error["exit_code"]) == ("AlreadyRunning", second.returncode)


@pytest.mark.parametrize(("term", "coloured"), [("xterm", True), ("dumb", False)])
def test_a_dumb_terminal_gets_no_colour(tmp_path, terminal, term, coloured):
    looking, writing = terminal
    config = tmp_path / "host.yaml"
    config.write_text("version: 1\ntree:\n  children:\n    - {id: a, command: [sleep, '99']}\n")
    environment = {**os.environ, "TERM": term, "XDG_STATE_HOME": str(tmp_path)}
    environment.pop("NO_COLOR", None)
    command = [COMMAND, "--run-dir", str(tmp_path / "run"), "run", str(config)]
    with subprocess.Popen(command, env=environment, stdout=writing, cwd=tmp_path) as host:
        try:
            said = b""
            while b"is running" not in said:
                assert select.select([looking], [], [], DEADLINE_S)[0]
                said += os.read(looking, 65_536)
        finally:
            host.send_signal(signal.SIGTERM)
    assert (b"\x1b[" in said) is coloured
