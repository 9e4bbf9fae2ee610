"""What an operator has stopped stays stopped, whatever happens to the host in between."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.hosting import RunningHost
from tests.integration.test_full_disk import small_disk

__all__ = ["small_disk"]  # a fixture

CONFIG = """\
version: 1
host: {name: wanted}
tree:
  children:
    - {id: a, command: [sleep, "1000"]}
    - {id: b, command: [sleep, "1000"]}
    - {id: off, command: [sleep, "1000"], enabled: false}
    - id: group
      supervisor:
        children:
          - {id: x, command: [sleep, "1000"]}
          - {id: y, command: [sleep, "1000"]}
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningHost]]:
    """Begins the next life of one host."""
    file = tmp_path / "wanted.yaml"
    file.write_text(CONFIG)
    with ExitStack() as stack:

        def start(config: str | None = None) -> RunningHost:
            if config is not None:
                file.write_text(config)
            host = stack.enter_context(RunningHost(file, tmp_path))
            host.wait_ready("/")
            return host

        yield start


def remembered(tmp_path: Path) -> Path:
    return tmp_path / "state" / "supervisor-tree" / "wanted" / "wanted"


def states(host: RunningHost) -> dict[str, str]:
    return {row["path"]: row["state"] for row in host.ask("status")}


def test_what_was_stopped_stays_stopped_after_a_restart_of_the_host(start):
    host = start()
    assert host.ask("stop", "/a", "--reason", "token expired") == {"/a": "done"}
    host.ask("stop", "/group/y")
    host.ask("start", "/off")
    assert host.stop() == 0
    host = start()
    assert states(host) == {
        "/": "running",
        "/a": "stopped",
        "/b": "running",
        "/off": "running",
        "/group": "running",
        "/group/x": "running",
        "/group/y": "stopped",
    }
    said = host.tell("show", "/a").stdout
    assert "down, by stop of " in said
    assert "token expired" in said
    assert "stopped (by order)" in host.tell("status").stdout
    assert host.ask("start", "/a", "/group") == {"/a": "done", "/group": "done"}
    assert host.stop() == 0
    assert states(start())["/a"] == "running"


@pytest.mark.kills_the_root
def test_an_order_that_was_answered_survives_the_kill_of_the_root(start):
    host = start()
    host.ask("stop", "/a")
    host.process.kill()
    host.process.wait(5)
    assert states(start())["/a"] == "stopped"


def test_an_order_that_nobody_waited_for_survives_an_orderly_end(start):
    host = start()
    host.ask("stop", "/a", "--no-wait")
    assert host.stop() == 0
    assert states(start())["/a"] == "stopped"


def test_a_damaged_file_is_told_set_aside_and_costs_the_last_order_alone(start, tmp_path):
    host = start()
    host.ask("stop", "/a")
    host.ask("stop", "/b")
    assert host.stop() == 0
    newest = max(remembered(tmp_path).glob("*.json"), key=lambda file: int(file.stem))
    os.truncate(newest, 40)
    host = start()
    assert (states(host)["/a"], states(host)["/b"]) == ("stopped", "running")
    assert f"cannot use {newest}: it is torn or no JSON" in host.output
    assert newest.with_name(f"{newest.name}.damaged").stat().st_size == 40


def test_what_was_ordered_about_a_child_that_is_gone_does_no_harm_and_can_be_forgotten(start):
    host = start()
    host.ask("stop", "/a")
    assert host.stop() == 0
    host = start(CONFIG.replace("{id: a,", "{id: new,"))
    assert states(host)["/new"] == "running"
    assert "nobody has the path /a" in host.tell("doctor").stdout
    forgotten = host.tell("start", "/a")
    assert forgotten.returncode == 0
    assert "forgotten" in forgotten.stdout
    assert host.tell("start", "/a").returncode == 4
    assert "nobody has the path" not in host.tell("doctor").stdout


def test_disabled_children_are_seen_as_such(start):
    host = start()
    assert "stopped (disabled)" in host.tell("status", "/off").stdout
    assert "enabled: false" in host.tell("show", "/off").stdout
    assert host.ask("show", "/off")["kept_down_by"] == "specification"
    assert ": disabled" in host.tell("tree").stdout


SCENE = """
import os, subprocess, sys, time
disk, command, config = sys.argv[1:]
words = [command, "--run-dir", f"{disk}/run"]

def tell(*more):
    return subprocess.run([*words, *more], capture_output=True, text=True, timeout=30)

def host():
    process = subprocess.Popen([*words, "run", config], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while tell("wait", "/", "--timeout", "10").returncode:
        assert time.monotonic() < deadline and process.poll() is None
    return process

def end(process):
    process.terminate()
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return said

first = host()
assert tell("stop", "/a").stdout == "/a: stopped\\n"
with open(f"{disk}/fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
answer = tell("stop", "/b")
assert answer.returncode == 0 and "NOT REMEMBERED" in answer.stdout, answer
assert "stopped" in tell("status", "/b").stdout
doctor = tell("doctor")
assert doctor.returncode == 1 and "No space left" in doctor.stdout, doctor
said = end(first)
assert "cannot remember what operators want" in said, said
os.unlink(f"{disk}/fill")
second = host()
rows = tell("status").stdout
end(second)
assert "stopped (by order)" in rows.split("/a ")[1].splitlines()[0], rows
print("done")
"""


def test_on_a_full_disk_the_order_is_carried_out_and_nothing_remembered_is_lost(
    tmp_path: Path, small_disk: tuple[str, ...]
) -> None:
    scene, config = tmp_path / "scene.py", tmp_path / "full.yaml"
    scene.write_text(SCENE)
    disk = tmp_path / "disk"
    config.write_text(CONFIG.replace("name: wanted", f"name: full, state_dir: {disk}/state"))
    command = Path(sys.executable).parent / "supervisor-tree"
    result = subprocess.run(
        [*small_disk, sys.executable, str(scene), str(disk), str(command), str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("done\n", "")
