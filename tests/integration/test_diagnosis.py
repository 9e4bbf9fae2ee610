"""What a real host says of itself: why, how much, and what it has left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.cli.unitcheck import read_unit
from tests.integration.hosting import COMMAND, RunningHost

DEADLINE_S = 20.0
CONFIG = """\
version: 1
host: {name: diagnosed}
tree:
  intensity: 5
  period: 60s
  children:
    - {id: calm, command: [sleep, "1000"]}
    - {id: flaky, command: [sh, -c, "exit 3"], backoff: {initial: 1h, max: 1h, jitter: 0}}
    - {id: parent, command: [sh, -c, "sleep 1000 & echo up; sleep 1000"]}
    - {id: daemon, command: [sh, -c, "setsid setsid sleep 1000 & sleep 0; exec sleep 1000"]}
    - {id: needy, command: [sleep, "1000"], needs: [{child: flaky, condition: completed}]}
    - id: group
      supervisor: {intensity: 1000, children: [{id: inner, command: [sleep, "1000"]}]}
"""


def until(condition: Callable[[], Any]) -> Any:
    """What `condition` gives when it gives something at last."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline
    return found


def facts_of(host: RunningHost) -> dict[str, Any]:
    """What `health` says, whatever it thinks of it."""
    return json.loads(host.tell("--json", "health").stdout)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    directory = tmp_path_factory.mktemp("diagnosis")
    (directory / "host.yaml").write_text(CONFIG)
    with RunningHost(directory / "host.yaml", directory) as host:
        for path in ("/calm", "/parent", "/daemon", "/group"):
            host.wait_ready(path)
        until(lambda: host.row("/flaky")["state"] == "backoff")
        yield host
        assert host.stop() == 0


# --- explain ------------------------------------------------------------------------------


def test_a_child_in_backoff_says_why_until_when_and_what_follows(host):
    facts = host.ask("explain", "/flaky")
    assert facts["why"] == "backoff"
    assert 0 < facts["due_in_s"] <= 3600
    assert facts["last_exit"]["code"] == 3
    assert facts["limit"]["path"] == "/"
    assert facts["limit"]["left"] == 4
    assert facts["give_up"] is None, "one restart in an hour never are six in a minute"
    assert [line["to"] for line in facts["story"]][-1] == "backoff"
    told = host.tell("explain", "/flaky").stdout
    assert "/ never gives up" in told
    assert "running -> stopped: exited" in told


def test_a_child_that_waits_names_whom_for(host):
    told = host.tell("explain", "/needy").stdout
    assert told.startswith("/needy has been stopped for ")
    assert "it needs /flaky to be completed first." in told


def test_a_supervisor_and_the_root_are_explained_too(host):
    assert host.ask("explain", "/group")["own"]["path"] == "/group"
    assert "/flaky, /needy" in host.tell("explain", "/").stdout


def test_nobody_has_no_explanation(host):
    assert host.tell("explain", "/nobody").returncode == 4


# --- stats ----------------------------------------------------------------------------------


def stats_of(host: RunningHost, path: str, *words: str) -> dict[str, Any]:
    return next(row for row in host.ask("stats", *words) if row["path"] == path)


def test_all_processes_of_a_scope_are_counted_also_those_that_have_left_their_session(host):
    assert until(lambda: stats_of(host, "/parent")["processes"] == 3)
    assert until(lambda: stats_of(host, "/daemon")["processes"] == 2)
    calm = stats_of(host, "/calm", "--pss")
    assert calm["processes"] == 1
    assert 0 < calm["pss_bytes"] <= calm["rss_bytes"]
    assert calm["descriptors"] == len(os.listdir(f"/proc/{calm['pid']}/fd"))
    assert stats_of(host, "/flaky")["rss_bytes"] is None


def test_a_supervisor_has_the_sums_of_what_is_below_it(host):
    rows = host.ask("stats", "/group")
    assert [row["path"] for row in rows] == ["/group", "/group/inner"]
    assert rows[0]["rss_bytes"] == rows[1]["rss_bytes"]
    children = [row for row in host.ask("stats") if row["kind"] != "supervisor"]
    assert stats_of(host, "/")["processes"] == sum(row["processes"] for row in children)


def test_the_host_itself_is_counted_when_asked_for(host):
    rows = {row["path"]: row for row in host.ask("stats", "--all")}
    facts = facts_of(host)
    assert rows["/_/root"]["pid"] == facts["pid"]
    assert rows["/_/root"]["processes"] == 1
    assert rows["/_/root"]["descriptors"] > 10
    assert rows["/_/spawner"]["processes"] >= 1
    assert rows["/_/logger"]["rss_bytes"] > 0
    assert not any(row["path"].startswith("/_") for row in host.ask("stats"))


