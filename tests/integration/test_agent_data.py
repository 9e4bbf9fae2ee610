"""What agents and programs keep from life to life, on a real host."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from supervisor_tree.agents.checkpoint import CheckpointStore, pack_state
from tests.integration.hosting import RunningHost

DEADLINE_S = 20.0

AGENTS = '''
import os
from supervisor_tree import Agent


class Counter(Agent):
    """Counts as fast as checkpoints go, and leaves a trail that a SIGKILL does not cut off."""

    def init(self, ctx):
        state = ctx.resume
        self.n = state["n"] if state else 0
        self.trail = os.open(ctx.data_dir / "trail", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        writer = state.generation if state else 0
        self.note(f"resumed {self.n} {ctx.generation} {writer}")

    def note(self, text):
        os.write(self.trail, f"{text}\\n".encode())

    async def run(self, ctx):
        while True:
            self.n += 1
            self.note(f"try {self.n}")
            await ctx.checkpoint({"n": self.n, "padding": "x" * 20_000})
            self.note(f"kept {self.n}")


def robot(ctx):
    (ctx.cache_dir / "cached").write_text("again")
    ctx.checkpoint({"times": (ctx.resume or {"times": 0})["times"] + 1})
    ctx.notify(f"times {ctx.resume['times']}")
    ctx.stopping.wait()
'''

CONFIG = """\
version: 1
host: {name: data}
tree:
  intensity: 1000
  children:
    - {id: counter, agent: "agents:Counter"}
    - {id: robot, agent: "agents:robot", type: robot}
    - id: programs
      supervisor:
        children:
          - id: one
            command: [sh, -c, "echo 1 > $SUPERVISOR_TREE_DATA_DIR/kept; exec sleep 1000"]
          - id: two
            command: [sh, -c, "echo 22 > $SUPERVISOR_TREE_CACHE_DIR/made; exec sleep 1000"]
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[RunningHost]:
    (tmp_path / "agents.py").write_text(AGENTS)
    (tmp_path / "data.yaml").write_text(CONFIG)
    with RunningHost(tmp_path / "data.yaml", tmp_path) as host:
        host.wait_ready("/")
        yield host
        assert host.stop() == 0


def state_dir(host: RunningHost) -> Path:
    return Path(host.ask("health")["log_dir"]).parent


def until(condition, host: RunningHost) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, host.output


def test_a_state_survives_kills_in_the_middle_of_writing(host):
    trail = state_dir(host) / "data/counter/trail"
    until(trail.exists, host)
    for generation in range(1, 11):
        kept = 0 if generation == 1 else trail.read_text().count("kept")  # by lives that are over
        until(lambda kept=kept: trail.read_text().count("kept") > kept, host)
        host.tell("kill", "/counter")
        host.wait_generation("/counter", generation + 1)
    lives = trail.read_text().split("resumed ")[1:]
    assert len(lives) == 11
    for before, life in pairwise(lives):
        n, generation, writer = map(int, life.splitlines()[0].split())
        steps = [line.split() for line in before.splitlines()[1:]]
        tried = max(int(number) for word, number in steps if word == "try")
        done = max(int(number) for word, number in steps if word == "kept")
        assert done <= n <= tried
        assert writer == generation - 1


def test_plain_code_keeps_its_state_too(host):
    until(lambda: host.ask("show", "/robot")["said"] == "times 1", host)
    host.tell("restart", "/robot")
    until(lambda: host.ask("show", "/robot")["said"] == "times 2", host)


def test_memory_of_a_running_child_is_refused_and_of_a_stopped_one_deleted_with_counts(host):
    until(lambda: host.ask("show", "/robot")["said"] == "times 1", host)
    refused = host.tell("clear-memory", "/robot")
    assert refused.returncode == 1
    assert "/robot must be stopped first" in refused.stderr
    host.tell("stop", "/robot")
    counts = host.ask("clear-memory", "/robot")
    assert (counts["path"], counts["checkpoints"], counts["files"]) == ("/robot", 1, 1)
    assert host.ask("clear-memory", "/robot")["files"] == 0
    assert (state_dir(host) / "cache/robot/cached").exists()
    host.tell("start", "/robot")
    until(lambda: host.ask("show", "/robot")["said"] == "times 1", host)


def test_a_cache_is_deleted_with_a_restart_in_between(host):
    cache = state_dir(host) / "cache"
    until((cache / "programs/two/made").exists, host)
    result = host.tell("delete-cache", "/programs", "--restart")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "/programs: 1 file (3 B) and 2 directories deleted\n"
    assert (state_dir(host) / "data/programs/one/kept").exists()
    host.wait_generation("/programs/two", 2)
    until((cache / "programs/two/made").exists, host)


def test_what_is_no_child_is_refused(host):
    assert host.tell("clear-memory", "/missing").returncode == 4
    assert host.tell("clear-memory", "/").returncode == 2
    assert host.tell("delete-cache", "/_/logger").returncode == 2


def store(directory: Path) -> CheckpointStore:
    return CheckpointStore(lambda: directory, 1)


def test_on_a_loop_the_newest_state_is_written_and_all_who_wait_are_told(tmp_path: Path) -> None:
    mine = store(tmp_path)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        writes = [mine.write_beside(pack_state({"n": n}), loop) for n in range(50)]
        await asyncio.gather(*writes)
        assert store(tmp_path).read() == {"n": 49}

    asyncio.run(main())


def test_on_a_loop_a_write_that_fails_is_told_to_whoever_awaits_it(tmp_path: Path) -> None:
    mine = store(tmp_path / "missing")

    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await mine.write_beside(pack_state({}), asyncio.get_running_loop())

    asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_child_of_another_user_finds_directories_of_its_own():
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o711)
    (directory / "state").mkdir(mode=0o711)
    (directory / "state/supervisor-tree").mkdir(mode=0o711)
    touch = "touch $SUPERVISOR_TREE_DATA_DIR/mine && exec sleep 1000"
    (directory / "data.yaml").write_text(
        "version: 1\nhost: {name: data}\ntree: {children: [{id: g, supervisor: {children: ["
        f'{{id: n, user: nobody, command: [sh, -c, "{touch}"]}}]}}}}]}}\n'
    )
    try:
        with RunningHost(directory / "data.yaml", directory) as host:
            host.wait_ready("/g/n")
            mine = state_dir(host) / "data/g/n/mine"
            until(mine.exists, host)
            assert mine.owner() == "nobody"
            assert mine.parent.stat().st_mode & 0o777 == 0o700
            host.tell("stop", "/g/n")
            assert host.ask("clear-memory", "/g/n")["files"] == 1
            host.tell("start", "/g/n")
            until(mine.exists, host)
            assert host.stop() == 0
    finally:
        shutil.rmtree(directory)
