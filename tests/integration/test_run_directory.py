"""What lives in a run directory: the lock, the state of a former life, the notify socket."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supervisor_tree.errors import AlreadyRunning, ConfigError
from supervisor_tree.runtime.console import Console
from supervisor_tree.runtime.lock import RunDirectoryLock, boot_id, start_ticks
from supervisor_tree.runtime.notify import NotifySocket
from supervisor_tree.runtime.state import StateFile, find_leftovers
from tests.integration.hosting import COMMAND, RunningHost


def test_a_second_holder_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    first, second = RunDirectoryLock(tmp_path), RunDirectoryLock(tmp_path)
    first.acquire(name="demo", started="2026-01-01T00:00:00+00:00")
    with pytest.raises(AlreadyRunning, match=rf"host 'demo' \(pid {os.getpid()}, since 2026"):
        second.acquire(name="other", started="now")
    first.release()
    second.acquire(name="other", started="now")
    assert json.loads(second.path.read_text())["name"] == "other"
    second.release()


def test_a_lock_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path;"
        "from supervisor_tree.runtime.lock import RunDirectoryLock;"
        "RunDirectoryLock(Path(sys.argv[1])).acquire(name='dead', started='then');"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    lock = RunDirectoryLock(tmp_path)
    lock.acquire(name="next", started="now")
    lock.release()


def _child(**environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | environment,
    )


def _up(child: subprocess.Popen[bytes]) -> int:
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    return child.pid


def test_leftovers_of_a_former_life_are_found_by_pid_and_start_time(tmp_path: Path) -> None:
    with _child() as child:
        pid = _up(child)
        ticks = start_ticks(pid)
        assert ticks is not None
        StateFile(tmp_path, "former").write([("/a", 1, pid, ticks)])
        assert [(left.pid, left.path) for left in find_leftovers(tmp_path)] == [(pid, "/a")]
        StateFile(tmp_path, "former").write([("/a", 1, pid, ticks + 1)])
        assert find_leftovers(tmp_path) == [], "a pid that was used again is nobody's"
        child.kill()


def test_leftovers_are_found_by_the_mark_in_their_environment(tmp_path: Path) -> None:
    with _child(SUPERVISOR_TREE_SCOPE="former:/chat/bot:3") as child:
        pid = _up(child)
        StateFile(tmp_path, "former").write([])
        assert [(left.pid, left.path) for left in find_leftovers(tmp_path)] == [(pid, "/chat/bot")]
        find_leftovers(tmp_path)[0].kill()
        assert child.wait(10) == -9


def test_nothing_is_left_over_after_a_reboot(tmp_path: Path) -> None:
    with _child(SUPERVISOR_TREE_SCOPE="former:/a:1") as child:
        _up(child)
        state = {"instance": "former", "boot_id": "not " + boot_id(), "children": []}
        (tmp_path / "state.json").write_text(json.dumps(state))
        assert find_leftovers(tmp_path) == []
        child.kill()


NO_STATE = {
    "empty": "",
    "cut short": "{",
    "a list": "[]",
    "of another make": '{"boot_id": 1}',
    "deep": "[" * 100_000,
    "infinite": '{"children": [["/a", 1, 1e400, 1]]}',
}


@pytest.mark.parametrize("content", NO_STATE.values(), ids=NO_STATE)
def test_a_state_file_that_is_no_state_is_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    assert find_leftovers(tmp_path) == []


def test_who_has_sent_a_datagram_is_the_kernels_word(tmp_path: Path) -> None:
    notify = NotifySocket(tmp_path / "notify.sock")
    assert notify.path.stat().st_mode & 0o777 == 0o600
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
        "s.sendto(b'READY=1\\nMAINPID=1', sys.argv[1])"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(notify.path)])
    assert select.select([notify], [], [], 10)[0]
    (datagram,) = notify.receive()
    assert datagram.pid == child.pid
    assert datagram.fields["READY"] == "1"
    assert child.wait(10) == 0
    notify.close()
    assert not notify.path.exists()


def test_descriptors_and_rubbish_in_datagrams_are_not_kept(tmp_path: Path) -> None:
    notify = NotifySocket(tmp_path / "notify.sock")
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(str(notify.path))
        socket.send_fds(sender, [b"BARRIER=1"], [0, 1, 2])
        sender.send(b"\xff")
        sender.send(b"STATUS=" + b"x" * 5000)
        assert [datagram.fields for datagram in notify.receive()] == [{"BARRIER": "1"}]
        assert notify.dropped == 2
    assert len(os.listdir("/proc/self/fd")) == before
    notify.close()


SLEEPER = "version: 1\ntree:\n  children:\n    - {id: a, command: [sleep, '100']}\n"


def _deleted(host: RunningHost, *names: str) -> set[str]:
    """Delete, and wait until it is there again; returns the names."""
    for name in names:
        (host.run_dir / name).unlink()
    deadline = time.monotonic() + 20
    while not all((host.run_dir / name).exists() for name in names):
        assert time.monotonic() < deadline, host.output
    return {path.name for path in host.run_dir.iterdir()}


@pytest.mark.parametrize("limit", [20, 32, 63])
def test_too_few_descriptors_are_refused_in_one_line(tmp_path: Path, limit: int) -> None:
    (tmp_path / "host.yaml").write_text(SLEEPER)
    command = [COMMAND, "--run-dir", str(tmp_path / "run"), "run", str(tmp_path / "host.yaml")]
    result = subprocess.run(
        ["prlimit", f"--nofile={limit}:{limit}", *command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == ConfigError.exit_code
    assert f"only {limit} file descriptors are allowed, a host needs 64" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("limit", [0, 10, 65535])
def test_too_small_files_are_refused_in_one_line(tmp_path: Path, limit: int) -> None:
    (tmp_path / "host.yaml").write_text(SLEEPER)
    command = [COMMAND, "--run-dir", str(tmp_path / "run"), "run", str(tmp_path / "host.yaml")]
    result = subprocess.run(
        ["prlimit", f"--fsize={limit}", *command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == ConfigError.exit_code
    assert f"files may have {limit} bytes, a host needs 65536" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["control.sock", "events.sock", "notify.sock", "logger.sock"])
def test_a_socket_that_is_deleted_is_made_anew(tmp_path: Path, name: str) -> None:
    (tmp_path / "host.yaml").write_text(SLEEPER)
    with RunningHost(tmp_path / "host.yaml", tmp_path) as host:
        host.wait_ready("/a")
        before = {path.name for path in host.run_dir.iterdir()}
        assert _deleted(host, name) == before
        host.wait_until_answering()
        assert host.tell("restart", "/a").returncode == 0
        logger = next(row for row in host.ask("status", "--all") if row["path"] == "/_/logger")
        os.kill(logger["pid"], signal.SIGKILL)  # its next life is ready by two of these sockets
        host.wait_ready("/_/logger")
        assert host.row("/a")["generation"] == 2
        assert f"made anew: {name}" in host.output
        assert host.stop() == 0
        assert [path.name for path in host.run_dir.iterdir()] == ["lock"]


def test_a_deleted_run_directory_comes_back_and_the_children_live_on(tmp_path: Path) -> None:
    (tmp_path / "host.yaml").write_text(SLEEPER)
    with RunningHost(tmp_path / "host.yaml", tmp_path) as host:
        host.wait_ready("/a")
        pid = host.row("/a")["pid"]
        shutil.rmtree(host.run_dir)
        host.wait_until_answering()
        assert host.row("/a")["pid"] == pid
        assert host.run_dir.stat().st_mode & 0o777 == 0o700
        second = host.tell("run", str(tmp_path / "host.yaml"))
        assert second.returncode == AlreadyRunning.exit_code
        assert f"pid {host.process.pid}" in second.stderr
        assert host.stop() == 0


def test_a_host_whose_lock_was_deleted_is_found_by_what_it_has_written(tmp_path: Path) -> None:
    (tmp_path / "host.yaml").write_text(SLEEPER)
    with RunningHost(tmp_path / "host.yaml", tmp_path) as host:
        host.wait_ready("/a")
        assert host.row("/a")["pid"]
        host.process.send_signal(signal.SIGSTOP)  # it does not notice for now
        (host.run_dir / "lock").unlink()
        second = host.tell("run", str(tmp_path / "host.yaml"))
        assert second.returncode == AlreadyRunning.exit_code, second.stderr
        host.process.send_signal(signal.SIGCONT)
        assert host.stop() == 0


def test_a_host_whose_place_was_taken_gives_way(tmp_path: Path) -> None:
    (tmp_path / "host.yaml").write_text(SLEEPER)
    with RunningHost(tmp_path / "host.yaml", tmp_path) as host:
        host.wait_ready("/a")
        host.process.send_signal(signal.SIGSTOP)
        shutil.rmtree(host.run_dir)
        host.run_dir.mkdir()
        other = RunDirectoryLock(host.run_dir)
        other.acquire(name="other", started="now")
        host.process.send_signal(signal.SIGCONT)
        assert host.process.wait(20) == AlreadyRunning.exit_code
        assert "another has taken it" in host.output
        assert json.loads(other.path.read_text())["name"] == "other"
        other.release()


def test_a_terminal_that_nobody_reads_does_not_hold_the_host_up() -> None:
    reader, writer = os.pipe()
    console = Console(writer)
    for number in range(5000):
        console.write(f"{number:060d}")
    assert console.waiting
    text = b""
    while console.waiting:
        text += os.read(reader, 65536)
        console.flush()
    console.close()
    os.close(writer)
    while part := os.read(reader, 65536):
        text += part
    os.close(reader)
    lines = text.decode().splitlines()
    assert lines[0] == f"{0:060d}"
    assert lines[-1] == f"{4999:060d}"
    left_out = [line for line in lines if "left out" in line]
    assert sum(int(line.split()[1]) for line in left_out) + len(lines) - len(left_out) == 5000


def test_a_terminal_that_goes_away_is_written_to_no_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    console = Console(writer)
    console.write("anybody there?")
    assert not console.waiting
    console.close()
    os.close(writer)


def test_a_pipe_in_the_place_of_what_a_host_writes_does_not_hold_it_up(tmp_path: Path) -> None:
    (tmp_path / "host.yaml").write_text(
        "version: 1\ntree: {children: [{id: a, command: [sleep, '1000']}]}\n"
    )
    with RunningHost(tmp_path / "host.yaml", tmp_path) as host:
        host.wait_ready("/a")
        for name in ("state.new", "members.new", "ceilings.new"):
            if not (host.run_dir / name).exists():
                os.mkfifo(host.run_dir / name)
        for _ in range(3):
            assert host.tell("restart", "/a", "--timeout", "20s").returncode == 0
        assert host.tell("health").returncode == 0
        assert host.stop() == 0, host.output
