"""plan and apply on a real host: what changes, who is touched, and what is told of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.hosting import RunningHost

DEADLINE_S = 20.0


def program(id: str, *words: str, **said: Any) -> dict[str, Any]:
    return {"id": id, "command": list(words) or ["sleep", "1000"], **said}


class Site:
    """A host, its file, and what is written into it next."""

    def __init__(self, directory: Path, *children: dict[str, Any], **flags: Any) -> None:
        self.directory = directory
        self.file = directory / "site.yaml"
        self.data: dict[str, Any] = {
            "version": 1,
            "host": {"name": "site"},
            "tree": {"intensity": 100, **flags, "children": list(children)},
        }
        self.write()
        self.host = RunningHost(self.file, directory)

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.data, sort_keys=False))

    def child(self, path: str) -> dict[str, Any]:
        """The child of this path as the file is about to have it."""
        tree = self.data["tree"]
        for step in path.strip("/").split("/"):
            child = next(child for child in tree["children"] if child["id"] == step)
            tree = child.get("supervisor")
        return child

    def apply(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Write the file and apply it."""
        self.write()
        result = self.host.tell("--json", "apply", *words)
        assert result.returncode == code, f"{result.stdout}{result.stderr}"
        return json.loads(result.stdout)

    def pids(self) -> dict[str, int]:
        return {row["path"]: row["pid"] for row in self.host.ask("status") if row["pid"]}


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(*children: dict[str, Any], ready: bool = True, **flags: Any) -> Site:
        sites.append(Site(tmp_path, *children, **flags))
        if ready:
            sites[-1].host.wait_ready("/")
        return sites[-1]

    yield make
    for site in sites:
        with site.host as host:
            assert host.stop() == 0, host.output


def told(done: dict[str, Any]) -> list[str]:
    return [
        f"{change['action']} {change['path']}: {change['result']}" for change in done["changes"]
    ]


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, what
    return value


def test_apply_touches_only_what_has_changed_and_plan_says_what_it_will_be(open_site):
    nested = {"strategy": "rest_for_one", "children": [program("x"), program("y")]}
    site = open_site(program("a"), program("b"), program("gone"), {"id": "s", "supervisor": nested})
    before = site.pids()
    site.child("/a")["env"] = {"NEW": "1"}
    site.child("/s/y")["shutdown"] = "1s"
    site.data["tree"]["children"].remove(site.child("/gone"))
    site.data["tree"]["children"].append(program("fresh"))
    site.write()
    planned = site.host.ask("plan")
    assert site.pids() == before
    done = site.apply()
    keys = ("path", "action", "why")
    assert [{key: each[key] for key in keys} for each in done["changes"]] == planned["changes"]
    assert told(done) == [
        "stop /gone: done",
        "restart /a: done",
        "update /s/y: done",
        "create /fresh: done",
    ]
    after = site.pids()
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert changed == {"/a", "/gone", "/fresh"}
    assert b"NEW=1" in Path(f"/proc/{after['/a']}/environ").read_bytes()
    assert site.host.ask("show", "/s/y")["spec"]["shutdown"] == 1.0
    assert site.host.ask("plan") == {
        "changes": [],
        "host": [],
        "problems": [],
        "left_out": [],
    }
    assert "nothing has changed" in site.host.tell("apply").stdout


def test_a_wrong_file_leaves_everything_as_it_was(open_site):
    site = open_site(program("a"))
    before = site.pids()
    site.child("/a")["comand"] = ["x"]
    site.child("/a")["restart"] = "sometimes"
    site.write()
    for verb in ("plan", "apply"):
        result = site.host.tell(verb)
        assert result.returncode == 78
        assert "comand" in result.stderr
        assert "restart" in result.stderr
    assert site.pids() == before
    names = [event["event"] for event in map(json.loads, _events(site.host))]
    assert names.count("config_rejected") == 1
    assert "config_applied" not in names


