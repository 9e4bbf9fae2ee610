"""`enable` and `disable` on a real host: the files are written, and the host does as they say."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import supervisor_tree
from tests.integration.hosting import COMMAND, RunningHost
from tests.integration.test_full_disk import IN_A_NAMESPACE

CONFIG = """\
# an operator's own words
version: 1
tree:
  children:
    - id: a            # the first
      command: [sleep, "1000"]
    - {id: b, command: [sleep, "1000"]}
    - id: group
      supervisor:
        children:
          - {id: x, command: [sleep, "1000"]}
include: [agents/*.yaml]
"""
BOT = "id: bot   # a bot\ncommand: [sleep, '1000']\n"


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/bot.yaml").write_text(BOT)
    file = tmp_path / "enable.yaml"
    file.write_text(CONFIG)
    return file


@pytest.fixture
def host(main: Path) -> Iterator[RunningHost]:
    with RunningHost(main, main.parent) as host:
        host.wait_ready("/")
        yield host


def test_disable_writes_the_file_and_stops_the_child_alone(host, main):
    before = {row["path"]: row["pid"] for row in host.ask("status")}
    result = host.tell("disable", "/a", "/bot")
    assert result.returncode == 0
    assert result.stdout == "/a: disabled, stopped\n/bot: disabled, stopped\n"
    assert main.read_text() == CONFIG.replace(
        "# the first\n", "# the first\n      enabled: false\n"
    )
    assert (main.parent / "agents/bot.yaml").read_text() == BOT.replace(
        "# a bot\n", "# a bot\nenabled: false\n"
    )
    rows = {row["path"]: row for row in host.ask("status")}
    assert (rows["/a"]["state"], rows["/bot"]["state"]) == ("stopped", "stopped")
    assert {path: rows[path]["pid"] for path in ("/b", "/group/x")} == {
        path: before[path] for path in ("/b", "/group/x")
    }
    assert "stopped (disabled)" in host.tell("status").stdout
    again = host.tell("disable", "/a")
    assert (again.returncode, again.stdout) == (0, "/a: already disabled\n")


def test_what_enable_and_disable_write_is_in_force_and_what_else_was_written_is_not(host, main):
    for verb in ("disable", "enable"):
        assert host.tell(verb, "/a").returncode == 0
        assert host.ask("health")["stale_files"] == []
    with main.open("a") as file:
        file.write("# another hand\n")
    assert host.tell("disable", "/a").returncode == 0
    assert host.ask("health")["stale_files"] == [str(main)]


def test_what_was_disabled_is_down_in_the_next_life_and_enable_brings_it_back(host, main, tmp_path):
    host.ask("disable", "/a", "/group/x")
    assert host.stop() == 0
    with RunningHost(main, tmp_path) as later:
        later.wait_ready("/")
        assert later.row("/a")["state"] == "stopped"
        assert later.row("/group/x")["state"] == "stopped"
        result = later.tell("enable", "/a")
        assert (result.returncode, result.stdout) == (0, "/a: enabled, started\n")
        assert later.row("/a")["state"] == "running"
        assert "enabled: true" in main.read_text()
        assert later.ask("show", "/a")["hold"] is None


def test_what_is_below_a_stopped_group_counts_when_the_group_runs(host):
    host.ask("stop", "/group")
    result = host.tell("disable", "/group/x")
    assert result.stdout == "/group/x: disabled, its supervisor does not run\n"
    host.ask("start", "/group")
    assert host.row("/group/x")["state"] == "stopped"
    host.ask("stop", "/group")
    result = host.tell("enable", "/group/x")
    assert result.stdout == "/group/x: enabled, starts with its supervisor\n"
    host.ask("start", "/group")
    assert host.row("/group/x")["state"] == "running"


def test_a_child_that_only_the_file_knows_is_written_and_told(host, main):
    main.write_text(CONFIG.replace("- {id: b,", "- {id: new, command: [x]}\n    - {id: b,"))
    result = host.tell("disable", "/new")
    assert (result.returncode, result.stdout) == (0, "/new: disabled\n")
    assert "`apply`" in result.stderr
    assert "{id: new, enabled: false, command: [x]}" in main.read_text()


def test_enable_takes_a_stop_back_as_well(host):
    host.ask("stop", "/b", "--reason", "for now")
    assert host.ask("enable", "/b") == {"/b": "done"}
    assert host.row("/b")["state"] == "running"


def test_without_a_host_the_files_are_changed_by_their_name(main, tmp_path):
    words = [COMMAND, "--run-dir", str(tmp_path / "run"), "--json", "disable", "/b"]
    nobody = subprocess.run(words, capture_output=True, text=True, check=False)
    assert nobody.returncode == 69
    assert main.read_text() == CONFIG
    words += ["--config", str(main)]
    for word in ("done", "already"):
        result = subprocess.run(words, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) == {"/b": word}
    assert main.read_text() == CONFIG.replace("id: b,", "id: b, enabled: false,")


def test_what_cannot_be_written_is_refused_and_nothing_is_stopped(host, main):
    unknown = host.tell("disable", "/b", "/nobody")
    assert unknown.returncode == 4
    assert "/nobody" in unknown.stderr
    assert host.tell("disable", "/_/logger").returncode == 4
    main.write_text(CONFIG.replace("version: 1", "version: 7"))
    broken = host.tell("disable", "/b")
    assert broken.returncode == 78
    assert "enable.yaml:2" in broken.stderr
    main.write_text(CONFIG)
    assert host.row("/b")["state"] == "running"
    assert main.read_text() == CONFIG


def test_a_place_that_cannot_be_written_is_named_and_the_file_stays(main):
    """A mount point cannot be replaced, whoever asks (rename(2), EBUSY)."""
    words = [*IN_A_NAMESPACE, "sh", "-c", 'mount --bind "$1" "$1" && shift && exec "$@"', "sh"]
    command = [COMMAND, "disable", "/b", "--config", str(main)]
    result = subprocess.run(
        [*words, str(main), *command], capture_output=True, text=True, check=False
    )
    if "mount" in result.stderr and "permitted" in result.stderr:
        pytest.skip(f"cannot mount: {result.stderr.strip()}")
    assert result.returncode == 1
    assert f"cannot write {main}" in result.stderr
    assert "it is as it was" in result.stderr
    assert main.read_text() == CONFIG
    assert sorted(os.listdir(main.parent)) == ["agents", "enable.yaml"]


def test_the_tree_of_a_program_has_no_files(tmp_path):
    spec = supervisor_tree.SupervisorSpec(
        children=(supervisor_tree.ChildSpec(id="a", command=("sleep", "1000")),)
    )
    with supervisor_tree.run(spec, run_dir=tmp_path / "run"):
        words = [COMMAND, "--run-dir", str(tmp_path / "run"), "disable", "/a"]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "comes from a program" in result.stderr
