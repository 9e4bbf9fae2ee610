"""A life is over when nothing of its scope is left, whatever it has left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_tree.runtime.launcher import Exited, Leaked
from supervisor_tree.spawner import procfs
from tests.integration.spawning import Spawning, alive, is_spare, read_line, wait_for

# Forks once: the child goes on with `body`, the leader with `after`.  The child first says
# who it is and waits to be orphaned only where the body says so.
LEAVE = """
import os, signal, sys, time
if os.fork() == 0:
    {body}
    os.write(1, b"%d\\n" % os.getpid())
    signal.pause()
    os._exit(0)
{after}
"""
ESCAPE = "os.setsid()\n    os.fork() and os._exit(0)"  # a daemon's double fork
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
STAY = "signal.pause()"


@pytest.fixture
def spawning() -> Iterator[Spawning]:
    spawning = Spawning()
    yield spawning
    spawning.close()


def leaver(body: str, after: str = STAY) -> str:
    return LEAVE.format(body=body, after=after)


def test_what_a_dead_leader_leaves_is_ended_before_the_end_is_told(spawning: Spawning) -> None:
    spawning.python("/a", leaver("pass"))
    spawned = spawning.spawned("/a")
    left = int(read_line(spawned.stdout))
    assert alive(left)
    os.kill(spawned.pid, signal.SIGKILL)
    exited = spawning.exited("/a")
    assert (exited.signal, exited.asked) == (signal.SIGKILL, False)
    assert not alive(left)
    assert not any(isinstance(notice, Leaked) for notice in spawning.probe.seen)


def test_what_ignores_sigterm_is_killed_after_the_childs_shutdown_time(
    spawning: Spawning,
) -> None:
    spawning.python("/a", leaver(DEAF), shutdown=0.3)
    spawned = spawning.spawned("/a")
    left = int(read_line(spawned.stdout))
    os.kill(spawned.pid, signal.SIGTERM)
    exited = spawning.exited("/a")
    assert exited.signal == signal.SIGTERM
    assert not alive(left)
    assert exited.rusage.wall_s >= 0.3


def test_brutal_kill_gives_leftovers_no_time(spawning: Spawning, tmp_path: Path) -> None:
    polite = f"signal.signal(signal.SIGTERM, lambda *_: open({str(tmp_path / 'told')!r}, 'w'))"
    spawning.python("/a", leaver(polite), shutdown="brutal_kill")
    spawned = spawning.spawned("/a")
    left = int(read_line(spawned.stdout))
    os.kill(spawned.pid, signal.SIGKILL)
    spawning.exited("/a")
    assert not alive(left)
    assert not (tmp_path / "told").exists()


def test_infinity_waits_for_leftovers_until_a_kill_is_asked_for(spawning: Spawning) -> None:
    spawning.python("/a", leaver(DEAF), shutdown="infinity")
    spawned = spawning.spawned("/a")
    left = int(read_line(spawned.stdout))
    spawning.launcher.stop("/a", 1)
    spawning.launch("/b", "true")  # a whole life goes by
    spawning.spawned("/b")
    spawning.exited("/b")
    assert alive(left)
    spawning.launcher.kill("/a", 1)
    exited = spawning.exited("/a")
    assert (exited.signal, exited.asked) == (signal.SIGTERM, True)
    assert not alive(left)


def test_a_double_forked_daemon_is_found_ended_and_reported(spawning: Spawning) -> None:
    spawning.python("/a", leaver(ESCAPE))
    spawned = spawning.spawned("/a")
    daemon = int(read_line(spawned.stdout))
    assert os.getsid(daemon) != spawned.pid
    os.kill(spawned.pid, signal.SIGKILL)
    leaked = spawning.probe.wait(Leaked, "/a")
    assert leaked.ended
    assert [pid for pid, _ in leaked.processes] == [daemon]
    assert sys.executable in leaked.processes[0][1]
    spawning.exited("/a")
    assert not alive(daemon)
    kinds = [type(notice) for notice in spawning.probe.seen]
    assert kinds.index(Leaked) < kinds.index(Exited)


def test_an_agents_forked_daemon_is_known_by_the_mark_it_never_exec_ed_away() -> None:
    agents = str(Path(__file__).parent / "spawned")
    spawning = Spawning(sys_path=[agents])
    spawning.launch("/a", agent="agents_under_test:leave_a_daemon")
    spawned = spawning.spawned("/a")
    daemon = int(read_line(spawned.stdout))
    assert procfs.environ_mark(daemon) == f"{spawning.instance}:/a:1"
    os.kill(spawned.pid, signal.SIGKILL)
    leaked = spawning.probe.wait(Leaked, "/a")
    assert [pid for pid, _ in leaked.processes] == [daemon]
    spawning.exited("/a")
    assert not alive(daemon)
    spawning.close()


def test_a_kill_ends_leader_children_and_daemons_at_once(spawning: Spawning) -> None:
    both = f"{DEAF}\n    os.fork() or (os.setsid(), os.fork() and os._exit(0))"
    spawning.python("/a", leaver(both, after=f"{DEAF}\n{STAY}"), shutdown="infinity")
    spawned = spawning.spawned("/a")
    left = [int(read_line(spawned.stdout)) for _ in range(2)]
    spawning.launcher.kill("/a", 1)
    exited = spawning.exited("/a")
    assert (exited.signal, exited.asked) == (signal.SIGKILL, True)
    assert not any(alive(pid) for pid in (spawned.pid, *left))


def test_a_scope_that_keeps_forking_cannot_outrun_a_kill(spawning: Spawning) -> None:
    """A chain: each process forks its successor, in a session of its own, and ends."""
    runner = (
        "import os, signal\n"
        "if os.fork() == 0:\n"
        "    print('off', flush=True)\n"
        "    for _ in range(20_000):\n"
        "        os.setsid()\n"
        "        if os.fork(): os._exit(0)\n"
        "    os._exit(0)\n"
        "signal.pause()\n"
    )
    spawning.python("/a", runner, shutdown="brutal_kill")
    spawned = spawning.spawned("/a")
    assert read_line(spawned.stdout) == "off"
    spawning.launcher.kill("/a", 1)
    assert spawning.exited("/a").rusage.wall_s < 4.0
    mark = f"{spawning.instance}:/a:1"
    assert [pid for pid in procfs.everyone() if procfs.environ_mark(pid) == mark] == []


def test_a_stopped_leftover_is_woken_to_be_ended(spawning: Spawning) -> None:
    spawning.python("/a", leaver("pass"))
    spawned = spawning.spawned("/a")
    left = int(read_line(spawned.stdout))
    os.kill(left, signal.SIGSTOP)
    os.kill(spawned.pid, signal.SIGTERM)
    assert spawning.exited("/a").rusage.wall_s < 4.0
    assert not alive(left)


def test_one_childs_daemons_are_not_taken_for_anothers(spawning: Spawning) -> None:
    daemons = {}
    leaders = {}
    for path in ("/a", "/b"):
        spawning.python(path, leaver(ESCAPE))
        spawned = spawning.spawned(path)
        leaders[path] = spawned.pid
        daemons[path] = int(read_line(spawned.stdout))
    spawning.launcher.kill("/a", 1)
    spawning.exited("/a")
    assert not alive(daemons["/a"])
    assert alive(daemons["/b"])
    assert alive(leaders["/b"])
    spawning.launcher.kill("/b", 1)
    spawning.exited("/b")
    assert not alive(daemons["/b"])


def test_orphans_that_end_while_their_leader_lives_leave_no_zombies(
    spawning: Spawning, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    code = (
        "import os, signal, sys\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0:\n"
        "        os._exit(0) if os.fork() else os._exit(0)\n"
        "    os.wait()\n"
        f"print('done', file=open({str(done)!r}, 'w'), flush=True)\n"
        "signal.pause()\n"
    )
    spawning.python("/a", code)
    spawned = spawning.spawned("/a")
    wait_for(done, "twenty orphans")
    pid = spawning.launcher.pid

    def has_only_the_leader() -> bool:
        children = procfs.children_of(pid)
        return [one for one in children if not is_spare(spawning.instance, one)] == [spawned.pid]

    spawning.probe.until(has_only_the_leader, "the spawner has only the leader")
    spawning.launcher.kill("/a", 1)
    spawning.exited("/a")


def test_a_daemon_without_mark_or_session_is_reported_and_ends_with_the_host() -> None:
    spawning = Spawning()
    code = (
        "import os, sys\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.execve('/bin/sh', ['sh', '-c', 'echo $$; exec sleep 1000'], {})\n"
        "os.wait()\n"
        "import signal; signal.pause()\n"
    )
    spawning.python("/a", code)
    spawned = spawning.spawned("/a")
    stray = int(read_line(spawned.stdout))
    spawning.probe.until(lambda: procfs.environ_mark(stray) is None, "the mark is gone")
    spawning.launcher.kill("/a", 1)
    leaked = spawning.probe.wait(Leaked, "/")
    assert ([pid for pid, _ in leaked.processes], leaked.ended) == ([stray], False)
    spawning.exited("/a")
    spawning.close()
    assert not alive(stray)
