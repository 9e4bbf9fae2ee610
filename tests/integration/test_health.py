"""`health` and the reasons that an operator sees, on a real host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.hosting import RunningHost


def test_a_child_that_has_given_up_is_missing_and_says_why(tmp_path: Path) -> None:
    config = tmp_path / "host.yaml"
    config.write_text(
        "version: 1\n"
        "tree:\n"
        "  children:\n"
        "    - {id: a, command: [sleep, '100']}\n"
        "    - {id: typo, command: [no-such-program-here], on_limit: park}\n"
        "    - {id: done, command: ['true'], restart: transient}\n"
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/a")
        while host.row("/typo")["state"] != "parked" or host.row("/done")["state"] != "stopped":
            assert host.process.poll() is None
        health = host.tell("health")
        assert (health.returncode, health.stdout) == (1, "running (1 not ready: /typo)\n")
        assert json.loads(host.tell("--json", "health").stdout)["missing"] == ["/typo"]
        doctor = host.tell("doctor").stdout
        assert "1 not ready: /typo" in doctor
        assert "`explain /typo`" in doctor
        for words in (["status"], ["events", "-n", "100"]):
            shown = host.tell(*words).stdout
            assert "cannot execute 'no-such-program-here'" in shown, shown
        assert host.tell("stop", "/typo").returncode == 0
        assert host.tell("health").returncode == 0


def test_of_several_orders_those_that_are_done_are_answers_and_those_that_fail_are_errors(
    tmp_path: Path,
) -> None:
    config = tmp_path / "host.yaml"
    config.write_text(
        "version: 1\n"
        "tree:\n"
        "  start: concurrent\n"
        "  children:\n"
        "    - {id: good, command: [sleep, '100'], enabled: false}\n"
        "    - {id: typo, command: [no-such-program-here], enabled: false, on_limit: park,\n"
        "       backoff: {initial: 60s, max: 60s}}\n"
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_until_answering()
        told = host.tell("start", "/good", "/typo")
        assert (told.returncode, told.stdout) == (1, "/good: started\n")
        assert told.stderr.startswith("supervisor-tree: cannot start /typo: ")
        assert "/good" not in told.stderr
        assert host.tell("stop", "/typo").returncode == 0
        as_json = host.tell("--json", "start", "/good", "/typo")
        error = json.loads(as_json.stderr)["error"]
        assert (as_json.returncode, as_json.stdout) == (1, "")
        assert error["results"] == {"/good": "already"}
        assert "no-such-program-here" in error["failures"]["/typo"]


def test_a_host_that_gives_up_says_why_also_to_whoever_wanted_to_see_no_events(
    tmp_path: Path,
) -> None:
    (tmp_path / "host.yaml").write_text(
        "version: 1\ntree: {intensity: 0, children: [{id: loser, command: ['false']}]}\n"
    )
    words = ["--run-dir", str(tmp_path / "run"), "run", "--quiet", str(tmp_path / "host.yaml")]
    ended = subprocess.run(
        [sys.executable, "-m", "supervisor_tree", *words],
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (70, "")
    assert ended.stderr.startswith("supervisor-tree: given up: /loser")
