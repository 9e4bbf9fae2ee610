"""The host as a service of systemd: the test stands in systemd's place, with a real socket."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import supervisor_tree
from supervisor_tree import ChildSpec, SupervisorSpec
from supervisor_tree.core.child import ChildRow, ChildState
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.specs import Kind
from supervisor_tree.notify import Notifier
from supervisor_tree.runtime.inherited import Inherited
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.service import Service
from supervisor_tree.testing import VirtualClock
from tests.integration.hosting import RunningHost

STUBBORN = "trap '' TERM INT; while :; do sleep 1; done"


class Manager:
    """The end of NOTIFY_SOCKET that systemd has: everything that was said, in order."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[dict[str, str]] = []
        self.at_close: list[Callable[[], None]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))

    def next(self, within_s: float = 20.0) -> dict[str, str] | None:
        """One message; None if there is none in time."""
        self._socket.settimeout(within_s)
        try:
            data = self._socket.recv(4096).decode()
        except (TimeoutError, BlockingIOError):
            return None
        message = dict(line.split("=", 1) for line in data.splitlines())
        self.heard.append(message)
        return message

    def until(self, key: str, value: str | None = None, within_s: float = 20.0) -> dict[str, str]:
        """The next message that has this key, with this text in its value."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0:
            message = self.next(left)
            if message is not None and key in message and (value or "") in message[key]:
                return message
        raise AssertionError(f"no {key}={value or ''}; heard {self.heard}")

    def rest(self) -> list[dict[str, str]]:
        """What waits now."""
        messages = []
        while (message := self.next(0.0)) is not None:
            messages.append(message)
        return messages

    def close(self) -> None:
        for close in self.at_close:
            close()
        self._socket.close()
        if self.address.startswith("/"):
            os.unlink(self.address)


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    address = str(tmp_path / "systemd.sock")
    if request.param == "abstract":
        address = f"@supervisor-tree-test-{os.getpid()}"
    one = Manager(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    yield one
    one.close()


def config(directory: Path, *children: str) -> Path:
    file = directory / "host.yaml"
    listed = "\n".join(f"    - {child}" for child in children)
    file.write_text(f"version: 1\ntree:\n  children:\n{listed}\n")
    return file


SLEEPER = "{id: a, command: [sleep, '100']}"
FAILING = "{id: bad, command: [no-such-program], backoff: {initial: 100s, max: 100s}}"


def test_a_host_is_ready_when_all_children_are(manager: Manager, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    notify = (
        "python3 -c 'import os, socket; s = socket.socket(1, 2); "
        's.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])\''
    )
    late = f'{{id: late, readiness: notify, cwd: ., command: [sh, -c, "{quoted(notify)}"]}}'
    with RunningHost(config(tmp_path, SLEEPER, late), tmp_path) as host:
        manager.until("STATUS", "starting: 1 of 2 children ready")
        assert not any("READY" in message for message in manager.heard)
        (tmp_path / "gate").write_text("go\n")
        assert manager.until("READY")["MAINPID"] == str(host.process.pid)
        manager.until("STATUS", "2 children ready")
        host.process.terminate()
        assert manager.until("STOPPING")["STOPPING"] == "1"
        assert host.process.wait(20) == 0
    assert not [message for message in manager.rest() if "READY" in message]


def quoted(notify: str) -> str:
    """A shell's words inside double quotes of YAML."""
    text = f"read x < gate; {notify}; exec sleep 100"
    return text.replace("\\", "\\\\").replace('"', '\\"')


def test_a_child_that_fails_does_not_hold_the_unit_up_but_is_named(
    manager: Manager, tmp_path: Path
) -> None:
    with RunningHost(config(tmp_path, SLEEPER, FAILING), tmp_path) as host:
        manager.until("READY")
        manager.until("STATUS", "1 of 2 children ready; /bad in backoff")
        assert host.tell("stop", "/bad").returncode == 0
        manager.until("STATUS", "1 child ready")
        facts = host.ask("health")["platform"]
        assert (facts["service_manager"], facts["notify"]) == ("systemd", True)
        assert "systemd has started the host, with no watchdog" in host.tell("doctor").stdout


