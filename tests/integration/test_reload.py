"""SIGHUP on a real host: the file is applied, or what the file `reload` names is started anew."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hosting import RunningHost

DEADLINE_S = 30.0
CHILD = '    - {{id: {id}, command: [sleep, "1000"], env: {{X: "{x}"}}}}\n'


class Site:
    """A host of three children, whose environment the file gives."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "site.yaml"
        self.write("1", "1", "1")
        self.host = RunningHost(self.file, directory)

    def write(self, *values: str) -> None:
        children = "".join(
            CHILD.format(id=id, x=value) for id, value in zip("abc", values, strict=True)
        )
        head = "version: 1\nhost: {name: site}\ntree:\n  start: sequential\n  children:\n"
        self.file.write_text(head + children)

    def hang_up(self) -> None:
        os.kill(self.host.process.pid, signal.SIGHUP)

    def pids(self) -> dict[str, int]:
        return {row["path"]: row["pid"] for row in self.host.ask("status") if row["pid"]}

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.host.tell("--json", "events").stdout.splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.host as host:
        host.wait_ready("/")
        yield site
        assert host.stop() == 0, host.output


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, what
    return value


def test_a_hang_up_applies_the_file_and_touches_nobody_else(site):
    before = site.pids()
    site.write("1", "2", "1")
    site.hang_up()
    wait_for(lambda: site.events("config_applied"), "the file is applied")
    after = site.pids()
    assert {path for path in before if before[path] != after[path]} == {"/b"}
    wait_for(lambda: "SIGHUP: apply has been done" in site.host.output, "the host says so")
    assert site.host.tell("status", "/_/apply").returncode == 4  # nothing is left of it


def test_a_hang_up_over_a_wrong_file_changes_nothing_and_says_why(site):
    before = site.pids()
    site.file.write_text("version: 1\ntree: {children: [{id: a, comand: x}]}\n")
    site.hang_up()
    (event,) = wait_for(lambda: site.events("config_rejected"), "it is refused")
    assert "comand" in json.dumps(event["problems"])
    assert site.pids() == before
    wait_for(lambda: "ended with code 78" in site.host.output, "the host says so")


def test_a_reload_file_names_the_only_one_that_is_started_anew_and_is_consumed(site):
    before = site.pids()
    site.write("2", "1", "2")
    target = site.host.run_dir / "reload"
    target.write_text("b\n")
    site.hang_up()
    wait_for(lambda: site.events("config_applied"), "b is reloaded")
    after = site.pids()
    assert {path for path in before if before[path] != after[path]} == {"/b"}
    assert not target.exists()
    assert [each["path"] for each in site.host.ask("plan")["changes"]] == ["/a", "/c"]


def test_an_empty_reload_file_reloads_all_in_order(site):
    before = site.pids()
    (site.host.run_dir / "reload").touch()
    site.hang_up()
    wait_for(lambda: site.events("config_applied"), "all are reloaded")
    after = site.pids()
    assert all(before[path] != after[path] for path in before)
    ready = [event["path"] for event in site.events("child_ready")]
    assert [path for path in ready if path in before][-3:] == ["/a", "/b", "/c"]


def test_a_changed_file_makes_the_configuration_stale_until_it_is_applied(site, tmp_path):
    def stale() -> list[str]:
        facts = site.host.ask("health")
        assert facts["config_stale"] == bool(facts["stale_files"])
        assert ("config stale" in site.host.tell("status").stdout) == facts["config_stale"]
        assert site.host.ask("show", "/a")["config_stale"] == facts["config_stale"]
        return facts["stale_files"]

    assert stale() == []
    os.utime(site.file)  # the same content under a new time
    assert stale() == []
    before = site.host.ask("show", "/a")["content_hash"]
    site.write("2", "1", "1")
    assert stale() == [str(site.file)]
    assert site.host.tell("apply").returncode == 0
    assert stale() == []
    assert site.host.ask("show", "/a")["content_hash"] != before
    with site.file.open("a") as file:
        file.write("include: [agents/*.yaml]\n")
    assert site.host.tell("apply").returncode == 0
    (tmp_path / "agents").mkdir()
    more = tmp_path / "agents" / "d.yaml"
    more.write_text('{id: d, command: [sleep, "1000"]}')
    assert stale() == [str(more)]
    assert site.host.tell("apply").returncode == 0
    more.unlink()
    assert stale() == [str(more)]


def test_a_name_that_nobody_has_is_told_and_changes_nothing(site):
    before = site.pids()
    (site.host.run_dir / "reload").write_text("nobody")
    site.hang_up()
    wait_for(lambda: "ended with code 4" in site.host.output, "the host says so")
    assert site.pids() == before


def test_many_hang_ups_are_few_applies_and_the_last_file_is_in_force(site):
    for value in "23456789":
        site.write(value, "1", "1")
        site.hang_up()

    def in_force() -> bool:
        pid = site.pids().get("/a")
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # between two lives
            return False
        return b"X=9" in environ.split(b"\0")

    wait_for(in_force, "the last file is in force")
    assert 1 <= len(site.events("config_applied")) <= 8
    assert site.host.ask("plan")["changes"] == []