def test_log_bytes_are_those_of_all_files_of_a_child(host):
    log_dir = Path(facts_of(host)["log_dir"])
    until(lambda: stats_of(host, "/parent")["log_bytes"])
    (log_dir / "parent.2026-01-01_00-00-00_000000.log").write_bytes(b"x" * 1000)
    live = (log_dir / "parent.log").stat().st_size
    assert stats_of(host, "/parent")["log_bytes"] == live + 1000


def test_top_shows_the_same_as_often_as_it_is_asked_to(host):
    answer = host.tell("top", "-n", "2", "--interval", "50ms")
    assert answer.returncode == 0
    assert answer.stdout.count("PATH") == 2
    assert answer.stdout.count("/calm") == 2


def test_stats_of_nobody_is_no_such_child(host):
    assert host.tell("stats", "/nobody").returncode == 4
    assert json.loads(host.tell("--json", "stats", "/nobody").stderr)["error"]["exit_code"] == 4


# --- the host's own cost ------------------------------------------------------------------------


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def watched_and_closed(pid: int) -> list[str]:
    """Descriptors in the epoll sets of a process that it has no more (proc_pid_fdinfo(5))."""
    open_now = set(os.listdir(f"/proc/{pid}/fd"))
    found = []
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        for line in Path(f"/proc/{pid}/fdinfo/{name}").read_text().splitlines():
            if line.startswith("tfd:") and line.split()[1] not in open_now:
                found.append(f"{name}: {line}")
    return found


def test_restarts_and_clients_leave_no_descriptor_behind_in_root_or_spawner(host):
    facts = facts_of(host)
    own = (facts["pid"], facts["spawner_pid"])
    host.tell("restart", "/calm", "/parent", "/daemon")  # what is opened once is open by now
    before = [descriptors_of(pid) for pid in own]
    for _ in range(4):
        host.tell("restart", "/calm", "/parent", "/daemon")
        host.tell("kill", "/group/inner")
        host.tell("events", "-n", "1")
    host.wait_ready("/group")
    until(lambda: [descriptors_of(pid) for pid in own] <= before)
    assert [watched_and_closed(pid) for pid in own] == [[], []]


def test_an_idle_host_does_not_turn_its_loop_for_nothing(host):
    """A descriptor that is readable and never read would turn it thousands of times."""
    host.wait_ready("/group")
    before = facts_of(host)
    host.tell("wait", "/flaky", "--for", "ready", "--timeout", "2s")  # it is not for an hour
    after = facts_of(host)
    turns = after["turns"] - before["turns"]
    assert turns < 100 * (after["uptime_s"] - before["uptime_s"]), turns


# --- show -------------------------------------------------------------------------------------


def test_show_tells_the_processes_the_limits_and_where_the_environment_comes_from(tmp_path):
    (tmp_path / "more.env").write_text("LANG=xx\nFILE_SECRET=hunter2\nONLY_FILE=yes\n")
    (tmp_path / "host.yaml").write_text(
        "version: 1\nhost: {name: shown}\ntree:\n  children:\n"
        "    - id: a\n      command: [sh, -c, 'sleep 1000 & sleep 1000']\n"
        "      env_file: more.env\n      limits: {nofile: 99, oom_score_adj: 7}\n"
        "      env: {LANG: yy, API_TOKEN: hunter2, PLAIN: seen}\n"
    )
    with RunningHost(tmp_path / "host.yaml", tmp_path) as host:
        host.wait_ready("/a")
        until(lambda: len(host.ask("show", "/a")["processes"]) == 3)
        facts = host.ask("show", "/a")
        assert {each["command"] for each in facts["processes"]} >= {"sleep 1000"}
        assert facts["processes"][0]["pid"] == facts["pid"]
        assert facts["limits"]["open files"] == "99"
        assert facts["limits"]["oom_score_adj"] == "7"
        found = {each["key"]: each for each in facts["environment"]}
        assert (found["LANG"]["value"], found["LANG"]["origin"]) == ("yy", "env")
        assert found["LANG"]["instead_of"][-1].endswith("more.env")
        assert found["ONLY_FILE"]["origin"].endswith("more.env")
        assert found["FROM_HOST"]["origin"] == "host"
        assert found["SUPERVISOR_TREE_PATH"] == {
            "key": "SUPERVISOR_TREE_PATH",
            "value": "/a",
            "origin": "set by the host",
            "instead_of": [],
        }
        assert found["NOTIFY_SOCKET"]["origin"] == "set by the host"
        assert found["API_TOKEN"]["value"] == "(redacted)"
        told = host.tell("show", "/a").stdout
        assert "hunter2" not in told
        assert "hunter2" not in json.dumps(facts)
        assert "seen  (env)" in told
        assert host.ask("show", "/")["environment"] is None
        assert host.stop() == 0


