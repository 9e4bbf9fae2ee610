"""Who may connect to the socket that the logger connects to."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.runtime.logs.door import Door
from tests.integration.hosting import RunningHost

DEADLINE_S = 30.0
VISITOR = """
import socket, sys
visit = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
visit.connect(sys.argv[1])
visit.recv(1)
"""


class Stand:
    """A door with a clock of its own."""

    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.told: list[str] = []
        self.epoll = select.epoll()
        self.door = Door(self.epoll, lambda: self.now, self.told.append)
        self.door.listen(str(directory))

    def visit(self) -> socket.socket:
        visit = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        visit.settimeout(DEADLINE_S)
        visit.connect(self.door.address)
        return visit

    def turned_away(self) -> bool:
        """A stranger comes, and finds its connection closed."""
        with self.visit() as visit:
            assert self.door.answer() is None
            return visit.recv(1) == b""


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.door.close()
    stand.epoll.close()


def test_strangers_are_turned_away_and_told_of_once_per_minute(stand: Stand) -> None:
    stand.door.expect(1)
    assert all(stand.turned_away() for _ in range(20))
    who = f"process {os.getpid()} '{Path('/proc/self/comm').read_text().strip()}'"
    line = f"{stand.door.address}: {who} of user {os.geteuid()} is not the logger"
    assert stand.told == [f"{line} and was turned away"]
    stand.now += 59.0
    assert stand.turned_away()
    assert len(stand.told) == 1
    stand.now += 1.0
    assert stand.turned_away()
    assert stand.told[1:] == [f"{line} and was turned away; so were 20 more connections before"]


def test_who_connects_before_it_is_expected_waits_and_strangers_do_not_displace_it(
    stand: Stand,
) -> None:
    strangers = [stand.visit() for _ in range(3)]
    visitor = subprocess.Popen([sys.executable, "-c", VISITOR, stand.door.address])
    try:
        assert not stand.epoll.poll(0)
        stand.door.expect(visitor.pid)
        deadline = time.monotonic() + DEADLINE_S
        connection = None
        while connection is None:
            assert time.monotonic() < deadline
            if stand.epoll.poll(0.1):
                connection = stand.door.answer()
        assert [stranger.recv(1) for stranger in strangers] == [b"", b"", b""]
        assert stand.turned_away()
        assert visitor.poll() is None
        connection.close()
        assert visitor.wait(DEADLINE_S) == 0
    finally:
        visitor.kill()
        visitor.wait(DEADLINE_S)
        for stranger in strangers:
            stranger.close()


class Stranger(threading.Thread):
    """Connects to a host's logger.sock again and again, and takes what it is given."""

    def __init__(self, address: Path) -> None:
        super().__init__()
        self._address = str(address)
        self._enough = threading.Event()
        self.visits = 0
        self.given: set[bytes] = set()

    def run(self) -> None:
        while not self._enough.wait(0.05):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as visit:
                visit.settimeout(DEADLINE_S)
                visit.connect(self._address)
                self.given.add(visit.recv(4096))
                self.visits += 1

    def __enter__(self) -> Stranger:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self.join()

    def wait_for_visits(self, visits: int) -> None:
        wanted, deadline = self.visits + visits, time.monotonic() + DEADLINE_S
        while self.visits < wanted:
            assert time.monotonic() < deadline
            assert self.is_alive()


def logger(host: RunningHost) -> dict[str, Any]:
    return next(row for row in host.ask("status", "--all") if row["path"] == "/_/logger")


def test_no_other_process_takes_the_loggers_place(tmp_path: Path) -> None:
    code = "import time; n = 0\nwhile True: print(n); n += 1; time.sleep(0.01)"
    child = {"id": "a", "command": ["python3", "-uc", code]}
    config = tmp_path / "host.yaml"
    config.write_text(json.dumps({"version": 1, "tree": {"children": [child]}}))
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/a")
        with Stranger(host.run_dir / "logger.sock") as stranger:
            stranger.wait_for_visits(20)
            row = logger(host)
            assert (row["generation"], row["ready"]) == (1, True)
            os.kill(row["pid"], signal.SIGKILL)
            deadline = time.monotonic() + DEADLINE_S
            while (row := logger(host))["generation"] < 2 or not row["ready"]:
                assert time.monotonic() < deadline, row
            stranger.wait_for_visits(20)
            assert logger(host)["generation"] == 2
        assert stranger.given == {b""}
        before = host.tell("logs", "/a", "-n", "1").stdout
        while host.tell("logs", "/a", "-n", "1").stdout == before:
            assert time.monotonic() < deadline, before
        assert "is not the logger and was turned away" in host.tell("logs", "/").stdout
        assert host.stop() == 0, host.output