def _events(host: RunningHost) -> list[str]:
    return host.tell("--json", "events").stdout.splitlines()


def test_a_broken_included_file_leaves_its_child_running_and_the_code_says_so(open_site, tmp_path):
    (tmp_path / "agents").mkdir()
    included = tmp_path / "agents" / "one.yaml"
    included.write_text('{id: one, command: [sleep, "1000"]}')
    site = open_site(program("a"), ready=False)
    site.host.wait_ready("/")
    site.data["include"] = ["agents/*.yaml"]
    assert told(site.apply()) == ["create /one: done"]
    before = site.pids()
    included.write_text("{id: one, comand: [sleep]}")
    site.child("/a")["env"] = {"X": "1"}
    done = site.apply(code=1)
    assert told(done) == ["restart /a: done"]
    assert "comand" in json.dumps(done["problems"])
    assert site.pids()["/one"] == before["/one"]
    included.unlink()
    assert told(site.apply()) == ["stop /one: done"]


def test_a_setting_that_needs_a_restart_of_the_host_is_not_forgotten(open_site):
    site = open_site(program("a"))
    site.data["host"]["stop_limit"] = "7s"
    site.write()
    applied = site.host.tell("apply")
    assert applied.returncode == 0
    assert "not yet" in applied.stdout
    assert "not in force before the host is restarted: host.stop_limit" in applied.stderr
    for _ in range(2):
        (planned,) = site.host.ask("plan")["host"]
        assert (planned["key"], planned["action"]) == ("host.stop_limit", "restart_host")
        facts = site.host.ask("health")
        assert (facts["config_stale"], facts["restart_needed"]) == (True, ["host.stop_limit"])
        assert "host.stop_limit comes in force when the host is restarted" in (
            site.host.tell("status").stdout
        )
        assert site.host.tell("apply").returncode == 0
    del site.data["host"]["stop_limit"]
    assert site.apply()["host"] == []
    assert site.host.ask("health")["config_stale"] is False


def test_status_and_plan_agree_about_a_file_that_a_child_names(open_site, tmp_path):
    watched = tmp_path / "watched.conf"
    site = open_site(program("a", reload={"files": [str(watched)]}))

    def is_stale() -> bool:
        planned = site.host.ask("plan")["changes"]
        stale = site.host.ask("health")["stale_files"]
        assert [each["path"] for each in planned] == (["/a"] if stale else [])
        assert stale in ([], [str(watched)])
        return bool(stale)

    assert not is_stale()
    for text in ("come", "changed", None, "again"):
        if text is None:
            watched.unlink()
        else:
            watched.write_text(text)
        assert is_stale(), text
        assert told(site.apply()) == ["restart /a: done"]
        assert not is_stale(), text
    watched.write_text("for one alone")
    assert told(site.apply("--reload", "/a")) == ["restart /a: done"]
    assert not is_stale()


def test_a_comment_makes_no_change_and_plan_says_what_status_means(open_site):
    site = open_site(program("a"))
    with site.file.open("a") as file:
        file.write("# a word\n")
    assert "config stale" in site.host.tell("status").stdout
    planned = site.host.tell("plan").stdout
    assert f"nothing would change\n({site.file}: another text that means the same" in planned
    assert site.host.tell("apply").returncode == 0
    assert "config stale" not in site.host.tell("status").stdout


def test_disabled_is_stopped_and_not_restarted_and_enabled_starts_again(open_site):
    site = open_site(program("a"), program("b"))
    site.child("/a")["enabled"] = False
    assert told(site.apply()) == ["stop /a: done"]
    row = site.host.row("/a")
    assert (row["state"], row["wanted"], row["restarts"]) == ("stopped", "down", 0)
    del site.child("/a")["enabled"]
    assert told(site.apply()) == ["create /a: done"]
    assert site.host.row("/a")["generation"] == 2


