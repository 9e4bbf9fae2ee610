"""What goes wrong around a spawner: modules that end it, no descriptors left, no answer."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor_tree.spawner.remarks import ModuleLeftOut, Preloaded, SpawnerLost
from supervisor_tree.testing import Probe
from tests.integration.spawning import Spawning, alive, marked, read_all, read_line

TELL = """
import os
WHERE = os.getpid()

def tell(ctx):
    print("preloaded" if os.getpid() != WHERE else "imported", flush=True)
    ctx.stopping.wait()
"""
MASK_OF_SELF = "sed -n 's/^Sig\\(Blk\\|Ign\\):[^0-9a-f]*//p' /proc/self/status"

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write modules; returns their directory."""

    def to(**texts: str) -> str:
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)
        return str(tmp_path)

    return to


# --- modules that end the interpreter -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import ctypes; ctypes.string_at(0)", "signal 11"),
        ("import os; os._exit(5)", "exit code 5"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "kills the interpreter"),
        ("import os; os.closerange(3, 300)", "closes its descriptors"),
    ],
)
def test_a_module_that_ends_the_interpreter_is_left_out_of_the_next_spawner(
    write: Write, text: str, reason: str
) -> None:
    directory = write(st_good=TELL, st_deadly=text, st_later=TELL)
    spawning = Spawning(
        sys_path=[directory], preload=["st_good", "st_deadly"], modules=["st_later"]
    )
    spawning.launch("/a", agent="st_later:tell")
    left_out = spawning.remark(ModuleLeftOut)
    assert (left_out.module, left_out.required) == ("st_deadly", True)
    assert reason in left_out.reason
    assert spawning.remark(Preloaded).modules == ("st_good", "st_later")
    assert read_line(spawning.spawned("/a").stdout) == "preloaded"
    spawning.launcher.stop("/a", 1)
    spawning.exited("/a")
    spawning.close()


def test_a_refresh_gives_a_module_that_was_left_out_another_chance(write: Write) -> None:
    directory = write(st_mended="import os; os._exit(5)")
    spawning = Spawning(sys_path=[directory], modules=["st_mended"])
    assert spawning.remark(ModuleLeftOut).module == "st_mended"
    spawning.remark(Preloaded)
    write(st_mended=TELL)
    spawning.launcher.refresh()
    spawning.launcher.retire()
    assert spawning.remark(Preloaded).modules == ("st_mended",)
    spawning.close()


