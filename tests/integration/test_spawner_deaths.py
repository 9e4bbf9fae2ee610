"""The spawner dies, or the root does: nothing is lost, nothing is left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_tree.runtime.launcher import Exited, Leaked, Spawned
from supervisor_tree.spawner import procfs
from supervisor_tree.spawner.remarks import Preloaded, SpawnerLost, SpawnerStarted
from tests.integration.spawning import (
    Spawning,
    alive,
    gone_within,
    marked,
    read_line,
    wait_for,
)

AGENTS = str(Path(__file__).parent / "spawned")
ESCAPING = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for escape in (False, True):
    if os.fork() == 0:
        if escape:
            os.setsid()
            if os.fork(): os._exit(0)
        os.write(1, b"%d\\n" % os.getpid())
        signal.pause()
os.write(1, b"%d\\n" % os.getpid())
signal.pause()
"""


@pytest.fixture
def spawning() -> Iterator[Spawning]:
    spawning = Spawning(sys_path=[AGENTS], modules=["agents_under_test"])
    yield spawning
    spawning.close()


def kill_the_spawner(spawning: Spawning) -> int:
    """SIGKILL, and wait until its children are ours."""
    pid = spawning.launcher.pid
    os.kill(pid, signal.SIGKILL)
    assert gone_within(5.0, [pid])
    return pid


# --- the spawner ------------------------------------------------------------------------------


def test_no_child_ends_when_the_spawner_is_killed(spawning: Spawning) -> None:
    spawning.launch("/agent", agent="agents_under_test:wait")
    spawning.launch("/program", "sleep", "1000")
    pids = [spawning.spawned(path).pid for path in ("/agent", "/program")]
    former = kill_the_spawner(spawning)
    lost = spawning.remark(SpawnerLost)
    assert (lost.pid, lost.adopted) == (former, 2)
    spawning.launch("/next", "true")
    spawning.spawned("/next")
    spawning.exited("/next")
    assert spawning.launcher.pid not in (0, former)
    assert all(alive(pid) for pid in pids)
    assert all(procfs.stat(pid).parent == os.getpid() for pid in pids)
    spawning.launcher.stop("/agent", 1)
    spawning.launcher.kill("/program", 1)
    agent, program = spawning.exited("/agent"), spawning.exited("/program")
    assert (agent.signal, agent.asked, agent.pid) == (signal.SIGTERM, True, pids[0])
    assert (program.signal, program.asked, program.pid) == (signal.SIGKILL, True, pids[1])


def test_starts_go_on_within_a_second(spawning: Spawning) -> None:
    spawning.launch("/a", "true")
    spawning.exited("/a")
    begin = time.monotonic()
    os.kill(spawning.launcher.pid, signal.SIGKILL)
    spawning.launch("/b", "true")
    spawning.spawned("/b")
    assert time.monotonic() - begin < 1.0
    spawning.exited("/b")


def test_ends_that_nobody_saw_are_told_once(spawning: Spawning) -> None:
    """They end while the spawner is stopped, dead, and not yet known to be dead."""
    paths = [f"/{number}" for number in range(9)]
    pids = {}
    for path in paths:
        spawning.launch(
            path, "sh", "-c", "trap 'exit 7' TERM; echo; while :; do sleep 1 & wait; done"
        )
        spawned = spawning.spawned(path)
        read_line(spawned.stdout)
        pids[path] = spawned.pid
    for path in paths[:3]:
        os.kill(pids[path], signal.SIGTERM)
    os.kill(spawning.launcher.pid, signal.SIGSTOP)
    for path in paths[3:6]:
        os.kill(pids[path], signal.SIGTERM)
    kill_the_spawner(spawning)
    for path in paths[6:]:
        os.kill(pids[path], signal.SIGTERM)
    for path in paths:
        exited = spawning.exited(path)
        assert (exited.code, exited.pid) == (7, pids[path])
    spawning.launch("/last", "true")
    spawning.exited("/last")
    ends = [notice.path for notice in spawning.probe.seen if isinstance(notice, Exited)]
    assert sorted(ends) == sorted([*paths, "/last"])


