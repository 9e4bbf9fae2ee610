"""Pid files of real children, over restarts, kills of the root and stops."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.hosting import RunningHost

CONFIG = """\
version: 1
tree:
  intensity: 100
  children:
    - {id: a, command: [sleep, "1000"], pid_file: a.pid}
    - {id: b, command: [sleep, "1000"], pid_file: b.pid, enabled: false}
"""


def pid_in(file: Path) -> int | None:
    return int(file.read_text()) if file.exists() else None


@pytest.mark.kills_the_root
def test_a_pid_file_is_true_over_restarts_stops_and_the_end_of_the_root(tmp_path):
    config, file = tmp_path / "pids.yaml", tmp_path / "a.pid"
    config.write_text(CONFIG)
    (tmp_path / "b.pid").write_text("4194305\n")
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/")
        first = host.row("/a")["pid"]
        assert pid_in(file) == first
        assert not (tmp_path / "b.pid").exists(), "stale, and of a child that does not run"
        host.ask("restart", "/a")
        assert pid_in(file) == host.row("/a")["pid"] != first
        host.ask("kill", "/a")
        host.wait_generation("/a", 3)
        assert pid_in(file) == host.row("/a")["pid"]
        file.unlink()
        deadline = time.monotonic() + 30
        while pid_in(file) is None:
            assert time.monotonic() < deadline, host.output
        host.ask("stop", "/a")
        assert not file.exists()
        host.ask("start", "/a")
        host.process.kill()
        host.process.wait(5)
    left = pid_in(file)
    assert left is not None
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/")
        assert pid_in(file) == host.row("/a")["pid"] != left
        assert host.stop() == 0
    assert not file.exists()