def test_a_spawner_that_is_killed_from_outside_at_an_import_leaves_nothing_out(
    write: Write, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    directory = write(st_waits=f"open({str(fifo)!r}).read()\n{TELL}")
    spawning = Spawning(sys_path=[directory], modules=["st_waits"])
    writer = os.open(fifo, os.O_WRONLY)  # once the module is being imported
    first = spawning.launcher.pid
    os.kill(first, signal.SIGKILL)
    spawning.probe.until(lambda: spawning.launcher.pid not in (0, first), "another spawner")
    os.close(writer)
    with fifo.open("w"):
        pass
    assert spawning.remark(Preloaded).modules == ("st_waits",)
    assert not any(isinstance(remark, ModuleLeftOut) for remark in spawning.remarks)
    spawning.close()


@pytest.mark.parametrize("close", ["sys.stdout.close()", "sys.stderr.close()", "sys.stdout = None"])
def test_a_module_that_closes_standard_output_harms_nobody(write: Write, close: str) -> None:
    directory = write(st_closes=f"import sys; {close}", st_later=TELL)
    spawning = Spawning(sys_path=[directory], modules=["st_closes", "st_later"])
    spawning.launch("/a", agent="st_later:tell")
    assert read_line(spawning.spawned("/a").stdout) == "preloaded"
    assert spawning.remark(Preloaded).modules == ("st_closes", "st_later")
    spawning.close()


# --- what modules do to signals -----------------------------------------------------------------

LOOK = """
import os, signal

def tell(ctx):
    print(signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL, flush=True)
    print(signal.getsignal(signal.SIGHUP) is signal.SIG_DFL, flush=True)
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(("SigIgn", "SigBlk")):
                print(line.split()[1], flush=True)
"""
MEDDLES = """
import ctypes, signal
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.signal(signal.SIGHUP, print)
ctypes.CDLL(None).signal(int(signal.SIGUSR2), ctypes.c_void_p(1))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH, signal.SIGTERM})
"""


def test_what_a_module_does_to_signals_reaches_no_child(write: Write) -> None:
    directory = write(st_look=LOOK, st_meddles=MEDDLES)
    seen = []
    for modules in ([], ["st_meddles"]):
        spawning = Spawning(sys_path=[directory], modules=[*modules, "st_look"])
        spawning.launch("/agent", agent="st_look:tell")
        agent = read_all(spawning.spawned("/agent").stdout)
        spawning.exited("/agent")
        program = spawning.run("/program", "sh", "-c", MASK_OF_SELF)
        assert spawning.remark(Preloaded).modules == (*modules, "st_look")
        seen.append((agent, program))
        spawning.close()
    assert seen[0] == seen[1]
    assert seen[0][0].startswith("True\nTrue\n")
    assert "\n0000000000000000\n" in seen[0][0]


# --- no spawner, or one that does not answer ----------------------------------------------------


@pytest.mark.parametrize("order", ["stop", "kill"])
def test_a_life_that_waits_for_a_spawner_can_be_stopped(order: str) -> None:
    spawning = Spawning()
    while former := spawning.launcher.pid:  # the first one is replaced at once
        os.kill(former, signal.SIGKILL)
        spawning.probe.until(lambda: spawning.launcher.pid != former, "it is lost")
    spawning.launch("/a", "sleep", "1000")
    getattr(spawning.launcher, order)("/a", 1)
    failed = spawning.failed("/a")
    assert (failed.stage, failed.message) == ("fork", "stopped before it was started")
    assert spawning.run("/b", "echo", "b") == "b\n"
    spawning.close()


def test_a_frozen_spawner_is_abandoned_and_orders_are_carried_out() -> None:
    spawning = Spawning()
    for path in ("/stopped", "/killed", "/kept"):
        spawning.launch(path, "sleep", "1000")
        spawning.spawned(path)
    frozen = spawning.launcher.pid
    os.kill(frozen, signal.SIGSTOP)
    spawning.launch("/unborn", "sleep", "1000")
    spawning.launch("/late", "true")
    spawning.launcher.stop("/stopped", 1)
    spawning.launcher.kill("/killed", 1)
    spawning.launcher.kill("/unborn", 1)
    spawning.launcher.abandon()
    assert spawning.exited("/stopped").signal == signal.SIGTERM
    assert spawning.exited("/killed").signal == signal.SIGKILL
    assert spawning.failed("/unborn").message == "stopped before it was started"
    assert spawning.exited("/late").code == 0
    assert spawning.launcher.pid not in (0, frozen)
    spawning.launcher.kill("/kept", 1)
    assert spawning.exited("/kept").asked
    spawning.close()


def test_a_spawner_that_is_found_frozen_is_replaced_and_its_children_live_on() -> None:
    spawning = Spawning()
    for path in ("/ends", "/lives"):
        spawning.launch(path, "sleep", "1000")
    ends, lives = spawning.spawned("/ends"), spawning.spawned("/lives")
    spawning.remark(Preloaded)
    frozen = spawning.launcher.pid
    os.kill(frozen, signal.SIGSTOP)
    os.kill(ends.pid, signal.SIGKILL)
    spawning.launch("/next", "true")
    exited = spawning.exited("/ends")
    assert (exited.pid, exited.signal, exited.asked) == (ends.pid, signal.SIGKILL, False)
    assert spawning.exited("/next").code == 0
    lost = spawning.remark(SpawnerLost)
    assert (lost.pid, lost.frozen) == (frozen, True)
    assert "did not answer" in lost.words
    assert spawning.launcher.pid not in (0, frozen)
    assert alive(lives.pid)
    spawning.close()


def test_a_spawner_is_not_ended_for_what_its_stopped_root_has_not_read() -> None:
    """Nobody collects, for longer than a spawner may be silent."""
    spawning = Spawning()
    spawning.launch("/a", "sleep", "1000")
    spawning.spawned("/a")
    spawning.remark(Preloaded)
    pid = spawning.launcher.pid
    for _ in range(2):
        subprocess.run(["sleep", "5"], check=True)
        spawning.launcher.collect()
    assert spawning.run("/b", "echo", "b") == "b\n"
    assert spawning.launcher.pid == pid
    spawning.close()


def test_a_slow_import_is_no_freeze(tmp_path: Path) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(7)\n")
    spawning = Spawning(sys_path=[str(tmp_path)], preload=["slow_to_import"])
    pid = spawning.launcher.pid
    spawning.probe = Probe(spawning.launcher, 30.0)
    assert spawning.remark(Preloaded).modules == ("slow_to_import",)
    assert spawning.launcher.pid == pid
    spawning.close()


def test_a_frozen_spawner_and_its_children_are_ended_after_the_time_given() -> None:
    spawning = Spawning()
    spawning.launch("/a", "sh", "-c", "trap '' TERM; setsid sleep 1000 & echo; wait")
    spawned = spawning.spawned("/a")
    read_line(spawned.stdout)
    frozen = spawning.launcher.pid
    left = [frozen, *marked(spawning.instance)]
    assert len(left) >= 3
    os.kill(frozen, signal.SIGSTOP)
    spawning.launcher.close()
    assert spawning.launcher.wait_closed(0.1)
    assert not any(alive(pid) for pid in left)
    spawning.close()


# --- no descriptors left ------------------------------------------------------------------------


def test_descriptors_that_find_no_room_cost_neither_the_life_nor_the_spawner() -> None:
    spawning = Spawning()
    spawning.remark(Preloaded)
    pid = spawning.launcher.pid
    former = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    filled: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, former[1]))
        with contextlib.suppress(OSError):
            while True:
                filled.append(os.dup(2))
        spawning.launch("/a", "sleep", "1000")
        spawned = spawning.spawned("/a")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, former)
        for fd in filled:
            os.close(fd)
    assert (spawned.stdout, spawned.stderr) == (-1, -1)
    spawning.run("/b", "true")
    assert spawning.launcher.pid == pid
    spawning.launcher.kill("/a", 1)
    spawning.exited("/a")
    spawning.close()
