"""What a host does about its own bad ends, and what it writes down about those of its children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.runtime.reports import read_report, report_files
from tests.integration.hosting import RunningHost

DEADLINE_S = 20.0


def until(condition: Callable[[], Any]) -> Any:
    """What `condition` gives when it gives something at last."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline
    return found


def write(directory: Path, children: str, host: str = "{name: safe}") -> Path:
    config = directory / "host.yaml"
    config.write_text(f"version: 1\nhost: {host}\ntree:\n  children:\n{children}")
    return config


def state_of(directory: Path) -> Path:
    return directory / "state" / "supervisor-tree" / "safe"


def reports_of(directory: Path, kind: str) -> list[dict[str, Any]]:
    files = report_files(state_of(directory) / "reports")
    return [read_report(file) for file in files if f"-{kind}" in file.name]


CALM = """\
    - {id: calm, command: [sleep, "1000"]}
    - {id: off, command: ["true"], enabled: false}
"""


STUBBORN = """\
    - id: deaf
      shutdown: 100s
      command: [sh, -c, "trap '' TERM; echo up; while :; do sleep 0.1; done"]
"""


# --- the breaker ------------------------------------------------------------------------------


def cut_off(config: Path, directory: Path) -> None:
    """A life of a host that ends in no order."""
    with RunningHost(config, directory) as host:
        until(lambda: "is running" in host.output)
        host.process.send_signal(signal.SIGKILL)
        host.process.wait(DEADLINE_S)


@pytest.mark.kills_the_root
def test_after_three_lives_that_were_cut_off_the_host_comes_up_in_safe_mode(tmp_path):
    config = write(tmp_path, CALM)
    for _ in range(3):
        cut_off(config, tmp_path)
    with RunningHost(config, tmp_path) as host:
        host.wait_until_answering()
        until(lambda: "IN SAFE MODE" in host.output)
        assert host.row("/calm")["state"] == "parked"
        assert host.row("/off")["state"] == "stopped"
        health = json.loads(host.tell("--json", "health").stdout)
        assert (health["safe_mode"], health["ready"]) == (True, False)
        assert host.tell("health").stdout == "running in safe mode (1 not ready: /calm)\n"
        assert "parked (safe mode)" in host.tell("status").stdout
        assert "has come up in safe mode" in host.tell("explain", "/calm").stdout
        assert "SAFE MODE: the last 3 lives" in host.output
        assert until(lambda: reports_of(tmp_path, "safe_mode"))
        assert host.tell("reset-failed").returncode == 0
        host.wait_ready("/calm")
        assert host.ask("health")["safe_mode"] is False
        assert host.stop() == 0


@pytest.mark.kills_the_root
def test_a_host_is_told_to_start_its_tree_all_the_same(tmp_path):
    config = write(tmp_path, CALM)
    for _ in range(3):
        cut_off(config, tmp_path)
    with RunningHost(config, tmp_path, flags=("--no-safe-mode",)) as host:
        host.wait_ready("/calm")
        assert host.stop() == 0


def test_lives_that_end_in_order_trip_no_breaker(tmp_path):
    config = write(tmp_path, CALM)
    for _ in range(4):
        with RunningHost(config, tmp_path) as host:
            host.wait_ready("/calm")
            assert host.stop() == 0
    boots = json.loads((state_of(tmp_path) / "boots.json").read_text())["boots"]
    assert [boot["outcome"] for boot in boots] == ["stopped"] * 4


# --- reports ----------------------------------------------------------------------------------

FAILING = """\
    - id: loser
      command: [sh, -c, "echo last words; sleep 0.1; exit 3"]
      on_limit: park
      env: {MY_TOKEN: hunter2, PLAIN: seen}
"""


def test_a_child_that_crashes_leaves_a_report_with_its_last_words_and_no_secret(tmp_path):
    with RunningHost(write(tmp_path, FAILING), tmp_path) as host:
        host.wait_until_answering()
        (crash,) = until(lambda: reports_of(tmp_path, "crash"))
        (limit,) = until(lambda: reports_of(tmp_path, "intensity"))
        assert crash["path"] == limit["path"] == "/loser"
        assert crash["event"]["reason"]["code"] == 3
        assert crash["event"]["rusage"]["wall_s"] > 0
        assert "last words" in [line["text"] for line in crash["log"]]
        assert crash["child"]["spec"]["env"] == {"MY_TOKEN": "(redacted)", "PLAIN": "seen"}
        assert crash["child"]["story"]
        assert crash["versions"]["supervisor_tree"]
        assert crash["events"][-1]["seq"] > 0
        (file,) = [f for f in report_files(state_of(tmp_path) / "reports") if "crash" in f.name]
        assert file.stat().st_mode & 0o777 == 0o600
        assert "hunter2" not in file.read_text()
        shown = host.tell("report", "/loser").stdout
        assert "last words" in shown
        assert "intensity of /loser at " in shown
        listed = host.ask("report")
        assert {"crash", "intensity"} <= {each["kind"] for each in listed}
        assert host.stop() == 0


