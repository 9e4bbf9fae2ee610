"""What shows that a child is ready, on real hosts: a port, a line of output, a time, its word."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from supervisor_tree.core.specs import Ready
from supervisor_tree.runtime.clock import SystemClock
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.readiness import Probes
from tests.integration.hosting import RunningHost

# Does one thing after the other, each when the test has made the file of its name.
PROGRAM = """
import os, pathlib, socket, sys, time

def await_file(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.01)

def listen(port):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server

def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(text, os.environ["NOTIFY_SOCKET"])

print("up", flush=True)
"""

WAITER = {"id": "waiter", "command": ["sleep", "1000"], "needs": ["a"]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A program `a` that does this and is ready when that holds, and one that needs it."""

    def write(text: str, **fields: Any) -> Path:
        (tmp_path / "a.py").write_text(PROGRAM + dedent(text) + "\ntime.sleep(1000)\n")
        config = tmp_path / "host.yaml"
        program = {"id": "a", "command": ["python3", "a.py"], **fields}
        config.write_text(json.dumps({"version": 1, "tree": {"children": [program, WAITER]}}))
        return config

    return write


@pytest.fixture
def port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
    return number


def wait_for_log(host: RunningHost, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in host.tell("logs", "/a").stdout:
        assert time.monotonic() < deadline, host.output


def events(host: RunningHost, path: str) -> list[dict[str, Any]]:
    result = host.tell("events", path, "--json", "--since", "0")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def assert_starting(host: RunningHost) -> None:
    assert (host.row("/a")["state"], host.row("/a")["ready"]) == ("starting", False)
    assert host.row("/waiter")["state"] == "stopped"


def test_a_program_is_ready_when_its_port_takes_connections(write, port, tmp_path):
    text = f"await_file('listen'); server = listen({port})"
    with RunningHost(write(text, ready={"tcp": port}), tmp_path) as host:
        host.wait_until_answering()
        wait_for_log(host, "up")
        assert_starting(host)
        assert (
            "takes no connections at its port; if it does not" in host.tell("explain", "/a").stdout
        )
        (tmp_path / "listen").touch()
        host.wait_ready("/waiter")
        assert host.row("/a")["ready"]

        # The next life is looked at anew.
        os.kill(host.row("/a")["pid"], signal.SIGKILL)
        host.wait_generation("/a", 2)
        assert host.stop() == 0, host.output


def test_a_program_is_ready_when_a_line_of_its_output_says_so(write, tmp_path):
    text = """
        await_file("open")
        print("now listening on 127.0.0.1:80", file=sys.stderr, flush=True)
    """
    with RunningHost(write(text, ready={"log": r"^now .*:\d+$"}), tmp_path) as host:
        host.wait_until_answering()
        wait_for_log(host, "up")
        assert_starting(host)
        (tmp_path / "open").touch()
        host.wait_ready("/waiter")
        assert host.stop() == 0, host.output


def test_the_line_is_found_although_the_logger_is_killed(write, tmp_path):
    text = "await_file('open'); print('open for business', flush=True)"
    with RunningHost(write(text, ready={"log": "business"}), tmp_path) as host:
        host.wait_until_answering()
        wait_for_log(host, "up")
        rows = {row["path"]: row for row in host.ask("status", "--all")}
        # Frozen, so that the line is in the pipe when it dies.
        os.kill(rows["/_/logger"]["pid"], signal.SIGSTOP)
        (tmp_path / "open").touch()
        os.kill(rows["/_/logger"]["pid"], signal.SIGKILL)
        host.wait_ready("/waiter")
        assert host.stop() == 0, host.output


def test_a_pattern_that_goes_astray_holds_up_no_other_child(write, tmp_path):
    text = "print('a' * 4000 + '!', flush=True); print('aab', flush=True)"
    config = write(text, ready={"log": "(a+)+b"})
    tree = json.loads(config.read_text())
    code = "import time; n = 0\nwhile True: print(n); n += 1; time.sleep(0.001)"
    chatty = {"id": "chatty", "command": ["python3", "-uc", code]}
    tree["tree"]["children"].append(chatty)
    config.write_text(json.dumps(tree))
    with RunningHost(config, tmp_path) as host:
        host.wait_until_answering()
        for life in (1, 2):
            deadline = time.monotonic() + 30
            while host.tell("logs", "/").stdout.count("pattern of ready.log takes too long") < life:
                assert time.monotonic() < deadline, host.tell("logs", "/").stdout
            wait_for_log(host, "aab")
            assert_starting(host)
            assert "its ready.log took too long" in host.tell("explain", "/a").stdout
            os.kill(host.row("/a")["pid"], signal.SIGKILL)
        logger = next(row for row in host.ask("status", "--all") if row["path"] == "/_/logger")
        assert (logger["generation"], logger["ready"]) == (1, True)
        before = host.tell("logs", "/chatty", "-n", "1").stdout
        deadline = time.monotonic() + 30
        while host.tell("logs", "/chatty", "-n", "1").stdout == before:
            assert time.monotonic() < deadline, before
        assert host.stop() == 0, host.output


def test_a_program_is_ready_when_it_has_existed_for_a_while(write, tmp_path):
    with RunningHost(write("", ready={"delay": "1500ms"}), tmp_path) as host:
        host.wait_ready("/waiter")
        at = {event["event"]: datetime.fromisoformat(event["time"]) for event in events(host, "/a")}
        assert (at["child_ready"] - at["child_started"]).total_seconds() >= 1.4
        assert host.stop() == 0, host.output


def test_all_that_is_named_must_hold(write, port, tmp_path):
    text = f"""
        await_file("word"); notify(b"READY=1"); print("said", flush=True)
        await_file("listen"); server = listen({port}); print("listens", flush=True)
        await_file("line"); print("open", flush=True)
    """
    ready = {"tcp": f"localhost:{port}", "log": "^open$", "delay": "100ms"}
    with RunningHost(write(text, ready=ready, readiness="notify"), tmp_path) as host:
        host.wait_until_answering()
        for name, line in (("word", "said"), ("listen", "listens")):
            (tmp_path / name).touch()
            wait_for_log(host, line)
            assert_starting(host)
        (tmp_path / "line").touch()
        host.wait_ready("/waiter")
        assert host.stop() == 0, host.output


def test_what_is_null_asks_for_nothing(write, tmp_path):
    ready = {"tcp": None, "log": None, "delay": "0s"}
    with RunningHost(write("", ready=ready), tmp_path) as host:
        host.wait_ready("/waiter")
        assert host.stop() == 0, host.output


def test_a_program_that_is_not_ready_in_time_has_failed_to_start(write, port, tmp_path):
    config = write("", ready={"tcp": port, "delay": "1ms"}, start_timeout="1s", backoff={})
    with RunningHost(config, tmp_path) as host:
        host.wait_until_answering()
        deadline = time.monotonic() + 30
        while not any(event["event"] == "child_exited" for event in events(host, "/a")):
            assert time.monotonic() < deadline, host.output
        assert not any(event["event"] == "child_ready" for event in events(host, "/a"))
        ended = next(event for event in events(host, "/a") if event["event"] == "child_exited")
        assert ended["reason"]["start_timeout"] == 1.0
        assert (ended["asked"], ended["unmet"]) == (False, ["tcp"])
        assert host.row("/waiter")["state"] == "stopped"
        assert host.stop() == 0, host.output


def test_a_slow_start_may_ask_for_more_time(write, port, tmp_path):
    text = f"""
        notify(b"EXTEND_TIMEOUT_USEC=60000000"); print("asked", flush=True)
        await_file("listen"); server = listen({port})
    """
    config = write(text, ready={"tcp": port}, start_timeout="3s")
    with RunningHost(config, tmp_path) as host:
        host.wait_until_answering()
        wait_for_log(host, "asked")
        deadline = time.monotonic() + 4  # beyond what it was given at first
        while time.monotonic() < deadline:
            assert host.row("/a")["state"] == "starting"
        (tmp_path / "listen").touch()
        host.wait_ready("/waiter")
        assert host.row("/a")["generation"] == 1
        assert host.stop() == 0, host.output


# --- the probes themselves -------------------------------------------------------------------


class Stand:
    """Probes over a real reactor."""

    def __init__(self) -> None:
        self.met: list[tuple[str, int, str]] = []
        self.reactor = Reactor(SystemClock())
        self.probes = Probes(self.reactor, lambda *what: self.met.append(what))

    def turn_until_met(self) -> None:
        deadline = time.monotonic() + 20
        while not self.met:
            assert time.monotonic() < deadline
            self.reactor.turn(0.5)

    def turn_for(self, turns: int) -> None:
        for _ in range(turns):
            self.reactor.turn(0.2)


@pytest.fixture
def stand():
    stand = Stand()
    yield stand
    stand.probes.close()
    stand.reactor.close()


@pytest.mark.parametrize(
    ("family", "host", "named"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1:{}"),
        (socket.AF_INET, "127.0.0.1", "localhost:{}"),
        (socket.AF_INET6, "::1", "[::1]:{}"),
        (socket.AF_INET6, "::1", "LOCALHOST:{}"),
    ],
)
def test_a_port_is_found_at_each_of_its_addresses(stand, family, host, named):
    with socket.socket(family) as server:
        try:
            server.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        port = server.getsockname()[1]
        stand.probes.begin("/a", 1, Ready(tcp=named.format(port)))
        stand.turn_for(3)
        assert not stand.met
        server.listen()
        stand.turn_until_met()
        stand.turn_for(2)
        assert stand.met == [("/a", 1, "tcp")]


def test_a_life_that_is_over_is_not_looked_at_any_more(stand, port):
    stand.probes.begin("/a", 1, Ready(tcp=port, delay=0.1))
    stand.probes.line_seen("/a", 1)
    stand.probes.end("/a", 1)
    with socket.create_server(("127.0.0.1", port)):
        stand.turn_for(3)
    assert not stand.met


def test_a_look_for_which_there_is_no_descriptor_is_made_again(stand, port):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_server(("127.0.0.1", port)) as server:
        stand.probes.begin("/a", 1, Ready(tcp=port))
        resource.setrlimit(resource.RLIMIT_NOFILE, (server.fileno(), hard))
        try:
            stand.turn_for(3)
            assert not stand.met
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        stand.turn_until_met()
