"""A tree inside another program: real processes, started and stopped by `run`."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import supervisor_tree
from supervisor_tree import Agent, ChildSpec, SupervisorSpec
from supervisor_tree.errors import (
    ConfigError,
    NoHost,
    NoSuchChild,
    OperationFailed,
    TimedOut,
    UsageError,
)

SLEEPER = ("sleep", "1000")


def waits(ctx):
    """A robot that does nothing until it is asked to stop."""
    ctx.stopping.wait()


def tree_of(*children: ChildSpec, **flags: object) -> SupervisorSpec:
    return SupervisorSpec(children=children, **flags)  # type: ignore[arg-type]


def sleeper(id: str, **more: object) -> ChildSpec:
    return ChildSpec(id=id, command=SLEEPER, **more)  # type: ignore[arg-type]


def pids_of(tree: supervisor_tree.embed.RunningTree) -> dict[str, int]:
    return {row["path"]: row["pid"] for row in tree.status() if row["pid"] is not None}


def all_gone(pids: list[int]) -> bool:
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not psutil.wait_procs(processes, timeout=5)[1]


def test_a_tree_runs_and_leaves_nothing_behind() -> None:
    with supervisor_tree.run(tree_of(sleeper("a"), sleeper("b"))) as tree:
        pids = list(pids_of(tree).values())
        assert len(pids) == 2
        root = tree.pid
        scratch = tree.run_dir.parent
    assert all_gone([*pids, root])
    assert not scratch.exists()
    assert tree.exit_code == 0


def test_a_tree_ends_when_the_block_ends_in_an_exception() -> None:
    pids: list[int] = []

    def fails() -> None:
        with supervisor_tree.run(tree_of(sleeper("a"))) as tree:
            pids.extend(pids_of(tree).values())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert all_gone(pids)


def test_a_child_that_is_killed_comes_back_with_the_next_generation() -> None:
    with supervisor_tree.run(tree_of(sleeper("a"))) as tree:
        first = pids_of(tree)["/a"]
        events = tree.events(timeout=10)
        os.kill(first, signal.SIGKILL)
        wanted = ("child_exited", "child_ready")
        story = (event for event in events if event["path"] == "/a" and event["event"] in wanted)
        ready, exited, again = itertools.islice(story, 3)
        events.close()
        assert (ready["generation"], exited["generation"], again["generation"]) == (1, 1, 2)
        assert exited["reason"]["signal"] == signal.SIGKILL
        assert exited["pid"] == first
        assert exited["rusage"]["max_rss_bytes"] > 0
        assert pids_of(tree)["/a"] != first


def test_otps_verbs_have_otps_answers() -> None:
    with supervisor_tree.run(tree_of(sleeper("a"))) as tree:
        pid = tree.start_child("/", sleeper("b"))
        assert [child[0] for child in tree.which_children("/")] == ["b", "a"]
        assert tree.which_children("/")[0] == ("b", pid, "worker")
        with pytest.raises(OperationFailed, match="start_child of /b is refused: "):
            tree.start_child("/", sleeper("b"))
        with pytest.raises(OperationFailed, match="delete_child of /b is refused: running"):
            tree.delete_child("/", "b")
        tree.terminate_child("/", "b")
        assert tree.count_children("/") == {"specs": 2, "active": 1, "supervisors": 0, "workers": 2}
        with pytest.raises(OperationFailed, match="already_present"):
            tree.start_child("/", sleeper("b"))
        assert tree.restart_child("/", "b") not in (None, pid)
        assert tree.get_childspec("/", "b").command == SLEEPER
        tree.terminate_child("/", "b")
        tree.delete_child("/", "b")
        with pytest.raises(OperationFailed, match="not_found"):
            tree.restart_child("/", "b")
        with pytest.raises(OperationFailed, match="which_children of /nowhere is refused: noproc"):
            tree.which_children("/nowhere")


def test_a_simple_one_for_one_supervisor_takes_instances_by_name() -> None:
    pool = ChildSpec(
        id="pool",
        supervisor=SupervisorSpec(strategy="simple_one_for_one", child=sleeper("worker")),  # type: ignore[arg-type]
    )
    with supervisor_tree.run(tree_of(pool)) as tree:
        for name in ("one", "two"):
            tree.start_child("/pool", name=name)
        assert sorted(pids_of(tree)) == ["/pool/one", "/pool/two"]


def test_a_closure_can_be_an_agent(tmp_path: Path) -> None:
    note = tmp_path / "note"

    def writes(ctx):
        note.write_text(ctx.args["text"])
        ctx.stopping.wait()

    child = ChildSpec(id="a", agent=writes, type="robot", args={"text": "from a closure"})
    with supervisor_tree.run(tree_of(child)) as tree:
        tree.start_child("/", ChildSpec(id="b", agent=lambda ctx: None, restart="temporary"))  # type: ignore[arg-type]
        tree.wait_for("/a")
    assert note.read_text() == "from a closure"


def test_a_failing_init_makes_run_fail_and_says_why() -> None:
    class Fails(Agent):
        def init(self, ctx):
            raise ValueError("no key")

    child = ChildSpec(id="a", agent=Fails)
    with pytest.raises(OperationFailed, match="no key"):
        supervisor_tree.run(tree_of(sleeper("b"), child))


def test_stop_keeps_a_child_down_and_start_brings_it_back() -> None:
    with supervisor_tree.run(tree_of(sleeper("a"))) as tree:
        tree.stop("/a")
        (row,) = tree.status("/a")
        assert (row["state"], row["wanted"]) == ("stopped", "down")
        tree.start("/a")
        tree.wait_for("/a", "ready")
        with pytest.raises(TimedOut):
            tree.wait_for("/a", "stopped", timeout=0.05)
        with pytest.raises(NoSuchChild):
            tree.stop("/b")


def test_threads_do_not_wait_for_each_other() -> None:
    with supervisor_tree.run(tree_of(sleeper("a"))) as tree:
        waiter = threading.Thread(target=tree.wait_for, args=("/a", "stopped"))
        waiter.start()
        tree.stop("/a")
        waiter.join(10)
        assert not waiter.is_alive()


def test_a_tree_can_be_started_from_a_running_event_loop() -> None:
    async def main() -> int:
        tree = await asyncio.to_thread(supervisor_tree.run, tree_of(sleeper("a")))
        with tree:
            return len(pids_of(tree))

    assert asyncio.run(main()) == 1


def test_a_mapping_in_the_words_of_yaml_is_a_tree() -> None:
    data = {"version": 1, "tree": {"children": [{"id": "a", "command": list(SLEEPER)}]}}
    with supervisor_tree.run(data) as tree:
        assert list(pids_of(tree)) == ["/a"]
    with pytest.raises(ConfigError, match="tree"):
        supervisor_tree.run({"version": 1, "tree": {"childern": []}})


def test_events_end_with_the_tree() -> None:
    tree = supervisor_tree.run(tree_of(sleeper("a")))
    events = tree.events(timeout=20)
    first = next(events)
    tree.close()
    numbers = [first["seq"], *(event["seq"] for event in events)]
    assert numbers == list(range(1, len(numbers) + 1))
    with pytest.raises(NoHost):
        tree.status()


def test_a_tree_that_gives_up_says_so_by_its_exit_code() -> None:
    crashing = ChildSpec(id="a", command=("sh", "-c", "exit 3"))
    with supervisor_tree.run(tree_of(crashing, intensity=2), wait_ready=False) as tree:
        assert tree.wait(20) == 70


def test_a_significant_child_ends_the_tree_with_its_own_code() -> None:
    child = ChildSpec(id="a", command=("sh", "-c", "exit 3"), restart="temporary", significant=True)  # type: ignore[arg-type]
    spec = tree_of(child, sleeper("b"), auto_shutdown="any_significant")
    with supervisor_tree.run(spec, wait_ready=False) as tree:
        assert tree.wait(20) == 3


@pytest.mark.parametrize("flags", ["", ", wait_ready=False"])
def test_a_tree_ends_when_the_embedding_program_is_killed(short_path: Path, flags: str) -> None:
    program = (
        "import supervisor_tree as st;"
        "spec = st.SupervisorSpec(children=(st.ChildSpec(id='a', command=('sleep', '1000')),));"
        f"tree = st.run(spec{flags}); tree.wait_for('/'); rows = tree.status();"
        "print(tree.pid, *[row['pid'] for row in rows if row['pid']], flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(short_path)},
    ) as embedding:
        assert embedding.stdout is not None
        pids = [int(word) for word in embedding.stdout.readline().split()]
        assert len(pids) == 2
        embedding.kill()
    assert all_gone(pids)
    assert list(short_path.iterdir()) == []


def test_a_wrong_specification_is_refused_with_all_its_problems_before_anything_is_started() -> (
    None
):
    wrong = tree_of(
        sleeper("a", shutdown=float("nan")),
        ChildSpec(id="b", command="sleep 60"),  # type: ignore[arg-type]
        sleeper("c", needs=(supervisor_tree.Need(child="nobody"),)),
    )
    with pytest.raises(ConfigError) as caught:
        supervisor_tree.run(wrong)
    assert [problem.key for problem in caught.value.problems] == ["/a shutdown", "/b command"]
    with pytest.raises(ConfigError, match=r"/c needs\[0\]: must name .* not /nobody"):
        supervisor_tree.run(tree_of(wrong.children[2]))


def test_a_child_that_is_refused_at_run_time_leaves_the_tree_as_it_was() -> None:
    with supervisor_tree.run(tree_of(sleeper("a"))) as tree:
        before = pids_of(tree)
        for spec, told in (
            (sleeper("a/b"), "id: must begin"),
            (sleeper("b", env={1: "x"}), r"/b env\[1\]: must be the name"),
            ({"command": ["sleep", "60"]}, r"must be a ChildSpec, not a mapping; write ChildSpec"),
            (None, "spec is missing"),
        ):
            with pytest.raises(UsageError, match=told):
                tree.start_child("/", spec)  # type: ignore[arg-type]
        for id in ("/a", before["/a"], None):
            with pytest.raises(UsageError, match="id must"):
                tree.terminate_child("/", id)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="args: must be plain data"):
            tree.start_child("/", name="x", args={"x": object()})
        assert pids_of(tree) == before


def test_a_timeout_that_is_no_number_of_seconds_is_refused_and_changes_nothing() -> None:
    spec = tree_of(sleeper("a"))
    wrong: Any
    for wrong in (float("nan"), "5", True):
        with pytest.raises(UsageError, match="timeout must be a number of seconds"):
            supervisor_tree.run(spec, start_timeout=wrong)
    with supervisor_tree.run(spec) as tree:
        before = pids_of(tree)
        for wrong in (float("nan"), "5", True):
            for call in (
                lambda timeout: tree.stop("/a", timeout=timeout),
                lambda timeout: tree.terminate_child("/", "a", timeout=timeout),
                lambda timeout: tree.wait_for("/a", "stopped", timeout=timeout),
                lambda timeout: next(tree.events(timeout=timeout)),
                tree.wait,
                tree.close,
            ):
                with pytest.raises(UsageError, match="timeout must be a number of seconds"):
                    call(wrong)
        assert pids_of(tree) == before


def test_a_tree_is_closed_while_a_process_that_was_forked_from_the_program_lives_on() -> None:
    program = """
import os, signal, sys
import supervisor_tree as st

tree = st.run(st.SupervisorSpec(children=(st.ChildSpec(id="a", command=("sleep", "1000")),)))
ours, its = os.pipe()
pid = os.fork()
if pid == 0:
    tree.close()  # says nothing to the tree of another process
    os.write(its, b"x")
    signal.pause()
os.read(ours, 1)
print(len(tree.status()), flush=True)
tree.close()
print(tree.exit_code, tree.run_dir.parent.exists(), os.waitpid(pid, os.WNOHANG), flush=True)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.splitlines() == ["2", "0 False (0, 0)"], done.stderr