def test_a_child_that_hangs_leaves_a_report_with_its_stacks(tmp_path):
    (tmp_path / "hanging.py").write_text(
        "import time\n\ndef stuck(ctx):\n    print('up', flush=True)\n    time.sleep(1000)\n"
    )
    child = '    - {id: stuck, agent: "hanging:stuck", watchdog: {idle: 1s}}\n'
    with RunningHost(write(tmp_path, child), tmp_path) as host:
        host.wait_until_answering()
        report = until(lambda: reports_of(tmp_path, "watchdog"))[0]
        assert report["path"] == "/stuck"
        assert report["event"]["reason"]["watchdog"] == "idle"
        text = "\n".join(line["text"] for line in report["log"])
        assert "in stuck" in text
        host.tell("shutdown")


def test_a_report_is_written_when_asked_for_and_read_without_a_host(tmp_path):
    with RunningHost(write(tmp_path, CALM), tmp_path) as host:
        host.wait_ready("/calm")
        file = Path(host.ask("report", "--now")["file"])
        assert read_report(file)["kind"] == "asked"
        assert host.tell("report", "--now", "/nobody").returncode == 4
        assert host.tell("report", "nothing").returncode == 4
        assert host.stop() == 0
        assert file.name in host.tell("report").stdout  # which the host that has ended has left
        answer = host.tell("report", file.name, "--dir", str(file.parent))
        assert answer.returncode == 0
        assert "asked of /" in answer.stdout
        for text, words in (('{"kind": 1}', "cannot show"), ("[" * 400_000, "cannot read")):
            file.write_text(text)
            assert host.tell("report", "--dir", str(file.parent)).returncode == 0
            answer = host.tell("report", file.name, "--dir", str(file.parent))
            assert answer.returncode == 1
            assert words in answer.stderr
            assert "Traceback" not in answer.stderr


def test_a_stop_by_force_names_in_a_report_who_had_not_stopped(tmp_path):
    with RunningHost(write(tmp_path, STUBBORN), tmp_path) as host:
        host.wait_ready("/deaf")
        until(lambda: "up" in host.tell("logs", "/deaf").stdout)
        assert host.stop(signal.SIGQUIT) == 0
        (report,) = reports_of(tmp_path, "forced_exit")
        assert report["what"].endswith("ended by force: /deaf")


@pytest.mark.parametrize("given", ["file", "flag", "environment"])
def test_a_stop_that_takes_longer_than_its_limit_is_ended_by_force_with_a_code_that_is_not_0(
    tmp_path, monkeypatch, given
):
    in_file = "300ms" if given == "file" else "1h"
    flags = ("--stop-limit", "300ms") if given == "flag" else ()
    if given == "environment":
        monkeypatch.setenv("SUPERVISOR_TREE_STOP_LIMIT", "300ms")
    config = write(tmp_path, STUBBORN, f"{{name: safe, stop_limit: {in_file}}}")
    with RunningHost(config, tmp_path, flags=flags) as host:
        host.wait_ready("/deaf")
        until(lambda: "up" in host.tell("logs", "/deaf").stdout)
        assert host.stop() == 70
        (report,) = reports_of(tmp_path, "forced_exit")
        assert "longer than stop_limit, 0.3 s" in report["what"]


def test_a_stop_limit_that_is_no_time_is_a_bad_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERVISOR_TREE_STOP_LIMIT", "soon")
    with RunningHost(write(tmp_path, CALM), tmp_path) as host:
        assert host.process.wait(DEADLINE_S) == 78
        assert "SUPERVISOR_TREE_STOP_LIMIT" in host.output


def test_a_tree_whose_first_start_fails_leaves_a_report_and_a_code(tmp_path):
    config = tmp_path / "host.yaml"
    config.write_text(
        "version: 1\nhost: {name: safe}\ntree:\n  strategy: rest_for_one\n"
        "  children: [{id: a, command: [/no/such/program]}]\n"
    )
    with RunningHost(config, tmp_path) as host:
        assert host.process.wait(DEADLINE_S) == 1
        (report,) = reports_of(tmp_path, "failed_start")
        assert "a has failed to start" in report["what"]


