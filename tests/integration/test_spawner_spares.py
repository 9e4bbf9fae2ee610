"""Children forked ahead: those of `warm`, and the one for any agent that starts alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_tree.core.specs import Limits
from supervisor_tree.runtime.launcher import Exited, Spawned
from supervisor_tree.spawner import procfs
from tests.integration.spawning import Spawning, alive, gone_within, read_line, spares

TICK_S = 0.02  # the kernel counts starts in hundredths of a second
AGENTS = str(Path(__file__).parent / "spawned")


@pytest.fixture
def spawning() -> Iterator[Spawning]:
    spawning = Spawning(sys_path=[AGENTS], modules=["agents_under_test"])
    yield spawning
    spawning.close()


def test_the_next_life_of_a_warm_child_is_a_spare(spawning: Spawning) -> None:
    def launch(generation: int) -> Spawned:
        spawning.launch(
            "/a",
            agent="agents_under_test:tell_life",
            generation=generation,
            warm=2,
            owned={"SUPERVISOR_TREE_GENERATION": str(generation)},
            extra={"number": generation},
        )
        return spawning.spawned("/a")

    first = launch(1)
    assert read_line(first.stdout) == "1 1"
    waiting = spares(spawning, "/a", 2)
    os.kill(first.pid, signal.SIGKILL)
    spawning.exited("/a")
    second = launch(2)
    assert second.pid in waiting
    assert read_line(second.stdout) == "2 2"
    assert procfs.command_line(second.pid) == "supervisor-tree: /a #2"
    assert procfs.environ_mark(second.pid) == f"{spawning.instance}:/a:2"
    assert len(spares(spawning, "/a", 2)) == 2
    spawning.launcher.stop("/a", 2)
    exited = spawning.exited("/a")
    assert (exited.generation, exited.asked) == (2, True)
    spares(spawning, "/a", 0)
    assert sum(isinstance(notice, Exited) for notice in spawning.probe.seen) == 2


def test_a_warm_program_execs_when_it_is_needed(spawning: Spawning) -> None:
    for generation in (1, 2):
        spawning.launch(
            "/p", "sh", "-c", "echo $LIFE; exec sleep 1000", generation=generation, warm=1,
            owned={"LIFE": str(generation)},
        )  # fmt: skip
        spawned = spawning.spawned("/p")
        assert read_line(spawned.stdout) == str(generation)
        if generation == 1:
            (waiting,) = spares(spawning, "/p", 1)
        else:
            assert spawned.pid == waiting
        os.kill(spawned.pid, signal.SIGKILL)
        spawning.exited("/p")


def test_a_spare_whose_exec_fails_is_a_failed_launch(spawning: Spawning, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    spawning.launch("/p", str(program), warm=1)
    pid = spawning.spawned("/p").pid
    spares(spawning, "/p", 1)
    program.unlink()
    os.kill(pid, signal.SIGKILL)
    spawning.exited("/p")
    spawning.launch("/p", str(program), warm=1, generation=2)
    assert spawning.failed("/p").stage == "exec"


def test_a_spare_that_was_killed_is_passed_over(spawning: Spawning) -> None:
    spawning.launch("/a", agent="agents_under_test:wait", warm=1)
    first = spawning.spawned("/a")
    (waiting,) = spares(spawning, "/a", 1)
    os.kill(waiting, signal.SIGKILL)
    assert gone_within(5.0, [waiting])
    os.kill(first.pid, signal.SIGKILL)
    spawning.exited("/a")
    spawning.launch("/a", agent="agents_under_test:wait", warm=1, generation=2)
    second = spawning.spawned("/a")
    assert second.pid != waiting
    assert read_line(second.stdout) == "waiting"


def test_another_specification_gets_no_spare_of_the_old_one(spawning: Spawning) -> None:
    spawning.launch("/a", agent="agents_under_test:wait", warm=1)
    first = spawning.spawned("/a")
    old = spares(spawning, "/a", 1)
    os.kill(first.pid, signal.SIGKILL)
    spawning.exited("/a")
    spawning.launch(
        "/a", agent="agents_under_test:tell_environment", env={"TOLD": "new"}, warm=1, generation=2
    )
    assert read_line(spawning.spawned("/a").stdout).startswith("new ")
    spawning.exited("/a")
    assert gone_within(5.0, old)


def test_spares_end_with_a_spawner_that_is_killed(spawning: Spawning) -> None:
    spawning.launch("/a", agent="agents_under_test:wait", warm=2)
    spawned = spawning.spawned("/a")
    waiting = spares(spawning, "/a", 2)
    os.kill(spawning.launcher.pid, signal.SIGKILL)
    assert gone_within(5.0, waiting)
    spawning.launcher.stop("/a", 1)
    assert spawning.exited("/a").pid == spawned.pid
    assert len(spawning.probe.seen) == 2


def test_an_agent_that_starts_alone_is_the_spare_for_anyone(
    spawning: Spawning, tmp_path: Path
) -> None:
    (waiting,) = spares(spawning, "/", 1)
    spawning.launch(
        "/a",
        agent="agents_under_test:tell_life",
        generation=7,
        cwd=str(tmp_path),
        limits=Limits(nofile=99),
        owned={"SUPERVISOR_TREE_GENERATION": "7"},
        extra={"number": 3},
    )
    spawned = spawning.spawned("/a")
    assert spawned.pid == waiting
    assert read_line(spawned.stdout) == "7 3"
    assert procfs.command_line(waiting) == "supervisor-tree: /a #7"
    assert procfs.environ_mark(waiting) == f"{spawning.instance}:/a:7"
    assert os.readlink(f"/proc/{waiting}/cwd") == str(tmp_path)
    assert "Max open files            99" in Path(f"/proc/{waiting}/limits").read_text()
    spares(spawning, "/", 1)
    spawning.launcher.stop("/a", 7)
    exited = spawning.exited("/a")
    assert (exited.pid, exited.signal, exited.asked) == (waiting, signal.SIGTERM, True)


def test_a_spare_whose_set_up_fails_is_a_failed_launch(spawning: Spawning) -> None:
    (waiting,) = spares(spawning, "/", 1)
    spawning.launch("/a", agent="agents_under_test:wait", cwd="/there/is/none")
    assert spawning.failed("/a").stage == "cwd"
    assert not alive(waiting)


def test_agents_whose_orders_come_together_leave_the_spare_alone(spawning: Spawning) -> None:
    (waiting,) = spares(spawning, "/", 1)
    os.kill(spawning.launcher.pid, signal.SIGSTOP)  # so that it finds both at once
    for path in ("/a", "/b"):
        spawning.launch(path, agent="agents_under_test:wait")
    os.kill(spawning.launcher.pid, signal.SIGCONT)
    assert waiting not in {spawning.spawned(path).pid for path in ("/a", "/b")}
    assert spares(spawning, "/", 1) == [waiting]


def test_the_spare_of_a_former_spawner_is_never_used(spawning: Spawning) -> None:
    old = spares(spawning, "/", 1)
    former = spawning.launcher.pid
    spawning.launcher.refresh()
    spawning.launcher.retire()
    assert spawning.launcher.pid != former
    assert gone_within(5.0, old)
    new = spares(spawning, "/", 1)
    spawning.launch("/a", agent="agents_under_test:wait")
    assert [spawning.spawned("/a").pid] == new != old


def test_a_life_that_was_a_spare_is_as_old_as_its_launch(spawning: Spawning) -> None:
    (waiting,) = spares(spawning, "/", 1)
    begin = time.monotonic()
    spawning.launch("/a", agent="agents_under_test:wait")
    spawned = spawning.spawned("/a")
    assert spawned.pid == waiting
    os.kill(waiting, signal.SIGKILL)
    assert spawning.exited("/a").rusage.wall_s <= time.monotonic() - begin + TICK_S


def test_a_spare_that_is_killed_is_told_to_nobody(spawning: Spawning) -> None:
    (waiting,) = spares(spawning, "/", 1)
    os.kill(waiting, signal.SIGKILL)
    assert gone_within(5.0, [waiting])
    spawning.launch("/a", agent="agents_under_test:wait")
    spawned = spawning.spawned("/a")
    assert read_line(spawned.stdout) == "waiting"
    assert spawning.probe.seen == [spawned]
