"""Children that hang, on real hosts: found, asked where they stand, ended whole, restarted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest

from tests.integration.hosting import RunningHost

AGENTS = '''
import asyncio, ctypes, os, subprocess, sys, time

import supervisor_tree


def hang_in_python():
    time.sleep(1000)


def hang_in_c():
    ctypes.PyDLL(None).sleep(1000)  # PyDLL keeps the interpreter to itself


class Blocked(supervisor_tree.Agent):
    """Its first life blocks the loop; before that it has started a process that escapes."""

    async def run(self, ctx):
        if ctx.generation == 1:
            escaped = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            print("escaped", escaped.pid)
            {"python": hang_in_python, "c": hang_in_c}[ctx.args.get("where", "python")]()
        await ctx.stopping


class Healthy(supervisor_tree.Agent):
    async def run(self, ctx):
        await ctx.stopping


class Tool(supervisor_tree.Agent):
    """Its loop turns all the while, but the tool that it waits for never ends."""

    async def run(self, ctx):
        if ctx.generation == 1:
            async with ctx.busy("npm install"):
                await asyncio.sleep(1000)
        await ctx.stopping


def distracted(ctx):
    """A robot that looks for a while, and then no more."""
    for _ in range(20):
        ctx.stopping.wait(0.02)
    if ctx.generation == 1:
        hang_in_python()
    ctx.stopping.wait()


def patient(ctx):
    """A robot that waits: that is to look as well."""
    print("beats every", ctx.args)
    ctx.stopping.wait()


def builder(ctx):
    """Works for longer than it may be silent: announced, and with a word now and then."""
    with ctx.busy("build"), ctx.busy("compile"):
        time.sleep(3)
    for _ in range(30):
        ctx.beat()
        time.sleep(0.1)
    print("built")
    if ctx.generation == 1:
        with ctx.busy("deploy"):
            hang_in_python()
    ctx.stopping.wait()


def awaited(ctx):
    """Calls a coroutine function, as `async def` robots are."""
    return waits(ctx)


async def waits(ctx):
    await ctx.stopping
'''

SAY = """
import os, socket, sys, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
first = os.environ["SUPERVISOR_TREE_GENERATION"] == "1"
print("WATCHDOG_USEC", os.environ.get("WATCHDOG_USEC"), flush=True)
def beat_on():
    while True:
        notify.send(b"WATCHDOG=1")
        time.sleep(0.2)
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write agents, programs of some lines of Python, and a configuration of these children."""

    def write(*children: dict[str, Any], **programs: str) -> Path:
        (tmp_path / "hanging.py").write_text(AGENTS)
        for name, text in programs.items():
            (tmp_path / f"{name}.py").write_text(SAY + dedent(text))
        config = tmp_path / "host.yaml"
        config.write_text(json.dumps({"version": 1, "tree": {"children": list(children)}}))
        return config

    return write


def program(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "command": ["python3", f"{name}.py"], **fields}


def agent(name: str, target: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "agent": f"hanging:{target}", **fields}


def events(host: RunningHost) -> list[dict[str, Any]]:
    result = host.tell("events", "--json", "--since", "0")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def wait_for(host: RunningHost, name: str, path: str, generation: int = 1) -> dict[str, Any]:
    """The event of that name about that life; it may take its time on a busy machine."""
    deadline = time.monotonic() + 40
    while True:
        for event in events(host):
            about = (event["event"], event["path"], event.get("generation"))
            if about == (name, path, generation):
                return event
        assert time.monotonic() < deadline, f"no {name} of {path}\n{host.output}"


def log_of(host: RunningHost, path: str) -> str:
    result = host.tell("logs", path, "-n", "1000")
    assert result.returncode == 0, result.stderr
    return result.stdout


def wait_for_line(host: RunningHost, path: str, text: str) -> str:
    deadline = time.monotonic() + 40
    while text not in (log := log_of(host, path)):
        assert time.monotonic() < deadline, f"{text!r} is not in\n{log}\n{host.output}"
    return log


def assert_well(host: RunningHost, *paths: str, for_s: float) -> None:
    """They have lived for so long, and it is still their first life."""
    for path in paths:
        while (row := host.row(path))["uptime_s"] < for_s:
            assert row["generation"] == 1, host.output
        assert row["generation"] == 1, host.output


def test_a_blocked_loop_is_found_shown_ended_with_all_its_scope_and_restarted(write, tmp_path):
    with RunningHost(write(agent("a", "Blocked", watchdog={"idle": "2s"})), tmp_path) as host:
        host.wait_until_answering()
        told = wait_for(host, "child_unresponsive", "/a")
        assert (told["budget"], told["label"]) == ("idle", None)
        assert told["silent_s"] >= 2

        reason = wait_for(host, "child_exited", "/a")["reason"]
        assert (reason["kind"], reason["watchdog"]) == ("abnormal", "idle")
        host.wait_generation("/a", 2)

        log = wait_for_line(host, "/a", "in hang_in_python")
        assert "(most recent call first)" in log
        (line,) = (line for line in log.splitlines() if "| escaped " in line)
        assert not psutil.pid_exists(int(line.split()[-1]))
        assert "/a" in host.tell("events").stdout
        assert "silent for too long (idle)" in host.tell("events").stdout
        assert host.stop() == 0, host.output


def test_code_that_keeps_the_interpreter_is_shown_all_the_same(write, tmp_path):
    child = agent("a", "Blocked", args={"where": "c"}, watchdog={"idle": "2s"})
    with RunningHost(write(child), tmp_path) as host:
        host.wait_until_answering()
        assert wait_for(host, "child_unresponsive", "/a")["budget"] == "idle"
        host.wait_generation("/a", 2)
        assert "in run" in wait_for_line(host, "/a", "in hang_in_c")
        assert host.stop() == 0, host.output


def test_an_agent_that_is_stopped_from_outside_is_found_and_restarted(write, tmp_path):
    children = [
        agent("healthy", "Healthy", watchdog={"idle": "4s"}),
        agent("robot", "patient", watchdog={"idle": "4s"}),
        agent("coroutine", "awaited", watchdog={"idle": "4s"}),
        agent("frozen", "Healthy", watchdog={"idle": "2s"}),
    ]
    with RunningHost(write(*children), tmp_path) as host:
        host.wait_ready("/frozen")
        os.kill(host.row("/frozen")["pid"], signal.SIGSTOP)
        assert wait_for(host, "child_unresponsive", "/frozen")["budget"] == "idle"
        host.wait_generation("/frozen", 2)
        wait_for_line(host, "/frozen", "(most recent call first)")
        assert_well(host, "/healthy", "/robot", "/coroutine", for_s=6)
        assert host.stop() == 0, host.output


def test_later_lives_are_watched_too_and_so_are_those_of_a_dead_spawner(write, tmp_path):
    child = agent("a", "Healthy", watchdog={"idle": "2s"}, warm=1)
    with RunningHost(write(child), tmp_path) as host:
        host.wait_ready("/a")
        for generation in (1, 2):
            os.kill(host.row("/a")["pid"], signal.SIGSTOP)
            wait_for(host, "child_unresponsive", "/a", generation)
            host.wait_generation("/a", generation + 1)
        (spawner,) = (
            process
            for process in psutil.Process(host.process.pid).children()
            if "spawner" in " ".join(process.cmdline())
        )
        spawner.kill()
        deadline = time.monotonic() + 20
        while sum(event["event"] == "spawner_started" for event in events(host)) < 2:
            assert time.monotonic() < deadline, host.output
        os.kill(host.row("/a")["pid"], signal.SIGSTOP)
        wait_for(host, "child_unresponsive", "/a", 3)
        host.wait_generation("/a", 4)
        assert log_of(host, "/a").count("Fatal Python error: Aborted") == 3
        assert host.stop() == 0, host.output


def test_a_robot_that_does_not_look_any_more_is_found(write, tmp_path):
    child = agent("a", "distracted", watchdog={"idle": "2s"})
    with RunningHost(write(child), tmp_path) as host:
        host.wait_until_answering()
        assert wait_for(host, "child_unresponsive", "/a")["budget"] == "idle"
        host.wait_generation("/a", 2)
        assert "in hang_in_python" in log_of(host, "/a")
        assert host.stop() == 0, host.output


def test_announced_work_has_a_budget_of_its_own(write, tmp_path):
    child = agent("a", "builder", watchdog={"idle": "2s", "busy": "5s"})
    with RunningHost(write(child), tmp_path) as host:
        host.wait_until_answering()
        told = wait_for(host, "child_unresponsive", "/a")
        assert (told["budget"], told["label"]) == ("busy", "deploy")
        assert "busy with deploy" in host.tell("events", "/a").stdout
        assert "built" in log_of(host, "/a")  # the work before it has lasted as long as it may
        reason = wait_for(host, "child_exited", "/a")["reason"]
        assert (reason["kind"], reason["watchdog"]) == ("abnormal", "busy")
        assert host.stop() == 0, host.output


def test_a_tool_that_hangs_is_found_although_the_loop_turns(write, tmp_path):
    child = agent("a", "Tool", watchdog={"idle": "2s", "busy": "4s"})
    with RunningHost(write(child), tmp_path) as host:
        host.wait_ready("/a")
        deadline = time.monotonic() + 20
        while host.ask("show", "/a")["said"] != "npm install":
            assert time.monotonic() < deadline, host.output
        told = wait_for(host, "child_unresponsive", "/a")
        assert (told["budget"], told["label"]) == ("busy", "npm install")
        host.wait_generation("/a", 2)
        assert host.ask("show", "/a")["said"] != "npm install"
        assert host.stop() == 0, host.output


def test_a_program_of_any_language_is_watched_by_the_plain_protocol(write, tmp_path):
    config = write(
        program("beating", watchdog={"idle": "4s"}),
        program("silent", watchdog={"idle": "2s"}),
        program("unwatched"),
        beating="beat_on()",
        silent="""
            for _ in range(5):
                notify.send(b"WATCHDOG=1")
                time.sleep(0.1)
            time.sleep(1000 if first else 0)
            beat_on()
        """,
        unwatched="time.sleep(1000)",
    )
    os.environ["WATCHDOG_USEC"] = "77"  # the host's own, which is no concern of its children
    try:
        host = RunningHost(config, tmp_path)
    finally:
        del os.environ["WATCHDOG_USEC"]
    with host:
        host.wait_until_answering()
        assert wait_for(host, "child_unresponsive", "/silent")["budget"] == "idle"
        host.wait_generation("/silent", 2)
        assert_well(host, "/beating", "/unwatched", for_s=6)
        wait_for_line(host, "/silent", "WATCHDOG_USEC 2000000")
        wait_for_line(host, "/unwatched", "WATCHDOG_USEC None")
        assert host.stop() == 0, host.output


def test_a_child_that_floods_the_host_with_notices_costs_no_other_its_life(write, tmp_path):
    """And one that hangs is found all the same."""
    config = write(
        agent("w1", "Healthy", watchdog={"idle": "1s"}),
        agent("w2", "Healthy", watchdog={"idle": "2s"}),
        agent("robot", "patient", watchdog={"idle": "2s"}),
        agent("hangs", "Blocked", watchdog={"idle": "2s"}),
        program("flood"),
        flood="""
            for _ in range(2):
                if os.fork() == 0:
                    break
            while True:
                notify.send(b"STATUS=x")
        """,
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_until_answering()
        assert wait_for(host, "child_unresponsive", "/hangs")["budget"] == "idle"
        host.wait_generation("/hangs", 2)
        assert_well(host, "/w1", "/w2", "/robot", for_s=6)
        hit = {each["path"] for each in events(host) if each["event"] == "child_unresponsive"}
        assert hit == {"/hangs"}
        assert host.stop() == 0, host.output


def test_a_program_may_change_its_budget_and_ask_for_its_own_end(write, tmp_path):
    config = write(
        program("changes", watchdog={"idle": "1h"}),
        program("asks", readiness="notify"),
        changes="""
            if first:
                notify.send(b"WATCHDOG_USEC=1000000")
                time.sleep(1000)
            beat_on()
        """,
        asks="""
            notify.send(b"READY=1")
            if first:
                notify.send(b"WATCHDOG=trigger")
            time.sleep(1000)
        """,
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_until_answering()
        told = wait_for(host, "child_unresponsive", "/changes")
        assert told["budget"] == "idle"
        assert 1 <= told["silent_s"] < 3000
        assert wait_for(host, "child_unresponsive", "/asks")["budget"] == "trigger"
        reason = wait_for(host, "child_exited", "/asks")["reason"]
        assert (reason["kind"], reason["watchdog"]) == ("abnormal", "trigger")
        for path in ("/changes", "/asks"):
            host.wait_generation(path, 2)
        assert host.stop() == 0, host.output


def test_a_hung_program_that_ends_cleanly_when_it_is_asked_is_restarted_all_the_same(
    write, tmp_path
):
    config = write(
        program("a", watchdog={"idle": "1s"}, restart="transient"),
        a="""
            import signal
            signal.signal(signal.SIGABRT, lambda *_: os._exit(0))
            time.sleep(1000) if first else beat_on()
        """,
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_until_answering()
        reason = wait_for(host, "child_exited", "/a")["reason"]
        assert (reason["kind"], reason["code"], reason["watchdog"]) == ("abnormal", 0, "idle")
        host.wait_generation("/a", 2)
        assert host.stop() == 0, host.output


def test_a_program_that_does_not_heed_the_signal_is_killed(write, tmp_path):
    config = write(
        program("a", watchdog={"idle": "1s"}),
        a="""
            import signal
            signal.signal(signal.SIGABRT, signal.SIG_IGN)
            time.sleep(1000) if first else beat_on()
        """,
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_until_answering()
        reason = wait_for(host, "child_exited", "/a")["reason"]
        assert (reason["signal"], reason["watchdog"]) == (signal.SIGKILL, "idle")
        host.wait_generation("/a", 2)
        assert host.stop() == 0, host.output


def test_children_are_not_judged_by_what_a_stopped_host_could_not_hear(write, tmp_path):
    child = agent("a", "Healthy", watchdog={"idle": "2s"})
    with RunningHost(write(child), tmp_path) as host:
        host.wait_ready("/a")
        host.process.send_signal(signal.SIGSTOP)
        # Longer than the budget and the tolerance for a timer that is late together.
        subprocess.run(["sleep", "5"], check=True)
        host.process.send_signal(signal.SIGCONT)
        assert_well(host, "/a", for_s=8)
        assert not [event for event in events(host) if event["event"] == "child_unresponsive"]
        assert host.stop() == 0, host.output