def test_an_end_that_was_told_by_a_spawner_that_died_then_is_not_told_again(
    spawning: Spawning,
) -> None:
    spawning.launch("/a", "sleep", "1000")
    spawned = spawning.spawned("/a")
    spawning.remark(Preloaded)
    os.kill(spawned.pid, signal.SIGKILL)
    poll = select.poll()
    poll.register(spawning.launcher.fileno(), select.POLLIN)
    assert poll.poll(5000)  # the end is in the socket
    kill_the_spawner(spawning)
    assert spawning.exited("/a").signal == signal.SIGKILL
    spawning.remark(SpawnerLost)
    spawning.launch("/b", "true")
    spawning.exited("/b")
    assert sum(isinstance(notice, Exited) for notice in spawning.probe.seen) == 2


def test_orders_that_a_dead_spawner_never_read_are_carried_out(spawning: Spawning) -> None:
    spawning.launch("/old", "sleep", "1000")
    old = spawning.spawned("/old")
    os.kill(spawning.launcher.pid, signal.SIGSTOP)
    spawning.launch("/new", agent="agents_under_test:wait")
    spawning.launch("/brief", "sh", "-c", "exit 9")
    kill_the_spawner(spawning)
    spawning.spawned("/new")
    assert spawning.exited("/brief").code == 9
    births = [notice.path for notice in spawning.probe.seen if isinstance(notice, Spawned)]
    assert sorted(births) == ["/brief", "/new", "/old"]
    assert alive(old.pid)
    for path in ("/old", "/new"):
        spawning.launcher.kill(path, 1)
        spawning.exited(path)


def test_a_stop_that_a_dead_spawner_never_read_is_carried_out(spawning: Spawning) -> None:
    spawning.launch("/a", "sleep", "1000")
    spawning.spawned("/a")
    os.kill(spawning.launcher.pid, signal.SIGSTOP)
    spawning.launcher.stop("/a", 1)
    kill_the_spawner(spawning)
    exited = spawning.exited("/a")
    assert (exited.signal, exited.asked) == (signal.SIGTERM, True)


def test_a_half_born_child_is_ended_and_born_again(spawning: Spawning, tmp_path: Path) -> None:
    """The set-up of the first hangs in its env_file, a FIFO without a writer."""
    fifo = tmp_path / "env"
    os.mkfifo(fifo)
    spawning.launch("/a", "sh", "-c", "echo $FROM", env_file=str(fifo))
    spawning.launch("/witness", "true")
    spawning.exited("/witness")  # the order before it has been carried out
    (first,) = marked(spawning.instance, spares=False)
    kill_the_spawner(spawning)
    writer = spawning.probe
    writer.until(lambda: not alive(first), "the half-born child is ended")
    second: list[int] = []

    def is_born_again() -> bool:
        second[:] = set(marked(spawning.instance, spares=False)) - {spawning.launcher.pid}
        return len(second) == 1

    writer.until(is_born_again, "another is there in its place")
    with fifo.open("w") as file:
        file.write("FROM=fifo\n")
    assert read_line(spawning.spawned("/a").stdout) == "fifo"
    assert spawning.exited("/a").pid == second[0] != first


def test_the_daemons_of_adopted_children_are_found_too(spawning: Spawning) -> None:
    spawning.python("/a", ESCAPING, shutdown=0.2)
    spawned = spawning.spawned("/a")
    pids = [int(read_line(spawned.stdout)) for _ in range(3)]
    kill_the_spawner(spawning)
    spawning.remark(SpawnerLost)
    os.kill(spawned.pid, signal.SIGKILL)
    leaked = spawning.probe.wait(Leaked, "/a")
    assert leaked.ended
    spawning.exited("/a")
    assert not any(alive(pid) for pid in pids)


def test_spawners_killed_one_after_the_other_lose_nothing(spawning: Spawning) -> None:
    pids = {}
    for generation in range(1, 4):
        spawning.launch("/a", "sleep", "1000", generation=generation)
        pids[generation] = spawning.spawned("/a").pid
        kill_the_spawner(spawning)
        spawning.remark(SpawnerLost)
    assert all(alive(pid) for pid in pids.values())
    for generation, pid in pids.items():
        spawning.launcher.kill("/a", generation)
        exited = spawning.exited("/a")
        assert (exited.generation, exited.pid) == (generation, pid)


def test_each_spawner_is_announced(spawning: Spawning) -> None:
    first = spawning.remark(SpawnerStarted)
    assert first.pid == spawning.launcher.pid
    kill_the_spawner(spawning)
    second = spawning.remark(SpawnerStarted)
    assert second.pid == spawning.launcher.pid != first.pid


