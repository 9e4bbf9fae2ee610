"""What is promised when the host's own processes are killed: on real processes."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import supervisor_tree
from supervisor_tree import ChildSpec, SupervisorSpec
from supervisor_tree.core.specs import Backoff, Restart, StartMode
from supervisor_tree.embed import RunningTree
from supervisor_tree.errors import TimedOut

GONE_S = 2.0  # the promise; the tests allow for a busy machine on top
BUSY_S = 3.0
KILLS = int(os.environ.get("CHAOS_KILLS", "60"))
CHILDREN = int(os.environ.get("CHAOS_CHILDREN", "20"))

# A child with a grandchild in a session of its own and one that has forked twice.
FAMILY = (
    sys.executable,
    "-c",
    "import os, subprocess, sys, time\n"
    "far = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    "pid = os.fork()\n"
    "if pid == 0:\n"
    "    os.setsid()\n"
    "    if os.fork():\n"
    "        os._exit(0)\n"
    "    os.execvp('sleep', ['sleep', '1001'])\n"
    "os.waitpid(pid, 0)\n"
    "open(sys.argv[1], 'w').write('up')\n"
    "time.sleep(1000)\n",
)


def writer(ctx):
    """Prints numbered lines as fast as somebody reads them."""
    for number in itertools.count(1):
        print(number, flush=True)
        if ctx.stopping.wait(0.002):
            return


def waits(ctx):
    ctx.stopping.wait()


@contextmanager
def running(
    tmp_path: Path, *children: ChildSpec, start: StartMode = StartMode.SEQUENTIAL
) -> Iterator[RunningTree]:
    spec = SupervisorSpec(children=children, intensity=1_000_000, start=start)
    with supervisor_tree.run(
        spec, run_dir=tmp_path / "run", log_dir=tmp_path / "logs", state_dir=tmp_path / "state"
    ) as tree:
        yield tree


def marked(tmp_path: Path) -> dict[int, str]:
    """Every process of this host's children that can be told by its environment."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get("SUPERVISOR_TREE_RUN_DIR") == str(tmp_path / "run"):
                found[process.pid] = " ".join(process.cmdline())
        except psutil.Error:
            continue
    return found


def wait_until(condition, limit_s: float, what: str) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s, f"not within {limit_s} s: {what}"
        os.sched_yield()
    return time.monotonic() - began