def test_what_an_operator_has_stopped_stays_down(open_site):
    site = open_site(program("a"), program("b"))
    site.host.ask("stop", "/a")
    site.child("/a")["command"] = ["sleep", "1001"]
    done = site.apply()
    assert told(done) == ["update /a: done"]
    assert "held down" in done["changes"][0]["why"]
    assert site.host.row("/a")["state"] == "stopped"
    site.host.ask("start", "/a")
    pid = site.host.row("/a")["pid"]
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001001\x00"


def test_sequential_children_change_one_after_the_other_in_the_order_of_the_file(open_site):
    site = open_site(*(program(name) for name in "abc"), start="sequential")
    for name in "cab":
        site.child(f"/{name}")["env"] = {"X": name}
    since = len(_events(site.host))
    site.apply()
    events = [json.loads(line) for line in _events(site.host)[since:]]
    seen = [
        (e["event"], e["path"]) for e in events if e["event"] in ("child_exited", "child_ready")
    ]
    assert seen == [
        (event, f"/{name}") for name in "abc" for event in ("child_exited", "child_ready")
    ]


def test_a_failed_new_life_is_reported_and_its_rules_go_on(open_site):
    backoff = {"initial": "1h", "max": "1h"}
    site = open_site(program("a", backoff=backoff), program("b"))
    site.child("/a")["command"] = ["/no/such/program"]
    site.child("/b")["env"] = {"X": "1"}
    done = site.apply(code=1)
    assert told(done) == ["restart /a: failed", "restart /b: done"]
    assert "/no/such/program" in json.dumps(done["changes"][0]["error"])
    assert site.host.row("/a")["state"] == "backoff"
    said = site.host.tell("apply")
    assert "nothing has changed" in said.stdout  # it is in force


def test_a_failed_new_life_is_rolled_back_if_asked_for(open_site):
    site = open_site(program("a"), program("b"))
    site.child("/a")["command"] = ["/no/such/program"]
    site.data["tree"]["children"].append(program("new", "/no/such/program"))
    site.write()
    result = site.host.tell("apply", "--rollback")
    assert result.returncode == 1
    assert "it goes on as it was before" in result.stderr
    assert "/no/such/program" in result.stderr
    row = site.host.row("/a")
    assert (row["state"], row["generation"]) == ("running", 3)
    assert site.host.tell("status", "/new").returncode == 4
    assert [each["path"] for each in site.host.ask("plan")["changes"]] == ["/a", "/new"]


def test_an_apply_reaches_a_child_that_hangs_in_its_start_or_waits_for_its_restart(open_site):
    never = {"readiness": "notify", "start_timeout": "1h"}
    crashing = program("c", "sh", "-c", "exit 3", backoff={"initial": "1h", "max": "1h"})
    site = open_site(program("a", **never), program("b"), crashing, ready=False)
    site.host.wait_until_answering()
    wait_for(lambda: site.host.row("/a")["state"] == "starting", "it starts")
    wait_for(lambda: site.host.row("/c")["state"] == "backoff", "it has crashed")
    before = site.pids()
    del site.child("/a")["readiness"]
    site.child("/a")["command"] = ["sleep", "1001"]
    site.child("/c")["command"] = ["sleep", "1001"]
    assert told(site.apply()) == ["restart /a: done", "restart /c: done"]
    assert site.pids()["/b"] == before["/b"]


def test_one_apply_at_a_time_and_an_operation_can_be_waited_for(open_site):
    site = open_site(program("a"), program("b"))
    site.child("/a").update(readiness="notify", start_timeout="1h", env={"X": "1"})
    number = site.apply("--no-wait")["operation"]
    refused = site.host.tell("apply")
    assert refused.returncode == 75
    assert f"operation {number}" in refused.stderr
    late = site.host.tell("wait", "--operation", str(number), "--timeout", "0.1")
    assert late.returncode == 124
    assert site.host.ask("operations")[-1]["state"] == "running"
    site.host.ask("stop", "/a")  # an order about a child that hangs ends its start
    ended = site.host.tell("--json", "wait", "--operation", str(number))
    assert ended.returncode == 1
    assert told(json.loads(ended.stdout)) == ["restart /a: failed"]
    assert site.host.tell("wait", "--operation", "99").returncode == 4
    assert site.host.tell("wait").returncode == 2


