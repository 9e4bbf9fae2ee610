"""Limits that count for all processes of a child together, by whatever this machine has.

What a kernel really does with them is shown by `guest_cgroups.py`, which runs here in a kernel of
its own (User Mode Linux), as few machines lend tests a cgroup with all controllers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_tree.core.specs import Limits
from supervisor_tree.runtime.cgroups import (
    Cgroup,
    NotAvailable,
    Place,
    Territory,
    own_place,
    usable,
)
from supervisor_tree.spawner import procfs
from supervisor_tree.spawner.memory import OomCount
from supervisor_tree.spawner.spares import ANYONE
from tests.integration.hosting import RunningHost
from tests.integration.spawning import Spawning, read_line, spares

ROOT = Path(__file__).parents[2]
AGENTS = str(Path(__file__).parent / "spawned")


@pytest.fixture
def spawning() -> Iterator[Spawning]:
    spawning = Spawning(sys_path=[AGENTS], modules=["agents_under_test"])
    yield spawning
    spawning.close()


# --- what is written where, into plain files -------------------------------------------------


@pytest.mark.parametrize("kind", ["program", "agent", "warm agent"])
def test_a_child_writes_its_limits_and_enters_its_cgroup(
    spawning: Spawning, kind: str, tmp_path: Path
) -> None:
    leaf = Cgroup(str(tmp_path / "a#1"), {"memory.max": "64000000", "pids.max": "9"})
    limits = Limits(memory_max=64_000_000, pids_max=9)
    if kind == "program":
        spawning.launch("/a", "sh", "-c", "echo up; sleep 1000", cgroup=leaf, limits=limits)
    else:
        warm = int(kind == "warm agent")
        spawning.launch("/a", agent="agents_under_test:wait", cgroup=leaf, limits=limits, warm=warm)
    spawned = spawning.spawned("/a")
    read_line(spawned.stdout)
    written = {file.name: file.read_text() for file in (tmp_path / "a#1").iterdir()}
    # Itself, or the spawner has put a spare there.
    assert written.pop("cgroup.procs") in ("0", str(spawned.pid))
    assert written == leaf.files
    spawning.launcher.kill("/a", 1)
    spawning.exited("/a")
    assert (tmp_path / "a#1" / "cgroup.kill").read_text() == "1"


def test_a_spare_is_put_into_the_cgroup_of_the_life_that_it_becomes(
    spawning: Spawning, tmp_path: Path
) -> None:
    (spare,) = spares(spawning, ANYONE, 1)
    leaf = Cgroup(str(tmp_path / "a#1"), {"pids.max": "9"})
    limits = Limits(pids_max=9)
    spawning.launch("/a", agent="agents_under_test:wait", cgroup=leaf, limits=limits)
    assert spawning.spawned("/a").pid == spare
    assert (tmp_path / "a#1" / "cgroup.procs").read_text() == str(spare)
    assert (tmp_path / "a#1" / "pids.max").read_text() == "9"
    spawning.launcher.kill("/a", 1)
    spawning.exited("/a")


@pytest.mark.parametrize("kind", ["program", "agent"])
def test_a_cgroup_that_cannot_be_entered_is_a_failed_start(
    spawning: Spawning, kind: str, tmp_path: Path
) -> None:
    leaf = Cgroup(str(tmp_path / "missing" / "a#1"), {"pids.max": "9"})
    if kind == "program":
        spawning.launch("/a", "true", cgroup=leaf, limits=Limits(pids_max=9))
    else:
        target = "agents_under_test:wait"
        spawning.launch("/a", agent=target, cgroup=leaf, limits=Limits(pids_max=9))
    failed = spawning.failed("/a")
    assert failed.stage == "limits"
    assert failed.message == f"cannot enter cgroup {leaf.directory}: No such file or directory"


def place(directory: Path, *pids: int) -> Place:
    (directory / "cgroup.controllers").write_text("cpu memory pids io\n")
    (directory / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return Place(directory, False)


def test_a_host_with_a_cgroup_of_its_own_moves_into_a_leaf_of_it(tmp_path: Path) -> None:
    given = place(tmp_path, os.getpid(), 1)
    moved = iter([[os.getpid()], []])  # a second look finds that all have moved
    territory = Territory(tmp_path / "run", lambda: next(moved), given)
    territory.settle()
    home = territory.directory
    assert home is not None
    assert (home / "main" / "cgroup.procs").read_text() == str(os.getpid())
    for directory in (tmp_path, home):
        assert (directory / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    leaf = territory.cgroup("/chat/bot", 3, Limits(cpu_max=2))
    assert leaf == Cgroup(f"{home}/chat:bot#3", {"cpu.max": "200000 100000"})
    assert territory.cgroup("/plain", 1, Limits(nofile=9)) is None
    assert territory.missing(Limits(cpu_max=2, memory_max=1)) == []


def test_what_a_former_life_of_a_host_has_left_is_removed_at_the_start(tmp_path: Path) -> None:
    first = Territory(tmp_path / "run", list, Place(tmp_path, True))
    (tmp_path / "cgroup.controllers").write_text("memory pids cpu\n")
    (tmp_path / "cgroup.procs").touch()
    leaf = first.cgroup("/a", 1, Limits(pids_max=1))
    assert leaf is not None
    Path(leaf.directory).mkdir()
    other = Territory(tmp_path / "other", list, Place(tmp_path, True))
    assert not other.settle(), "another host's is none of ours"
    assert Path(leaf.directory).exists()
    assert Territory(tmp_path / "run", list, Place(tmp_path, True)).settle()
    assert not Path(leaf.directory).exists()


# --- the machine's count of kills ------------------------------------------------------------


def test_a_kill_counts_as_out_of_memory_only_if_the_machine_has_counted_one(
    tmp_path: Path,
) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 1\noom_kill 7\nnuma_hit 2\n")
    count = OomCount(str(vmstat))
    assert not count.has_struck()
    vmstat.write_text("nr_free_pages 1\noom_kill 8\nnuma_hit 2\n")
    assert (count.has_struck(), count.has_struck()) == (True, False)
    vmstat.write_text("nr_free_pages 1\noom_kill 9\nnuma_hit 2\n")
    count.look(count.due)  # time passes: what was until now is no evidence any more
    assert not count.has_struck()
    count.close()


def test_a_child_that_somebody_has_killed_is_not_called_out_of_memory(spawning: Spawning) -> None:
    spawning.launch("/a", "sleep", "1000")
    os.kill(spawning.spawned("/a").pid, signal.SIGKILL)
    exited = spawning.exited("/a")
    assert (exited.signal, exited.oom) == (signal.SIGKILL, False)


# --- a whole host on this machine ------------------------------------------------------------


def what_there_is() -> tuple[frozenset[str], str]:
    """The controllers that a host may use here, and why there are none."""
    try:
        return usable(own_place()), ""
    except NotAvailable as error:
        return frozenset(), str(error)


FAT = """
import subprocess, sys, time
# What counts is the scope: a grandchild that has left session and parent holds the memory.
code = "import time; held = bytearray(90_000_000); time.sleep(1000)"
subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=True)
time.sleep(1000)
"""


def test_a_child_whose_scope_takes_too_much_memory_is_restarted_as_out_of_memory(
    tmp_path: Path,
) -> None:
    (tmp_path / "fat.py").write_text(FAT)
    config = tmp_path / "host.yaml"
    config.write_text(
        f"""
