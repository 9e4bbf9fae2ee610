"""What a kernel with all controllers does; run by `test_cgroups.py` in a guest, as root.

By hand, on a machine with cgroup v2 and without a service manager: pytest with this file's name.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hosting import RunningHost
from tests.integration.spawning import gone_within

TOP = Path("/sys/fs/cgroup")


def host_of(directory: Path, *children: str) -> Path:
    config = directory / "host.yaml"
    lines = ["version: 1", "host: {name: guest}", "tree:", "  intensity: 100", "  children:"]
    config.write_text("\n".join([*lines, *(f"    - {child}" for child in children)]) + "\n")
    return config


def leaf_of(name: str) -> Path:
    (leaf,) = TOP.glob(f"supervisor-tree-*/{name}")
    return leaf


def until(what: str, true: Any, deadline_s: float = 60.0) -> None:
    end, pause = time.monotonic() + deadline_s, select.poll()
    while not true():
        assert time.monotonic() < end, what
        pause.poll(50)  # the guest has one processor


def ready(host: RunningHost, path: str) -> None:
    """Asking alone would keep the processor from the host."""
    until(f"a control socket; so far: {host.output}", (host.run_dir / "control.sock").exists, 120.0)
    host.wait_until_answering(60.0)
    host.wait_ready(path, 90.0)


def test_each_limit_is_in_force_and_the_leaf_is_gone_with_its_life(tmp_path: Path) -> None:
    limits = "limits: {memory_max: 64 MB, pids_max: 9, cpu_max: 0.5}"
    config = host_of(tmp_path, f'{{id: calm, command: [sleep, "1000"], {limits}}}')
    with RunningHost(config, tmp_path) as host:
        ready(host, "/calm")
        leaf, pid = leaf_of("calm#1"), host.row("/calm")["pid"]
        assert (leaf / "cgroup.procs").read_text().split() == [str(pid)]
        assert (leaf / "pids.max").read_text().strip() == "9"
        assert (leaf / "cpu.max").read_text().strip() == "50000 100000"
        assert 63_900_000 < int((leaf / "memory.max").read_text()) <= 64_000_000
        assert (leaf / "memory.oom.group").read_text().strip() == "1"
        findings = {one["check"]: one["message"] for one in host.ask("doctor")}
        assert findings["cgroup"] == f"{leaf.parent} keeps limits: cpu, memory, pids"
        assert "/_/meter" not in [row["path"] for row in host.ask("status", "--all")]
        host.tell("restart", "/calm")
        host.wait_generation("/calm", 2, 60.0)
        assert not leaf.exists()
        assert leaf_of("calm#2").exists()
    assert not list(TOP.glob("supervisor-tree-*"))


def test_the_kernels_kill_for_want_of_memory_is_told_apart_from_any_other(tmp_path: Path) -> None:
    code = "import time; held = bytearray(90_000_000); time.sleep(1000)"
    fat = (
        f'{{id: fat, command: [{sys.executable}, -S, -c, "{code}"], limits: {{memory_max: 30 MB}}}}'
    )
    plain = '{id: plain, command: [sleep, "1000"], limits: {memory_max: 30 MB}}'
    with RunningHost(host_of(tmp_path, fat, plain), tmp_path) as host:
        ready(host, "/plain")
        host.wait_generation("/fat", 2, 90.0)
        os.kill(host.row("/plain")["pid"], signal.SIGKILL)
        host.wait_generation("/plain", 2, 60.0)
        oom = {row["path"]: row["last_exit"] for row in host.ask("status") if row["last_exit"]}
        assert oom["/fat"]["oom"] is True
        assert (oom["/plain"]["oom"], oom["/plain"]["signal"]) == (False, signal.SIGKILL)


def test_more_processes_than_allowed_cannot_be_forked(tmp_path: Path) -> None:
    words = '[sh, -c, "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; wait"]'
    config = host_of(tmp_path, f"{{id: many, command: {words}, limits: {{pids_max: 5}}}}")
    with RunningHost(config, tmp_path) as host:
        until("it answers", (host.run_dir / "control.sock").exists, 120.0)

        def refused() -> bool:
            leaves = list(TOP.glob("supervisor-tree-*/many#*"))
            return any("max 0" not in (leaf / "pids.events").read_text() for leaf in leaves)

        until("a fork is refused", refused)


def test_what_has_left_session_parent_and_mark_ends_with_its_cgroup(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); "
        f"open('{tmp_path}/pid', 'w').write(str(os.getpid()) + chr(10)); "
        "os.execve('/bin/sleep', ['sleep', '1000'], {})"
    )
    words = f'[sh, -c, "{sys.executable} -S -c \\"$CODE\\"; exec sleep 1000"]'
    child = f'{{id: a, command: {words}, env: {{CODE: "{code}"}}, limits: {{pids_max: 50}}}}'
    with RunningHost(host_of(tmp_path, child), tmp_path) as host:
        ready(host, "/a")
        until("it has escaped", (tmp_path / "pid").exists)
        escaped = int((tmp_path / "pid").read_text())
        host.tell("kill", "/a")
        assert gone_within(20.0, [escaped])


def test_cgroups_of_a_host_that_was_killed_are_removed_by_the_next(tmp_path: Path) -> None:
    config = host_of(tmp_path, '{id: a, command: [sleep, "1000"], limits: {pids_max: 5}}')
    with RunningHost(config, tmp_path) as host:
        ready(host, "/a")
        leaf, facts = leaf_of("a#1"), host.ask("health")
        os.kill(host.process.pid, signal.SIGSTOP)  # nobody can tidy up
        os.kill(facts["spawner_pid"], signal.SIGKILL)
        host.process.kill()
        host.process.wait(20)
    (leaf.parent / "b#7").mkdir()
    with RunningHost(config, tmp_path) as host:
        ready(host, "/a")
        assert "cgroups that a former life of this host had left are removed" in host.output
        assert not (leaf.parent / "b#7").exists()


@pytest.mark.parametrize("alone", [True, False])
def test_a_host_that_was_given_a_cgroup_needs_it_for_itself(tmp_path: Path, alone: bool) -> None:
    (TOP / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    given = TOP / f"given-{alone}"
    given.mkdir()
    start = tmp_path / "start"
    wait = "exec" if alone else ""
    start.write_text(f'#!/bin/sh\necho $$ > {given}/cgroup.procs\n{wait} "$@"\n')
    start.chmod(0o755)
    config = host_of(tmp_path, '{id: a, command: [sleep, "1000"], limits: {pids_max: 5}}')
    with RunningHost(config, tmp_path, through=[str(start)]) as host:
        ready(host, "/a")
        if alone:
            leaf = given / leaf_of_given(given)
            assert (leaf / "a#1" / "pids.max").read_text().strip() == "5"
            assert str(host.ask("health")["pid"]) in (leaf / "main" / "cgroup.procs").read_text()
            assert not (given / "cgroup.procs").read_text()
        else:
            assert "a host needs one of its own" in host.output
            assert "pids_max CANNOT BE KEPT" in host.output
            host.tell("shutdown")
            host.process.wait(30)


def leaf_of_given(given: Path) -> str:
    (home,) = given.glob("supervisor-tree-*")
    return home.name
