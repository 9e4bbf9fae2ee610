"""Changed code of agents on a real host: who runs which, after an apply, a crash and a rollback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hosting import COMMAND, RunningHost

DEADLINE_S = 30.0
CONFIG = """\
version: 1
host: {name: fresh}
tree:
  intensity: 100
  children:
    - {id: a, agent: "first:main", type: robot}
    - {id: b, agent: "second:main", type: robot}
"""
AGENT = """\
import shared

def main(ctx):
    ctx.notify(f"%s of {shared.NAME}")
    ctx.stopping.wait()
"""
HELD_UP = """\
import pathlib, time

here = pathlib.Path(__file__).parent
(here / "importing").touch()
end = time.monotonic() + 30
while not (here / "go").exists() and time.monotonic() < end:
    time.sleep(0.02)
"""
FAILING = "raise RuntimeError('not today')\n"


class Site:
    """A host with two agents of two modules, which have a third one in common."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "fresh.yaml").write_text(CONFIG)
        self.write(first=AGENT % 1, second=AGENT % 1, shared="NAME = 'old'\n")
        self.host = RunningHost(directory / "fresh.yaml", directory)

    def write(self, **modules: str) -> None:
        """Sources, older than the clock's grain, so that no compiled file is taken for theirs."""
        for name, source in modules.items():
            file = self.directory / f"{name}.py"
            before = file.stat().st_mtime if file.exists() else time.time() - 1000
            file.write_text(source)
            os.utime(file, (before + 10, before + 10))

    def hold_imports(self, module: str) -> None:
        """Whoever imports the module from now on waits for `let_imports_go`."""
        self.write(**{module: HELD_UP + AGENT % 2})

    def wait_importing(self) -> None:
        wait_for((self.directory / "importing").exists, "the module is read anew")

    def let_imports_go(self) -> None:
        (self.directory / "go").touch()

    def said(self, path: str) -> str:
        return self.host.ask("show", path)["said"]

    def wait_said(self, path: str, wanted: str) -> None:
        wait_for(lambda: self.said(path) == wanted, f"{path} says {wanted}")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, what
    return value


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.host as host:
        host.wait_ready("/")
        site.wait_said("/a", "1 of old")
        site.wait_said("/b", "1 of old")
        yield site
        if host.process.poll() is None:
            assert host.stop() == 0, host.output


def test_changed_code_is_a_reason_and_a_crash_restart_runs_the_code_that_ran(site):
    b = site.host.row("/b")["pid"]
    site.write(first=AGENT % 2, shared="NAME = 'new'\n")
    (change,) = site.host.ask("plan")["changes"]
    assert (change["path"], change["action"], change["why"]) == ("/a", "restart", ["code changed"])
    assert site.host.tell("apply").returncode == 0
    site.wait_said("/a", "2 of new")
    assert site.host.row("/b")["pid"] == b
    os.kill(b, signal.SIGKILL)
    site.host.wait_generation("/b", 2)
    site.wait_said("/b", "1 of old")
    a = site.host.row("/a")["pid"]
    os.kill(a, signal.SIGKILL)
    site.host.wait_generation("/a", 3)
    site.wait_said("/a", "2 of new")
    assert site.host.tell("restart", "--fresh", "/b").returncode == 0
    site.wait_said("/b", "1 of new")
    assert site.host.ask("plan")["changes"] == []


def test_a_change_whose_code_fails_is_rolled_back_to_the_code_that_ran(site):
    site.write(first=FAILING)
    result = site.host.tell("--json", "apply", "--rollback")
    assert result.returncode == 1
    (change,) = json.loads(result.stdout)["changes"]
    assert change["result"] == "rolled_back"
    assert "not today" in json.dumps(change["error"])
    site.wait_said("/a", "1 of old")
    assert [each["why"] for each in site.host.ask("plan")["changes"]] == [["code changed"]]
    site.write(first=AGENT % 3)
    assert site.host.tell("apply").returncode == 0
    site.wait_said("/a", "3 of old")


def test_only_who_is_known_is_restarted_with_fresh_code(site):
    assert site.host.tell("restart", "--fresh", "/nobody").returncode == 4
    before = {path: site.host.row(path)["pid"] for path in ("/a", "/b")}
    done = site.host.tell("restart", "--fresh", "/a")
    assert (done.returncode, done.stdout) == (0, "/a: restarted, with code read anew\n")
    after = {path: site.host.row(path)["pid"] for path in ("/a", "/b")}
    assert {path for path in before if before[path] != after[path]} == {"/a"}


@pytest.mark.parametrize("words", [(), ("--reload", "a")])
def test_what_is_disabled_while_fresh_code_is_read_stays_down(site, words):
    site.hold_imports("first")
    number = site.host.ask("apply", "--no-wait", *words)["operation"]
    site.wait_importing()
    assert site.host.tell("disable", "/b").returncode == 0
    site.let_imports_go()
    done = site.host.ask("wait", "--operation", str(number))
    assert [change["path"] for change in done["changes"]] == ["/a"]
    site.wait_said("/a", "2 of old")
    row = site.host.row("/b")
    assert (row["state"], row["wanted"]) == ("stopped", "down")
    assert site.host.ask("plan")["changes"] == []


def begin(site: Site, *words: str) -> subprocess.Popen[str]:
    """A command that is not waited for."""
    return subprocess.Popen(
        [COMMAND, "--run-dir", str(site.host.run_dir), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_stop_while_fresh_code_is_read_is_told_to_whoever_waits_for_the_apply(site):
    site.hold_imports("first")
    with begin(site, "apply") as apply:
        site.wait_importing()
        assert site.host.stop() == 0
        said, _ = apply.communicate(timeout=DEADLINE_S)
    assert apply.returncode == 1
    assert "operation 1: the host was asked to stop before it was over" in said
    assert "configuration rejected" not in site.host.output


def test_an_apply_says_so_when_the_host_is_killed_before_it_is_over(site):
    site.hold_imports("first")
    with begin(site, "apply") as apply:
        site.wait_importing()
        site.host.process.kill()
        said, _ = apply.communicate(timeout=DEADLINE_S)
    assert apply.returncode == 1
    assert "operation 1: the host has ended before it was over" in said
    shutil.rmtree(site.host.run_dir)  # whose sockets a killed host leaves to the next one