def test_what_needs_a_restart_of_the_host_is_named_and_refused_where_it_cannot_be(open_site):
    site = open_site(program("a"))
    site.data["host"] |= {"name": "other", "policy": [{"agents": ">", "may_call": []}]}
    site.write()
    settings = {each["key"]: each["action"] for each in site.host.ask("plan")["host"]}
    assert settings == {"host.name": "restart_host", "host.policy": "update"}
    assert site.apply()["host"]
    before = site.pids()
    site.data["tree"]["strategy"] = "one_for_all"
    site.child("/a")["env"] = {"X": "1"}
    site.write()
    result = site.host.tell("apply")
    assert result.returncode == 1
    assert "needs a restart of the host" in result.stderr
    assert site.pids() == before


def test_the_flags_of_the_tree_change_without_touching_anybody(open_site):
    site = open_site(program("a"), program("b"), start="sequential")
    before = site.pids()
    site.data["tree"] |= {"strategy": "rest_for_one", "intensity": 7}
    site.data["tree"]["children"].reverse()
    site.write()
    done = site.apply()
    assert told(done)[0] == "update /: done"
    assert site.pids() == before
    assert [row["path"] for row in site.host.ask("status")] == ["/", "/b", "/a"]


def test_a_file_that_a_child_reads_is_told_by_its_signal_or_a_new_life(open_site, tmp_path):
    settings = tmp_path / "settings"
    settings.write_text("1")
    counting = "trap 'echo told >> \"$0\"' HUP; while :; do sleep 0.05; done"
    told_by = {"files": [str(settings)], "signal": "SIGHUP"}
    site = open_site(
        program("a", "sh", "-c", counting, str(tmp_path / "told"), reload=told_by),
        program("b", reload={"files": [str(settings)]}),
        program("c"),
    )
    before = site.pids()
    settings.write_text("2")
    assert told(site.apply()) == ["signal /a: done", "restart /b: done"]
    wait_for((tmp_path / "told").exists, "the signal has come")
    after = site.pids()
    assert (after["/a"], after["/c"]) == (before["/a"], before["/c"])
    assert after["/b"] != before["/b"]


def test_a_changed_env_file_or_executable_is_a_reason_for_a_new_life(open_site, tmp_path):
    env, tool = tmp_path / "env", tmp_path / "tool"
    env.write_text("KEY=old\nGONE=1\n")
    tool.write_text("#!/bin/sh\nexec sleep 1000\n")
    tool.chmod(0o755)
    site = open_site(
        program("a", env_file="env"),
        program("b", str(tool), reload={"executable": True}),
        program("c", str(tool)),
    )
    env.write_text("KEY=new\n")
    tool.write_text("#!/bin/sh\nexec sleep 1001\n")
    done = site.apply()
    assert told(done) == ["restart /a: done", "restart /b: done"]
    assert done["changes"][1]["why"] == ["executable changed"]
    environ = Path(f"/proc/{site.pids()['/a']}/environ").read_bytes()
    assert b"KEY=new" in environ
    assert b"GONE" not in environ


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_child_of_another_user_that_comes_later_reaches_the_notify_socket(open_site):
    site = open_site(program("a"))
    run_dir = site.host.run_dir
    assert run_dir.stat().st_mode & 0o777 == 0o700
    site.data["tree"]["children"].append(program("b", user="nobody"))
    assert told(site.apply()) == ["create /b: done"]
    assert run_dir.stat().st_mode & 0o777 == 0o711
    assert (run_dir / "notify.sock").stat().st_mode & 0o222 == 0o222