# --- doctor -----------------------------------------------------------------------------------


def findings_of(host: RunningHost) -> dict[str, dict[str, Any]]:
    found = json.loads(host.tell("--json", "doctor").stdout)
    return {each["check"]: each for each in found}


def test_doctor_looks_into_the_hosts_own_records(tmp_path):
    (tmp_path / "host.yaml").write_text(
        "version: 1\nhost: {name: examined}\ntree:\n  children:\n"
        "    - {id: a, command: [sleep, '1000']}\n"
        "    - {id: loser, command: ['false'], on_limit: park}\n"
    )
    with RunningHost(tmp_path / "host.yaml", tmp_path) as host:
        host.wait_ready("/a")
        found = findings_of(host)
        for check in ("safe mode", "boots", "leaks", "dead letters", "installation"):
            assert found[check]["result"] == "ok", found[check]
        until(lambda: findings_of(host)["reports"]["result"] == "warn")
        assert "-loser.json" in findings_of(host)["reports"]["message"]
        assert host.stop() == 0


# --- after the end ------------------------------------------------------------------------------


LAST = """\
version: 1
host: {name: last}
tree:
  intensity: 0
  children:
    - {id: loser, command: [sh, -c, "echo last words; exit 3"]}
"""


@pytest.mark.parametrize("killed", [False, True], ids=["gave up", "killed"])
def test_what_a_host_has_left_behind_is_found_when_it_has_ended(tmp_path, killed):
    content = LAST.replace("exit 3", "exec sleep 1000") if killed else LAST
    (tmp_path / "host.yaml").write_text(content)
    with RunningHost(tmp_path / "host.yaml", tmp_path) as host:
        if killed:
            host.wait_ready("/loser")
            log = Path(facts_of(host)["log_dir"]) / "loser.log"
            until(lambda: "last words" in log.read_text())
            assert host.tell("report", "--now", "/loser").returncode == 0
            host.process.kill()
        assert host.process.wait(DEADLINE_S) == (-9 if killed else 70)
        if not killed:
            said = host.output.splitlines()
            assert "host last is stopping" in said[-2]
            assert said[-1].split()[1:6] == ["/", "host", "last", "has", "given"]
            assert "/loser has been restarted too often; it ends with exit code 70" in said[-1]
            assert f"`report` ({tmp_path}/state/supervisor-tree/last/reports)" in said[-1]
        reports = host.ask("report")
        assert {"asked" if killed else "crash"} <= {each["kind"] for each in reports}
        directory = tmp_path / "state" / "supervisor-tree" / "last"
        assert host.ask("report", "--dir", str(directory)) == reports
        lines = host.tell("logs", "/loser")
        assert "last words" in lines.stdout
        assert f"host last has ended; its logs are in {directory}/logs" in lines.stderr
        assert "started #1" in host.tell("logs", "/").stdout
        events = host.tell("events")
        assert events.returncode == 69
        assert f"{directory}/logs/host.log" in events.stderr
        assert host.ask("leaks") == {"living": [], "ledger": []}
        found = findings_of(host)
        assert found["boots"]["result"] == ("warn" if killed else "ok")
        assert str(directory) in found["disk"]["message"]
        shutil.rmtree(host.run_dir)  # one that was killed leaves its sockets to the next


# --- unit -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("--user",)])
def test_systemd_accepts_the_unit_that_is_printed(tmp_path, words):
    (tmp_path / "a b.yaml").write_text(CONFIG)
    answer = subprocess.run(
        [COMMAND, "unit", *words, str(tmp_path / "a b.yaml")],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    file = tmp_path / "made.service"
    file.write_text(answer.stdout)
    keys = read_unit(file)
    assert keys["ExecStart"].endswith(f'run --quiet "{tmp_path}/a b.yaml"')
    assert int(keys["TimeoutStopSec"]) > 5
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:  # the lines are read above in any case
        verdict = subprocess.run(
            [analyze, *words, "verify", str(file)], capture_output=True, text=True, check=False
        )
        assert "made.service" not in verdict.stderr, verdict.stderr


def test_a_unit_can_be_made_of_the_running_host(host):
    assert "host.yaml" in host.tell("unit").stdout
