"""`health` and the reasons that an operator sees, on a real host."""

from __future__ import annotations

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
        assert (health.returncode, health.stdout) == (1, "running (1 not ready)\n")
        for words in (["status"], ["events", "-n", "100"]):
            shown = host.tell(*words).stdout
            assert "cannot execute 'no-such-program-here'" in shown, shown
        assert host.tell("stop", "/typo").returncode == 0
        assert host.tell("health").returncode == 0