def test_a_full_state_directory_costs_a_report_and_nothing_else(tmp_path):
    with RunningHost(write(tmp_path, CALM), tmp_path) as host:
        host.wait_ready("/calm")
        (state_of(tmp_path) / "reports").write_text("in the way")
        answer = host.tell("report", "--now")
        assert answer.returncode == 1
        assert "cannot write the report" in answer.stderr
        os.kill(host.row("/calm")["pid"], signal.SIGKILL)
        host.wait_generation("/calm", 2)
        until(lambda: "could not write down 2 reports" in host.tell("doctor").stdout)
        assert "is lost" in host.output
        assert host.stop() == 0


# --- leaks and leftovers ------------------------------------------------------------------------


def test_what_has_escaped_from_its_scope_stands_in_the_ledger(tmp_path):
    children = (
        "    - {id: maker, shutdown: 1s, command: [sh, -c, "
        '"setsid setsid sleep 1000 & sleep 0; echo up; exec sleep 1000"]}\n'
    )
    with RunningHost(write(tmp_path, children), tmp_path) as host:
        host.wait_ready("/maker")
        until(lambda: "up" in host.tell("logs", "/maker").stdout)
        assert host.ask("leaks")["living"] == [], "what is in a living scope has not leaked"
        host.tell("restart", "/maker")
        (entry,) = until(lambda: host.ask("leaks")["ledger"])
        assert (entry["path"], entry["generation"], entry["ended"]) == ("/maker", 1, True)
        assert entry["command"] == "sleep 1000"
        assert "had escaped" in host.tell("leaks").stdout
        assert host.stop() == 0


def test_a_process_with_the_mark_of_a_life_that_is_over_is_found(tmp_path):
    with RunningHost(write(tmp_path, CALM), tmp_path) as host:
        host.wait_ready("/calm")
        instance = host.ask("health")["instance"]
        environment = os.environ | {"SUPERVISOR_TREE_SCOPE": f"{instance}:/gone/child:7"}
        with subprocess.Popen(["sleep", "1000"], env=environment) as escaped:
            until(lambda: host.tell("leaks").returncode == 1)
            (found,) = json.loads(host.tell("--json", "leaks").stdout)["living"]
            assert found == {
                "pid": escaped.pid,
                "path": "/gone/child",
                "generation": 7,
                "command": "sleep 1000",
                "of": "this host",
            }
            assert f"pid {escaped.pid} of /gone/child #7" in host.tell("leaks").stdout
            assert "1 in no living scope" in host.tell("doctor").stdout
            escaped.kill()
        assert host.tell("leaks").returncode == 0
        assert host.stop() == 0


@pytest.mark.kills_the_root
@pytest.mark.parametrize("policy", ["kill", "leave"])
def test_leftovers_of_a_former_life_are_ended_or_left_as_the_policy_says(tmp_path, policy):
    config = write(tmp_path, CALM, f"{{name: safe, leftovers: {policy}}}")
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/calm")
        pid = host.row("/calm")["pid"]
        spawner = json.loads(host.tell("--json", "health").stdout)["spawner_pid"]
        os.kill(host.process.pid, signal.SIGSTOP)  # so that it makes no other spawner
        os.kill(spawner, signal.SIGKILL)
        host.process.kill()
        host.process.wait(DEADLINE_S)
    leftover = os.pidfd_open(pid)
    try:
        for life in range(2):  # the policy holds for what two lives ago has left, too
            with RunningHost(config, tmp_path) as host:
                host.wait_ready("/calm")
                living = json.loads(host.tell("--json", "leaks").stdout)["living"]
                if policy == "kill":
                    assert living == []
                    told = f"ended, of a former life of this host: pid {pid} of /calm"
                    assert (told in host.output) is (life == 0)
                else:
                    assert [(each["pid"], each["of"]) for each in living] == [
                        (pid, "a former host")
                    ]
                    assert f"left alone, of a former life of this host: pid {pid}" in host.output
                    assert host.tell("leaks").returncode == 1
                host.process.kill()
                host.process.wait(DEADLINE_S)
    finally:
        if policy == "leave":
            signal.pidfd_send_signal(leftover, signal.SIGKILL)
        os.close(leftover)
