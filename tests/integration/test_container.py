"""The host as PID 1 of a container, and on a file system that is read-only but for one directory.

unshare(1) makes what a container runtime would: a PID namespace, a mount namespace.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from supervisor_tree.spawner import procfs
from tests.integration.hosting import RunningHost

AS_ROOT = [] if os.geteuid() == 0 else ["--map-root-user"]
CONTAINER = ["unshare", *AS_ROOT, "--pid", "--fork", "--mount-proc", "--kill-child"]
STUBBORN = "trap '' TERM INT; while :; do sleep 1; done"
PYTHON_SLEEPS = "import time; time.sleep(100)"


def until(there: Callable[[], object], what: str, deadline_s: float = 20.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not there():
        assert time.monotonic() < deadline, what


def write_config(directory: Path, *children: str, more: str = "") -> Path:
    config = directory / "host.yaml"
    listed = "\n".join(f"    - {child}" for child in children)
    config.write_text(f"version: 1\ntree:\n{more}  children:\n{listed}\n")
    return config


class Container:
    """A host that is PID 1.  `pid` is what it is called outside."""

    def __init__(self, host: RunningHost) -> None:
        self.host = host
        until(lambda: procfs.children_of(host.process.pid), "no process in the namespace")
        (self.pid,) = procfs.children_of(host.process.pid)

    def signal(self, number: int) -> None:
        """As `docker kill` does: from outside, to PID 1."""
        os.kill(self.pid, number)

    def enter(self, script: str) -> str:
        """As `docker exec` does: a process whose parent is nobody inside."""
        command = ["nsenter", "--target", str(self.pid), "--pid", "--mount", "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def children(self) -> list[psutil.Process]:
        """Of PID 1, zombies included."""
        found = []
        for pid in procfs.children_of(self.pid):
            try:
                found.append(psutil.Process(pid))
            except psutil.NoSuchProcess:
                continue
        return found


@contextmanager
def container(config: Path, directory: Path) -> Iterator[Container]:
    with RunningHost(config, directory, through=CONTAINER) as host:
        inside = Container(host)
        try:
            yield inside
        finally:
            if host.process.poll() is None:
                inside.signal(signal.SIGKILL)
                host.process.wait(20)


SLEEPER = "{id: a, command: [sleep, '100']}"


def test_a_significant_child_ends_the_container_with_its_exit_code(tmp_path: Path) -> None:
    main = "{id: main, command: [sh, -c, 'exit 7'], restart: temporary, significant: true}"
    config = write_config(tmp_path, SLEEPER, main, more="  auto_shutdown: any_significant\n")
    with container(config, tmp_path) as inside:
        assert inside.host.process.wait(30) == 7, inside.host.output


def test_pid_1_reaps_what_others_leave_to_it(tmp_path: Path) -> None:
    with container(write_config(tmp_path, SLEEPER), tmp_path) as inside:
        inside.host.wait_ready("/a")
        assert psutil.Process(inside.pid).cmdline()[0].startswith("supervisor-tree: root")
        (spawner,) = inside.children()
        facts = inside.host.ask("health")["platform"]
        assert facts["init"]
        assert facts["container"]
        told = inside.host.tell("doctor").stdout
        assert "the host is PID 1" in told
        # Forty processes that outlive their parents, and then end.
        inside.enter("for i in $(seq 40); do (sleep 0.$((i % 5)) & ) ; done")
        until(lambda: inside.children() == [spawner], f"left: {inside.children()}")
        assert inside.host.row("/a")["generation"] == 1
        inside.signal(signal.SIGTERM)
        assert inside.host.process.wait(20) == 0


@pytest.mark.parametrize("session", ["", "setsid"])
def test_a_stranger_is_neither_ended_nor_called_a_leak(tmp_path: Path, session: str) -> None:
    other = "{id: b, command: [sleep, '100']}"
    with container(write_config(tmp_path, SLEEPER, other), tmp_path) as inside:
        host = inside.host
        host.wait_ready("/a")
        host.wait_ready("/b")
        (spawner,) = inside.children()
        inside.enter(f"({session} sleep 4711 < /dev/null > /dev/null 2>&1 & )")
        until(lambda: len(inside.children()) == 2, "the stranger was not handed to PID 1")
        (stranger,) = {one.pid for one in inside.children()} - {spawner.pid}
        # The root takes over both lives; at each end it looks at all of its children.
        spawner.kill()
        until(lambda: "children live on" in host_log(tmp_path), "not taken over")
        pid_inside = host.row("/a")["pid"]
        inside.enter(f"kill -KILL {pid_inside}")
        host.wait_generation("/a", 2)
        assert procfs.command_line(stranger) == "sleep 4711"
        inside.enter("sleep 1")  # what is nobody's is told of after a moment
        assert "child_leaked" not in host.tell("--json", "events").stdout
        inside.signal(signal.SIGTERM)
        assert host.process.wait(20) == 0
        assert procfs.stat(stranger) is None


def host_log(directory: Path) -> str:
    return "".join(file.read_text() for file in directory.rglob("host.log"))


def blocks(pid: int, number: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_a_stop_that_comes_while_pid_1_starts_is_not_lost(tmp_path: Path) -> None:
    with container(write_config(tmp_path, SLEEPER), tmp_path) as inside:
        until(lambda: blocks(inside.pid, signal.SIGTERM), "signals are not held back")
        inside.signal(signal.SIGTERM)
        assert inside.host.process.wait(30) == 0, inside.host.output


def test_a_second_interrupt_of_pid_1_does_not_wait(tmp_path: Path) -> None:
    stubborn = f'{{id: a, shutdown: infinity, command: [sh, -c, "{STUBBORN}"]}}'
    with container(write_config(tmp_path, stubborn), tmp_path) as inside:
        inside.host.wait_ready("/a")
        inside.signal(signal.SIGINT)
        until(lambda: "stopping #1" in inside.host.output, inside.host.output)
        inside.signal(signal.SIGINT)
        assert inside.host.process.wait(20) == 0


# --- a file system that is read-only -----------------------------------------------------------

READ_ONLY = """
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,bind,ro /
shift
exec "$@"
"""


def read_only_but_for(directory: Path, *environment: str) -> list[str]:
    """The command before a host that may write to that directory alone."""
    words = ["unshare", *AS_ROOT, "--mount", "sh", "-ec", READ_ONLY, "sh", str(directory)]
    return [*words, "env", "-u", "XDG_STATE_HOME", "-u", "TMPDIR", *environment]


def test_one_writable_directory_is_enough(tmp_path: Path) -> None:
    data, home = tmp_path / "data", tmp_path / "home"
    data.mkdir()
    home.mkdir()
    words = f"touch {home}/x; echo touched: $?; touch $TMPDIR/x; echo tmp: $?; sleep 100"
    child = f"{{id: a, command: [sh, -c, '{words}']}}"
    config = write_config(tmp_path, child)
    through = read_only_but_for(data, f"HOME={home}")
    with RunningHost(config, data, through=through) as host:
        host.wait_ready("/a")
        until(lambda: "touched: 1" in host.tell("logs", "/a").stdout, "it is writable")
        until(lambda: "tmp: 0" in host.tell("logs", "/a").stdout, "no temporary directory")
        assert f"state and logs are kept in {host.run_dir}/state" in host.output
        assert list((host.run_dir / "state" / "logs").rglob("host.log"))
        assert host.tell("restart", "/a").returncode == 0
        assert host.stop() == 0
    assert not list(home.iterdir())


def test_without_a_writable_directory_the_error_says_so(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    data.mkdir()
    other.mkdir()
    through = read_only_but_for(data, f"HOME={other}", f"SUPERVISOR_TREE_RUN_DIR={other}/run")
    with RunningHost(write_config(tmp_path, SLEEPER), data, through=through) as host:
        assert host.process.wait(30) == 78
        said = host.output
    assert f"{other}/run: cannot use this directory: Read-only file system" in said
    assert "choose one that is writable by --run-dir" in said