def is_gone(pid: int) -> bool:
    """It has ended; who inherited it may not have reaped it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def row(tree: RunningTree, path: str) -> dict[str, Any]:
    return tree.status(path)[0]


def floods(ctx):
    """More than a pipe holds, then it is done."""
    with open(ctx.args["go"], "rb") as go:
        go.read()
    for number in range(20_000):
        print(number, "x" * 80)


def test_a_frozen_logger_is_replaced_and_holds_no_child_up(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    flood = ChildSpec(id="flood", agent=floods, args={"go": str(go)}, restart=Restart.TRANSIENT)
    with running(tmp_path, flood) as tree:
        logger = row(tree, "/_/logger")
        os.kill(logger["pid"], signal.SIGSTOP)
        go.write_bytes(b"now")
        wait_until(lambda: is_gone(logger["pid"]), 10, "the frozen logger is ended")
        wait_until(lambda: row(tree, "/flood")["state"] == "stopped", 10, "the child is done")
    text = (tmp_path / "logs" / "flood.log").read_text()
    assert [int(line.split("|")[1].split()[0]) for line in text.splitlines()] == list(range(20_000))
    assert "the logger does not answer" in (tmp_path / "logs" / "host.log").read_text()


@pytest.mark.kills_the_root
def test_when_the_root_is_killed_every_process_of_every_scope_is_gone(tmp_path: Path) -> None:
    up = tmp_path / "up"
    family = ChildSpec(id="family", command=(*FAMILY, str(up)))
    stubborn = ChildSpec(
        id="stubborn", command=("sh", "-c", "trap '' TERM; sleep 1002; sleep 1003")
    )
    with running(tmp_path, family, stubborn, ChildSpec(id="agent", agent=waits)) as tree:
        wait_until(up.exists, 10, "the family is complete")
        sleeps = "sleep 100"
        wait_until(
            lambda: sum(sleeps in command for command in marked(tmp_path).values()) >= 4,
            10,
            "the stubborn one is complete as well",
        )
        tree_pids = [entry["pid"] for entry in tree.status() if entry["pid"]]
        os.kill(tree.pid, signal.SIGKILL)
        wait_until(lambda: not marked(tmp_path), GONE_S + BUSY_S, "all processes are gone")
        wait_until(lambda: all(map(is_gone, tree_pids)), BUSY_S, "agents are gone")


def test_when_the_spawner_is_killed_no_child_ends_and_no_exit_is_lost(tmp_path: Path) -> None:
    children = [ChildSpec(id=f"c{n}", command=("sleep", "1000")) for n in range(5)]
    with running(tmp_path, ChildSpec(id="agent", agent=waits), *children) as tree:
        before = {entry["path"]: entry["pid"] for entry in tree.status() if entry["pid"]}
        events = tree.events(timeout=15)
        (first,) = itertools.islice((e for e in events if e["event"] == "spawner_started"), 1)
        os.kill(first["pid"], signal.SIGKILL)
        os.kill(before["/c0"], signal.SIGKILL)
        again = next(event for event in events if event["event"] == "spawner_started")
        assert again["pid"] != first["pid"]
        ready = next(
            event
            for event in events
            if event["event"] == "child_ready"
            and event["path"] == "/c0"
            and event["generation"] == 2
        )
        assert ready["generation"] == 2
        after = {entry["path"]: entry["pid"] for entry in tree.status() if entry["pid"]}
        assert {path for path in before if before[path] != after[path]} == {"/c0"}
        # Adopted children go on being supervised: their ends are seen and have a reason.
        os.kill(before["/agent"], signal.SIGKILL)
        exited = next(
            event
            for event in events
            if event["event"] == "child_exited" and event["path"] == "/agent"
        )
        assert exited["reason"]["signal"] == signal.SIGKILL
        tree.wait_for("/agent")
        events.close()
        exits = [e for e in replayed(tree) if e["event"] == "child_exited"]
        assert sorted((e["path"], e["generation"]) for e in exits) == [("/agent", 1), ("/c0", 1)]


def replayed(tree: RunningTree) -> list[dict[str, Any]]:
    """The events up to now."""
    last = tree._request("snapshot", {}, 10)["seq"]
    events = tree.events(timeout=10)
    story = []
    for event in events:
        story.append(event)
        if event["seq"] >= last:
            break
    events.close()
    return story


def test_when_the_logger_is_killed_no_line_is_lost_and_no_agent_restarted(tmp_path: Path) -> None:
    with running(tmp_path, ChildSpec(id="writer", agent=writer)) as tree:
        for kill in range(5):
            logger = next(
                entry["pid"]
                for entry in tree._request("status", {"all": True}, 10)
                if entry["path"] == "/_/logger"
            )
            os.kill(logger, signal.SIGKILL)
            wait_until(
                lambda kill=kill: (
                    row_of_logger(tree)["generation"] == kill + 2 and row_of_logger(tree)["ready"]
                ),
                10,
                "a new logger",
            )
        assert row(tree, "/writer")["generation"] == 1
    text = (tmp_path / "logs" / "writer.log").read_text()
    numbers = [int(found) for found in re.findall(r"\| (\d+)$", text, re.MULTILINE)]
    assert set(numbers) == set(range(1, max(numbers) + 1))


def row_of_logger(tree: RunningTree) -> dict[str, Any]:
    return next(
        entry
        for entry in tree._request("status", {"all": True}, 10)
        if entry["path"] == "/_/logger"
    )


@pytest.mark.kills_the_root
def test_when_root_and_spawner_are_killed_agents_end_and_the_next_run_starts_clean(
    tmp_path: Path,
) -> None:
    agent, program = (
        ChildSpec(id="agent", agent=waits),
        ChildSpec(id="p", command=("sleep", "1000")),
    )
    with running(tmp_path, agent, program) as tree:
        pids = {entry["path"]: entry["pid"] for entry in tree.status() if entry["pid"]}
        (spawner,) = [e["pid"] for e in replayed(tree) if e["event"] == "spawner_started"]
        wait_until((tmp_path / "run" / "state.json").exists, 10, "the state file")
        for pid in (tree.pid, spawner):
            os.kill(pid, signal.SIGSTOP)
        for pid in (spawner, tree.pid):  # it would be woken by the end of the root
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_gone(pids["/agent"]), 5 + BUSY_S, "the agent has ended")
        assert not is_gone(pids["/p"])
    with running(tmp_path, agent, program) as tree:
        assert is_gone(pids["/p"])
        assert row(tree, "/p")["ready"]


def test_a_child_that_is_stopped_takes_its_whole_scope_along(tmp_path: Path) -> None:
    up = tmp_path / "up"
    with running(
        tmp_path, ChildSpec(id="family", command=(*FAMILY, str(up)), shutdown=1.0)
    ) as tree:
        wait_until(up.exists, 10, "the family is complete")
        tree.stop("/family")
        assert [command for command in marked(tmp_path).values() if "sleep 100" in command] == []
        leaked = [event for event in replayed(tree) if event["event"] == "child_leaked"]
        assert leaked == [] or all(event["ended"] for event in leaked)


def test_a_second_host_is_told_who_holds_the_run_directory(tmp_path: Path) -> None:
    conf = tmp_path / "conf.yaml"
    conf.write_text("version: 1\ntree: {children: [{id: a, command: [sleep, '1000']}]}\n")
    with running(tmp_path, ChildSpec(id="a", command=("sleep", "1000"))) as tree:
        second = subprocess.run(
            [sys.executable, "-m", "supervisor_tree", "--run-dir", str(tree.run_dir), "run", conf],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 78
        assert f"pid {tree.pid}" in second.stderr
        assert row(tree, "/a")["generation"] == 1


def test_a_command_that_is_not_there_is_tried_again_with_delays_and_holds_nobody_up(
    tmp_path: Path,
) -> None:
    """Restarts without a limit: each costs a delay, and the host answers all the while."""
    missing = ChildSpec(
        id="missing",
        command=("no-such-program",),
        restart=Restart.PERMANENT,
        backoff=Backoff(initial=0.01, factor=2.0, max=0.1, jitter=0.0),
    )
    other = ChildSpec(id="other", agent=waits)
    with running(tmp_path, missing, other, start=StartMode.CONCURRENT) as tree:
        wait_until(lambda: row(tree, "/missing")["restarts"] >= 10, 20, "ten more attempts")
        assert row(tree, "/other")["generation"] == 1
        tree.restart("/other")
        tree.stop("/missing")
        told = [event for event in replayed(tree) if event["path"] == "/missing"]
    delays = [event["delay_s"] for event in told if event["event"] == "child_backoff"]
    assert delays[:6] == [0.01, 0.02, 0.04, 0.08, 0.1, 0.1]
    reasons = {event["reason"]["term"][1] for event in told if event["event"] == "child_exited"}
    assert len(reasons) == 1
    assert "cannot execute 'no-such-program': not found on PATH" in reasons.pop()


def test_an_order_about_one_child_waits_for_no_other(tmp_path: Path) -> None:
    """Under `start: concurrent`, a file's default; a sequential supervisor blocks as OTP's does."""
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    stubborn = ChildSpec(id="stubborn", command=("sh", "-c", script), shutdown=1000.0)
    others = [ChildSpec(id=f"c{n}", agent=waits) for n in range(3)]
    log = tmp_path / "logs" / "stubborn.log"
    with running(tmp_path, stubborn, *others, start=StartMode.CONCURRENT) as tree:
        wait_until(lambda: log.exists() and "up" in log.read_text(), 10, "it ignores SIGTERM")
        with pytest.raises(TimedOut):
            tree.stop("/stubborn", timeout=0.1)
        assert row(tree, "/stubborn")["state"] == "stopping"
        tree.restart("/c0", "/c1")
        tree.stop("/c2")
        assert [row(tree, f"/c{n}")["generation"] for n in range(3)] == [2, 2, 1]
        assert row(tree, "/stubborn")["state"] == "stopping"
        tree.kill("/stubborn")
        tree.wait_for("/stubborn", "stopped")


def test_random_kills_leave_a_tree_that_is_equal_to_the_cores_picture(tmp_path: Path) -> None:
    """CHAOS_KILLS=12000 CHAOS_CHILDREN=200: the whole promise, which takes ten minutes."""
    children = [ChildSpec(id=f"c{n}", command=("sleep", "1000")) for n in range(CHILDREN)]
    with running(tmp_path, *children) as tree:
        root = psutil.Process(tree.pid)
        descriptors = root.num_fds()
        for round in range(KILLS):
            victim = row(tree, f"/c{round % CHILDREN}")["pid"]
            if victim is not None:
                with suppress(ProcessLookupError):
                    os.kill(int(victim), signal.SIGKILL)

        def picture_is_true() -> bool:
            shown = {entry["pid"] for entry in tree.status() if entry["ready"] and entry["pid"]}
            real = {pid for pid, command in marked(tmp_path).items() if command == "sleep 1000"}
            return len(shown) == CHILDREN and shown == real

        wait_until(picture_is_true, 15, "the core's picture is the kernel's")
        seqs = [event["seq"] for event in replayed(tree)]
        assert seqs == list(range(1, len(seqs) + 1))
        kills = sum(event["event"] == "child_exited" for event in replayed(tree))
        assert kills >= KILLS // 3
        zombies = [p for p in root.children(recursive=True) if p.status() == psutil.STATUS_ZOMBIE]
        assert zombies == []
        wait_until(lambda: root.num_fds() <= descriptors + 2, 10, "descriptors are let go")