version: 1
host: {{name: fat}}
tree:
  intensity: 100
  children:
    - id: fat
      command: [{sys.executable}, -S, {tmp_path}/fat.py]
      limits: {{memory_max: 60 MB, pids_max: 50, cpu_max: 2}}
    - {{id: calm, command: [sleep, "1000"], limits: {{memory_max: 60 MB}}}}
"""
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/calm")
        host.wait_generation("/fat", 2, deadline_s=50.0)
        lines = host.tell("--json", "events").stdout.splitlines()
        exits = [event for event in map(json.loads, lines) if event["event"] == "child_exited"]
        fat = next(event for event in exits if event["path"] == "/fat")
        assert (fat["reason"]["kind"], fat["reason"]["oom"]) == ("abnormal", True)
        assert host.row("/calm")["generation"] == 1
        assert host.row("/fat")["last_exit"]["oom"]
        assert "killed: out of memory" in host.output
        findings = {finding["check"]: finding for finding in host.ask("doctor")}
        kept, why = what_there_is()
        if why:
            assert "it gets no cgroup, so memory_max is looked after every 2 s" in host.output
            assert "pids_max and cpu_max CANNOT BE KEPT" in host.output
            assert host.output.count("CANNOT BE KEPT") == 1
            assert findings["cgroup"]["result"] == "warn"
            assert f"not available: {why}" in findings["cgroup"]["message"]
            paths = [row["path"] for row in host.ask("status", "--all")]
            assert "/_/meter" in paths
        else:
            assert findings["cgroup"]["message"].endswith(f": {', '.join(sorted(kept))}")


# --- a kernel that has it all ----------------------------------------------------------------

GUEST = """#!/bin/bash
export PATH={path} HOME=/run PYTHONDONTWRITEBYTECODE=1 REQUIRE_ALL=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
exec > {out} 2>&1 < /dev/null
{python} -c '
import fcntl, socket, struct
lo = struct.pack("16sH14s", b"lo", 1, b"")
fcntl.ioctl(socket.socket(), 0x8914, lo)'
cd {root}
{python} -m pytest -q -p no:cacheprovider --basetemp=/run/tests tests/integration/guest_cgroups.py
echo "ended with $?"
sync
echo o > /proc/sysrq-trigger
sleep 60
"""


@pytest.mark.needs("linux.uml")
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    os.geteuid() != 0, reason="the guest has the files of its user, and needs root's"
)
def test_a_kernel_with_all_controllers_keeps_all_limits(tmp_path: Path) -> None:
    out = tmp_path / "guest.out"
    out.touch()
    init = tmp_path / "init"
    init.write_text(
        GUEST.format(path=os.environ["PATH"], out=out, python=sys.executable, root=ROOT)
    )
    init.chmod(0o755)
    words = ["linux.uml", "mem=1200M", "rootfstype=hostfs", "rootflags=/", "rw", f"init={init}"]
    words += ["con=null", "con0=null,null", "quiet", f"uml_dir={tmp_path}/uml"]
    guest = subprocess.Popen(
        words,
        env={**os.environ, "TMPDIR": "/dev/shm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        guest.wait(580)
    finally:
        for pid in reversed(procfs.family_of(guest.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        guest.wait(5)
    assert "\nended with 0\n" in out.read_text(), out.read_text()
