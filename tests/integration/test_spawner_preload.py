"""What is imported once for all children, what is not, and how new code comes in."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from supervisor_tree.spawner.remarks import ModuleLeftOut, Preloaded
from tests.integration.spawning import Spawning, alive, gone_within, read_line

AGENT = """
import os
VERSION = {version}
WHERE = os.getpid()

def tell(ctx):
    print(VERSION, "preloaded" if os.getpid() != WHERE else "imported", flush=True)
    ctx.stopping.wait()
"""


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    directory = tmp_path / "modules"
    directory.mkdir()
    return directory


def write(directory: Path, name: str, text: str) -> None:
    (directory / f"{name}.py").write_text(text)


def told(spawning: Spawning, path: str, module: str, generation: int = 1, *, code: int = 0) -> str:
    spawning.launch(path, agent=f"{module}:tell", generation=generation, code=code)
    return read_line(spawning.spawned(path).stdout)


def test_an_agents_module_is_imported_before_the_fork(modules: Path) -> None:
    write(modules, "st_first", AGENT.format(version=1))
    spawning = Spawning(sys_path=[str(modules)], modules=["st_first"])
    assert told(spawning, "/a", "st_first") == "1 preloaded"
    assert spawning.remark(Preloaded).modules == ("st_first",)
    spawning.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('not here')", "RuntimeError: not here"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (
            "from threading import Event, Thread\nThread(target=Event().wait, daemon=True).start()",
            "it starts a thread when it is imported",
        ),
    ],
)
def test_a_module_that_would_hurt_is_left_out_by_name(
    modules: Path, text: str, reason: str
) -> None:
    write(modules, "st_bad", text)
    write(modules, "st_good", AGENT.format(version=1))
    spawning = Spawning(sys_path=[str(modules)], preload=["st_bad"], modules=["st_good"])
    assert told(spawning, "/a", "st_good") == "1 preloaded"
    left_out = spawning.remark(ModuleLeftOut)
    assert (left_out.module, left_out.required) == ("st_bad", True)
    assert reason in left_out.reason
    assert len(os.listdir(f"/proc/{spawning.launcher.pid}/task")) == 1
    spawning.close()


def test_an_agent_whose_module_starts_a_thread_imports_it_itself(modules: Path) -> None:
    thread = "import threading\nthreading.Thread(target=print, daemon=True).start()\n"
    linger = "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    write(modules, "st_threads", thread + linger + AGENT.format(version=1))
    spawning = Spawning(sys_path=[str(modules)], modules=["st_threads"])
    spawning.launch("/a", agent="st_threads:tell")
    stdout = spawning.spawned("/a").stdout
    line = read_line(stdout) or read_line(stdout)  # its thread prints an empty line
    assert line == "1 imported"
    assert not spawning.remark(ModuleLeftOut).required
    spawning.close()


def test_a_refresh_brings_new_code_for_new_lives_and_ends_no_old_one(modules: Path) -> None:
    write(modules, "st_code", AGENT.format(version=1))
    spawning = Spawning(sys_path=[str(modules)], modules=["st_code"])
    assert told(spawning, "/a", "st_code", 1) == "1 preloaded"
    first = spawning.launcher.pid
    write(modules, "st_code", AGENT.format(version="'second'"))
    assert told(spawning, "/a", "st_code", 2) == "1 preloaded"  # as after a crash
    spawning.launcher.refresh()
    spawning.launcher.retire()
    assert told(spawning, "/a", "st_code", 3) == "second preloaded"
    assert spawning.launcher.pid != first
    assert alive(first)
    for generation in (1, 2):
        spawning.launcher.stop("/a", generation)
        assert spawning.exited("/a").signal == signal.SIGTERM
    assert gone_within(5.0, [first])
    spawning.launcher.stop("/a", 3)
    spawning.exited("/a")
    spawning.close()


def test_a_life_runs_its_code_as_long_as_that_is_kept(modules: Path) -> None:
    write(modules, "st_code", AGENT.format(version=1))
    spawning = Spawning(sys_path=[str(modules)], modules=["st_code"])
    first = spawning.launcher.pid
    spawning.remark(Preloaded)
    write(modules, "st_code", AGENT.format(version="'second'"))
    spawning.launcher.refresh()
    assert spawning.launcher.code == 1
    assert told(spawning, "/old", "st_code", 1, code=0) == "1 preloaded"
    assert told(spawning, "/new", "st_code", 1, code=1) == "second preloaded"
    spawning.launcher.retire(keep=[0])
    assert told(spawning, "/old", "st_code", 2, code=0) == "1 preloaded"
    spawning.launcher.retire()
    assert told(spawning, "/old", "st_code", 3, code=0) == "second preloaded"
    for path, generation in (("/old", 1), ("/old", 2), ("/old", 3), ("/new", 1)):
        spawning.launcher.stop(path, generation)
        spawning.exited(path)
    assert gone_within(5.0, [first])
    spawning.close()


def test_children_of_a_retired_spawner_survive_its_death(modules: Path) -> None:
    write(modules, "st_code", AGENT.format(version=1))
    spawning = Spawning(sys_path=[str(modules)], modules=["st_code"])
    told(spawning, "/old", "st_code")
    first = spawning.launcher.pid
    spawning.launcher.refresh()
    spawning.launcher.retire()
    told(spawning, "/new", "st_code")
    second = spawning.launcher.pid
    os.kill(first, signal.SIGKILL)
    assert gone_within(5.0, [first])
    for path in ("/old", "/new"):
        spawning.launcher.stop(path, 1)
        exited = spawning.exited(path)
        assert (exited.signal, exited.asked) == (signal.SIGTERM, True)
    assert spawning.launcher.pid == second
    spawning.close()


def test_the_directory_the_host_was_started_in_is_not_searched(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(modules, "json", "raise SystemExit('the wrong json')")
    write(modules, "st_here", AGENT.format(version=1))
    monkeypatch.chdir(modules)
    spawning = Spawning(modules=["st_here"])
    left_out = spawning.remark(ModuleLeftOut)
    assert "No module named 'st_here'" in left_out.reason
    spawning.close()