def test_no_child_sees_what_is_between_the_host_and_its_manager(
    manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"WATCHDOG_USEC": "9000000", "LISTEN_FDS": "1", "LISTEN_PID": "1"}
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("LISTEN_FDNAMES", "x")
    env = tmp_path / "env"
    child = f"{{id: env, command: [sh, -c, 'env > {env}.new; mv {env}.new {env}; sleep 100']}}"
    with RunningHost(config(tmp_path, child), tmp_path) as host:
        host.wait_ready("/env")
        while not env.exists():
            assert host.process.poll() is None
        seen = dict(line.partition("=")[::2] for line in env.read_text().splitlines())
        assert not set(seen) & {*given, "WATCHDOG_PID", "LISTEN_FDNAMES"}
        assert seen["NOTIFY_SOCKET"] == str(host.run_dir / "notify.sock")
        spawner = host.ask("health")["spawner_pid"]
        # Nor does the code that is preloaded, in a spawner that shows what it began with.
        assert manager.address.encode() not in Path(f"/proc/{spawner}/environ").read_bytes()


def test_the_watchdog_is_fed_as_long_as_the_loop_turns(
    manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with RunningHost(config(tmp_path, SLEEPER), tmp_path) as host:
        for _ in range(3):
            assert manager.until("WATCHDOG")["WATCHDOG"] == "1"
        host.process.send_signal(signal.SIGSTOP)
        while state_of(host.process.pid) != "T":
            pass
        manager.rest()
        assert manager.next(within_s=1.0) is None, "a root that is stopped says that it lives"
        host.process.send_signal(signal.SIGCONT)
        manager.until("WATCHDOG")


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_watchdog_that_is_for_another_process_is_not_fed(
    manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    with RunningHost(config(tmp_path, SLEEPER), tmp_path) as host:
        manager.until("READY")
        assert host.stop() == 0
    manager.rest()
    assert not [message for message in manager.heard if "WATCHDOG" in message]


def test_an_embedded_tree_does_not_speak_for_the_program_that_is_the_service(
    manager: Manager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    child = ChildSpec(id="a", command=("sleep", "100"))
    with supervisor_tree.run(SupervisorSpec(children=(child,)), run_dir=tmp_path / "run") as tree:
        assert tree.exit_code is None
    assert manager.rest() == []


def test_a_stop_that_takes_long_asks_for_time(manager: Manager, tmp_path: Path) -> None:
    stubborn = f'{{id: a, shutdown: 100s, command: [sh, -c, "{STUBBORN}"]}}'
    with RunningHost(config(tmp_path, stubborn), tmp_path) as host:
        manager.until("READY")
        host.process.send_signal(signal.SIGINT)
        manager.until("STOPPING")
        first, second = (manager.until("EXTEND_TIMEOUT_USEC") for _ in range(2))
        assert int(first["EXTEND_TIMEOUT_USEC"]) == int(second["EXTEND_TIMEOUT_USEC"]) > 0
        assert {"STATUS": "stopping: 1 child left"} in manager.heard
        host.process.send_signal(signal.SIGINT)
        assert host.process.wait(20) == 0


def test_a_hang_up_is_a_reload_that_ends_whatever_the_file_says(
    manager: Manager, tmp_path: Path
) -> None:
    file = config(tmp_path, SLEEPER)
    with RunningHost(file, tmp_path) as host:
        manager.until("READY")
        for words in (file.read_text().replace("'100'", "'200'"), "version: 1\ntree: broken\n"):
            file.write_text(words)
            host.process.send_signal(signal.SIGHUP)
            assert int(manager.until("RELOADING")["MONOTONIC_USEC"]) > 0
            manager.until("READY")
        assert host.row("/a")["generation"] == 2
        assert host.stop() == 0


# --- one service in this process, where its loop and its clock are the test's -----------------


class Stage:
    """A Service over a tree of the test's making."""

    def __init__(self, manager: Manager, *, clock: Any = None, watchdog_s: float | None = None):
        self.clock = clock or VirtualClock()
        self.reactor = Reactor(self.clock)
        self.rows: list[ChildRow] = []
        given = Inherited(Notifier(manager.address), watched=True, watchdog_s=watchdog_s)
        self.service = Service(given, self.reactor, lambda: self.rows, 4711)
        self.reactor.before_wait(self.service.turned)
        self.service.begin()
        manager.at_close += [self.service.close, self.reactor.close]

    def pass_time(self, seconds: float) -> None:
        """Whatever comes due meanwhile comes in its turn."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            due = self.reactor.timers.next_at()
            self.clock.advance(max(0.0, min(end, end if due is None else due) - self.clock.now()))
            self.reactor.turn(0.0)


def child(state: ChildState, *, limit_at: float | None = None) -> ChildRow:
    up = state is ChildState.RUNNING
    return ChildRow(
        path="/a", id="a", kind=Kind.PROGRAM, state=state, ready=up, pid=1, generation=1,
        restarts=0, since=0.0, started_at=None, wanted="up", kept_down_by=None, last_exit=None,
        strategy=None, error=None, next_start_at=None, waiting_for=None, limit_at=limit_at,
    )  # fmt: skip


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(str(tmp_path / "systemd.sock"))
    yield one
    one.close()


def test_a_reload_is_told_with_its_time_and_always_ends(alone: Manager) -> None:
    stage = Stage(alone)
    stage.rows = [child(ChildState.RUNNING)]
    stage.service.heard(EventName.CHILD_READY)
    stage.pass_time(2.0)
    alone.until("READY")
    before = time.monotonic_ns() // 1000
    stage.service.reloading()
    stage.service.ready()
    told = [message for message in alone.rest() if "RELOADING" in message or "READY" in message]
    assert [next(iter(message)) for message in told] == ["RELOADING", "READY"]
    assert before <= int(told[0]["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    stage.service.ready()
    assert not alone.rest()


def test_a_busy_loop_is_silent_and_a_loop_that_turns_again_is_not(alone: Manager) -> None:
    stage = Stage(alone, watchdog_s=1.0)
    stage.pass_time(1.0)
    assert len([message for message in alone.rest() if "WATCHDOG" in message]) >= 2
    heard_while_busy: list[Any] = []

    def busy() -> None:
        stage.clock.advance(100.0)  # fifty times what the manager waits for
        alone.rest()  # of the turns before this one
        heard_while_busy.append(alone.next(within_s=0.2))

    stage.reactor.call_in("busy", 0.0, busy)
    stage.reactor.turn(0.0)
    assert heard_while_busy == [None]
    stage.pass_time(1.0)
    alone.until("WATCHDOG", within_s=0.0001)


def test_time_is_asked_for_only_as_long_as_something_moves(alone: Manager) -> None:
    stage = Stage(alone)
    stage.rows = [child(ChildState.STOPPING, limit_at=12.0)]
    stage.service.heard(EventName.HOST_STOPPING)
    stage.pass_time(60.0)
    asked = [message for message in alone.rest() if "EXTEND_TIMEOUT_USEC" in message]
    assert len(asked) == 4  # at the beginning of start and stop, and after 5 and 10 s
    stage.service.heard(EventName.CHILD_STOPPED)
    stage.pass_time(60.0)
    assert len([one for one in alone.rest() if "EXTEND_TIMEOUT_USEC" in one]) == 1


def test_status_is_told_once_a_second_at_most_and_only_when_it_changes(alone: Manager) -> None:
    stage = Stage(alone)
    stage.rows = [child(ChildState.RUNNING)]
    for _ in range(500):
        stage.rows[0].state = ChildState.RUNNING if stage.rows[0].ready else ChildState.BACKOFF
        stage.rows[0].ready = not stage.rows[0].ready
        stage.service.heard(EventName.CHILD_EXITED)
        stage.pass_time(0.01)
    assert 3 <= len([message for message in alone.rest() if "STATUS" in message]) <= 8
    stage.pass_time(10.0)
    alone.rest()
    for _ in range(500):
        stage.service.heard(EventName.CHILD_EXITED)
        stage.pass_time(0.1)
    assert not alone.rest()


def test_what_the_manager_had_no_room_for_is_told_later(alone: Manager) -> None:
    stuffing = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    stuffing.connect(alone.address)
    with suppress(BlockingIOError):
        while True:
            stuffing.send(b"STATUS=stuffing")
    stuffing.close()
    stage = Stage(alone)
    stage.rows = [child(ChildState.RUNNING)]
    stage.service.heard(EventName.CHILD_READY)
    stage.pass_time(2.0)
    assert not [message for message in alone.rest() if "READY" in message]
    stage.pass_time(2.0)
    assert [message for message in alone.rest() if "READY" in message]
