"""A host whose spawner is stopped: it notices, says so, and goes on, or comes to its end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.integration.hosting import RunningHost
from tests.integration.spawning import DEADLINE_S, gone_within


def write(tmp_path: Path) -> Path:
    config = tmp_path / "host.yaml"
    config.write_text(
        "version: 1\ntree:\n  children:\n"
        "    - {id: a, command: [sleep, '1000']}\n    - {id: b, command: [sleep, '1000']}\n"
    )
    return config


def spawner_of(host: RunningHost) -> int:
    return host.ask("health")["spawner_pid"]


def test_a_child_that_ends_under_a_frozen_spawner_is_restarted_by_the_next_one(tmp_path):
    with RunningHost(write(tmp_path), tmp_path) as host:
        host.wait_ready("/b")
        kept = host.row("/b")
        frozen = spawner_of(host)
        os.kill(frozen, signal.SIGSTOP)
        os.kill(host.row("/a")["pid"], signal.SIGKILL)
        host.wait_generation("/a", 2, deadline_s=40)
        assert spawner_of(host) not in (0, frozen)
        assert (host.row("/b")["pid"], host.row("/b")["generation"]) == (kept["pid"], 1)
        assert host.stop() == 0, host.output
    (log,) = (tmp_path / "state").rglob("host.log")
    assert f"spawner {frozen} did not answer any more and was killed" in log.read_text()


def test_a_host_whose_spawner_is_frozen_stops_all_the_same(tmp_path):
    with RunningHost(write(tmp_path), tmp_path) as host:
        host.wait_ready("/b")
        os.kill(spawner_of(host), signal.SIGSTOP)
        assert host.stop(deadline_s=60) == 0, host.output


@pytest.mark.kills_the_root
def test_a_frozen_spawner_ends_the_tree_all_the_same_when_the_root_is_killed(tmp_path):
    with RunningHost(write(tmp_path), tmp_path) as host:
        host.wait_ready("/b")
        pids = [host.row(path)["pid"] for path in ("/a", "/b")]
        os.kill(spawner_of(host), signal.SIGSTOP)
        host.process.kill()
        host.process.wait(DEADLINE_S)
        assert gone_within(DEADLINE_S, pids)
