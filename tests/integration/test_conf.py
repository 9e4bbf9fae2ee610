"""Every sample in conf/ is run for real, and stops leaving nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from tests.integration.hosting import RunningHost

CONF = Path(__file__).parents[2] / "conf"
SAMPLES = sorted(CONF.glob("*.yaml"))


def test_there_are_four_samples_and_a_demo():
    assert CONF / "demo.yaml" in SAMPLES
    assert len(SAMPLES) >= 4


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_runs_until_it_is_told_to_stop(sample, tmp_path):
    with RunningHost(sample, tmp_path) as host:
        host.wait_ready("/")
        rows = host.ask("status")
        children = [row for row in rows if row["kind"] != "supervisor"]
        # A robot that crashes now and then may be between two lives at this moment, and workers
        # may have done their work already, or be about to be stopped after it.
        usual = {"running", "starting", "backoff", "stopping", "stopped"}
        assert {row["state"] for row in children} <= usual
        assert any(
            row["state"] == "running" or (row["last_exit"] or {}).get("kind") == "normal"
            for row in children
        )
        pids = [row["pid"] for row in rows if row["pid"]]

        assert host.stop(signal.SIGINT) == 0, host.output

    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_a_killed_child_of_the_demo_comes_back(tmp_path):
    with RunningHost(CONF / "demo.yaml", tmp_path) as host:
        host.wait_ready("/")
        agent = next(row for row in host.ask("status") if row["kind"] == "agent")
        psutil.Process(agent["pid"]).kill()
        host.wait_generation(agent["path"], agent["generation"] + 1)
        assert host.stop() == 0, host.output