FAULTS = {
    *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP),
}


def test_signals_from_outside_neither_end_the_spawner_nor_reach_its_children(
    spawning: Spawning,
) -> None:
    spawning.launch("/a", "true")
    spawning.exited("/a")
    pid = spawning.launcher.pid
    for number in signal.valid_signals() - FAULTS - {signal.SIGKILL, signal.SIGSTOP}:
        os.kill(pid, number)
    blocked = spawning.run("/b", "grep", "-E", "SigBlk|SigPnd|ShdPnd", "/proc/self/status")
    assert [line.split()[1].strip("0") for line in blocked.splitlines()] == ["", "", ""]
    assert spawning.launcher.pid == pid


# --- the root -----------------------------------------------------------------------------------

ROOT = """
import os, select, sys, uuid
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.runtime.launcher import Launch, Spawned
from supervisor_tree.spawner.client import SpawnerLauncher

instance, agents, escaping, output, kills = sys.argv[1:]
launcher = SpawnerLauncher.start(instance=instance, sys_path=[agents])
specs = {
    "/agent": ChildSpec(id="agent", agent="agents_under_test:wait"),
    "/deaf": ChildSpec(id="deaf", command=(sys.executable, "-S", "-c", escaping)),
}
for path, spec in specs.items():
    launcher.launch(Launch(path=path, generation=1, spec=spec))
seen, text = 0, b""
fds = []
while seen < 2 or text.count(b"\\n") < 3:
    select.select([launcher, *fds], [], [])
    for notice in launcher.collect():
        if isinstance(notice, Spawned):
            seen += 1
            if notice.path == "/deaf":
                fds.append(notice.stdout)
            else:
                text_of_agent = os.read(notice.stdout, 100)
    for fd in fds:
        if select.select([fd], [], [], 0)[0]:
            text += os.read(fd, 100)
if kills == "yes":
    former = launcher.pid
    os.kill(former, 9)
    while launcher.pid in (0, former):
        select.select([launcher], [], [])
        launcher.collect()
with open(output, "w") as file:
    print(launcher.pid, file=file)
while True:
    select.select([launcher], [], [])
    launcher.collect()
"""


@pytest.mark.parametrize("spawner_died_before", ["no", "yes"])
def test_nothing_is_left_two_seconds_after_the_root_was_killed(
    tmp_path: Path, spawner_died_before: str
) -> None:
    """Agents, programs that ignore SIGTERM, their children and their daemons."""
    instance = f"root-{os.getpid()}-{time.monotonic_ns()}"
    output = tmp_path / "spawner"
    arguments = [instance, AGENTS, ESCAPING, str(output), spawner_died_before]
    root = subprocess.Popen([sys.executable, "-c", ROOT, *arguments])
    try:
        spawner = int(wait_for(output, "the root is ready"))
        assert len(marked(instance, spares=False)) == 4
        pids = [*marked(instance), spawner]
    finally:
        root.kill()
        root.wait()
    begin = time.monotonic()
    assert gone_within(2.0, pids), [procfs.command_line(pid) for pid in pids if alive(pid)]
    assert marked(instance) == []
    assert time.monotonic() - begin < 2.0


def test_agents_end_by_their_lease_when_spawner_and_root_die_together(tmp_path: Path) -> None:
    instance = f"root-{os.getpid()}-{time.monotonic_ns()}"
    output = tmp_path / "spawner"
    root = subprocess.Popen(
        [sys.executable, "-c", ROOT, instance, AGENTS, ESCAPING, str(output), "no"]
    )
    spawner = int(wait_for(output, "the root is ready"))
    pids = marked(instance)
    agents = [pid for pid in pids if "/agent" in procfs.command_line(pid)]
    for pid in (root.pid, spawner):
        os.kill(pid, signal.SIGSTOP)
    for pid in (root.pid, spawner):
        os.kill(pid, signal.SIGKILL)
    root.wait()
    try:
        assert len(agents) == 1
        assert gone_within(3.0, agents)
    finally:  # programs have no lease; the next run sweeps them
        for pid in marked(instance):
            os.kill(pid, signal.SIGKILL)
    assert gone_within(3.0, pids)
