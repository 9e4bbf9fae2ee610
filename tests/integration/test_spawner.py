"""What a child finds when it begins, and what the root is told of it."""

from __future__ import annotations

import os
import pwd
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.core.specs import Limits
from supervisor_tree.spawner import procfs
from tests.integration.spawning import Spawning, read_all, read_line, spares

AGENTS = str(Path(__file__).parent / "spawned")


@pytest.fixture(scope="module")
def shared() -> Iterator[Spawning]:
    spawning = Spawning(sys_path=[AGENTS], modules=["agents_under_test"])
    yield spawning
    spawning.close()


@pytest.fixture(autouse=True)
def another_path(request: pytest.FixtureRequest) -> str:
    return "/" + request.node.name.partition("[")[0][-40:]


# --- descriptors, signals, session ----------------------------------------------------------


def test_a_program_sees_its_three_descriptors_and_no_other(
    shared: Spawning, another_path: str
) -> None:
    seen = shared.run(another_path, "ls", "-l", "/proc/self/fd")
    names = [line.split()[8] for line in seen.splitlines()[1:]]
    assert names == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    assert "0 -> /dev/null" in seen


def test_an_agent_sees_three_descriptors_and_the_lease(shared: Spawning, another_path: str) -> None:
    shared.launch(another_path, agent="agents_under_test:tell_descriptors")
    assert read_line(shared.spawned(another_path).stdout) == "0 1 2 3 lease=pipe"
    shared.exited(another_path)


def test_a_program_begins_with_clean_signals(shared: Spawning, another_path: str) -> None:
    status = shared.run(another_path, "cat", "/proc/self/status")
    lines = [line for line in status.splitlines() if line.startswith("Sig")]
    masks = dict(line.split(":\t") for line in lines)
    assert {name: int(masks[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")} == {
        "SigBlk": 0,
        "SigIgn": 0,
        "SigCgt": 0,
    }


def test_a_child_leads_a_session_of_its_own(shared: Spawning, another_path: str) -> None:
    shared.launch(another_path, "sleep", "1000")
    pid = shared.spawned(another_path).pid
    assert os.getsid(pid) == os.getpgid(pid) == pid
    shared.launcher.kill(another_path, 1)
    shared.exited(another_path)


def test_an_agent_has_a_title_and_the_mark_of_its_scope(
    shared: Spawning, another_path: str
) -> None:
    shared.launch(another_path, agent="agents_under_test:wait", generation=7)
    spawned = shared.spawned(another_path)
    assert read_line(spawned.stdout) == "waiting"
    assert procfs.command_line(spawned.pid) == f"supervisor-tree: {another_path} #7"
    assert procfs.environ_mark(spawned.pid) == f"{shared.instance}:{another_path}:7"
    stat = procfs.stat(spawned.pid)
    assert stat is not None
    assert stat.start_ticks == spawned.start_ticks
    shared.launcher.stop(another_path, 7)
    shared.exited(another_path)


def test_the_spawner_has_its_title_and_bears_no_mark(shared: Spawning) -> None:
    shared.run("/title", "true")
    assert procfs.command_line(shared.launcher.pid) == "supervisor-tree: spawner"
    mark = procfs.environ_mark(shared.launcher.pid)
    assert mark is None or not mark.startswith(shared.instance)


def test_output_is_told_apart_and_ends_with_the_child(shared: Spawning, another_path: str) -> None:
    shared.launch(another_path, "sh", "-c", "echo out; echo err >&2")
    spawned = shared.spawned(another_path)
    assert (read_all(spawned.stdout), read_all(spawned.stderr)) == ("out\n", "err\n")
    shared.exited(another_path)


# --- environment ----------------------------------------------------------------------------


def test_the_hosts_own_keys_can_be_neither_inherited_nor_overridden(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/of/the/host")
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("FROM_HOST", "host")
    monkeypatch.setenv("IN_ALL", "host")
    file = tmp_path / "env"
    file.write_text("FROM_FILE=file\nIN_ALL=file\nSUPERVISOR_TREE_PATH=/forged\n")
    spawning = Spawning()
    seen = spawning.run(
        "/env",
        "env",
        env_file=str(file),
        env={"FROM_SPEC": "spec", "IN_ALL": "spec", "WATCHDOG_USEC": "1", "LISTEN_PID": "1"},
        owned={"SUPERVISOR_TREE_PATH": "/env"},
    )
    environment = dict(line.split("=", 1) for line in seen.splitlines() if "=" in line)
    assert environment["FROM_HOST"] == "host"
    assert environment["FROM_FILE"] == "file"
    assert environment["FROM_SPEC"] == environment["IN_ALL"] == "spec"
    assert environment["SUPERVISOR_TREE_PATH"] == "/env"
    assert environment["SUPERVISOR_TREE_SCOPE"] == f"{spawning.instance}:/env:1"
    owned = {"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC"}
    assert owned.isdisjoint(environment)
    assert "SUPERVISOR_TREE_PADDING" not in environment
    spawning.close()


def test_an_agent_finds_the_environment_in_os_environ(shared: Spawning, another_path: str) -> None:
    shared.launch(
        another_path,
        agent="agents_under_test:tell_environment",
        env={"TOLD": "yes"},
        owned={"SUPERVISOR_TREE_PATH": another_path},
    )
    assert read_line(shared.spawned(another_path).stdout) == f"yes {another_path} file:no"
    shared.exited(another_path)


# --- user, directory, limits ----------------------------------------------------------------


def test_directory_umask_and_limits_are_as_asked(
    shared: Spawning, another_path: str, tmp_path: Path
) -> None:
    code = "pwd; umask; ulimit -n; ulimit -c; nice; cat /proc/self/oom_score_adj"
    limits = Limits(nofile=77, core=0, nice=3, oom_score_adj=123)
    seen = shared.run(another_path, "sh", "-c", code, cwd=str(tmp_path), umask=0o027, limits=limits)
    assert seen.split() == [str(tmp_path), "0027", "77", "0", "3", "123"]


def test_a_child_has_the_descriptor_limit_of_the_host(shared: Spawning, another_path: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = shared.run(another_path, "sh", "-c", "ulimit -Sn; ulimit -Hn")
    assert seen.split() == [str(soft), str(hard)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_child_becomes_its_user_with_the_groups_of_that_user(
    shared: Spawning, another_path: str
) -> None:
    account = pwd.getpwnam("nobody")
    seen = shared.run(
        another_path, "sh", "-c", "id -u; id -g; id -G; echo $USER $HOME", user="nobody"
    )
    gid = str(account.pw_gid)
    assert seen.split() == [str(account.pw_uid), gid, gid, "nobody", account.pw_dir]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_agent_of_another_user_still_notices_the_end_of_its_host(
    shared: Spawning, another_path: str
) -> None:
    shared.launch(another_path, agent="agents_under_test:tell_user", user="nobody")
    spawned = shared.spawned(another_path)
    assert read_line(spawned.stdout) == f"{pwd.getpwnam('nobody').pw_uid} leased"
    shared.exited(another_path)


# --- what cannot be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "words", "spec"),
    [
        ("user", "there is no user 'no-such-user'", {"user": "no-such-user"}),
        ("user", "there is no group 'no-such-group'", {"group": "no-such-group"}),
        ("cwd", "cannot enter directory '/no/such/directory'", {"cwd": "/no/such/directory"}),
        ("environment", "cannot read env_file '/no/such/file'", {"env_file": "/no/such/file"}),
        ("limits", "cannot apply limits", {"limits": Limits(nofile=1 << 40)}),
    ],
)
@pytest.mark.parametrize("kind", ["program", "agent"])
def test_a_child_that_cannot_be_set_up_is_told_with_its_stage(
    shared: Spawning, kind: str, stage: str, words: str, spec: dict[str, Any]
) -> None:
    path = f"/bad-{kind}-{words}"
    if kind == "agent":
        shared.launch(path, agent="agents_under_test:wait", **spec)
    else:
        shared.launch(path, "true", **spec)
    failed = shared.failed(path)
    assert failed.stage == stage
    assert words in failed.message


def test_an_exec_that_fails_says_why(shared: Spawning, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program\n")
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "data").write_bytes(b"\0\1\2\3")
    (tmp_path / "data").chmod(0o755)
    for name, words in {
        "no-such-program": "'no-such-program': not found on PATH",
        "/no/such/program": "there is no such file",
        f"{tmp_path}/plain": "permission denied",
        f"{tmp_path}": "it is a directory",
        f"{tmp_path}/script": "the interpreter that its first line names is not there",
        f"{tmp_path}/data": "neither a binary for this machine nor a script",
    }.items():
        shared.launch(f"/exec{name}", name)
        failed = shared.failed(f"/exec{name}")
        assert (failed.stage, words in failed.message) == ("exec", True), failed


def test_an_exec_fails_as_well_while_those_that_were_launched_before_it_end(
    shared: Spawning,
) -> None:
    """Their set-up reported by pipes whose numbers the new one's pipe may have got."""
    for turn in range(10):
        paths = [f"/before{number}" for number in range(6)]
        for path in paths:
            shared.launch(path, "sleep", "1000", generation=turn + 1)
            shared.spawned(path)
        for path in paths:
            shared.launcher.signal(path, turn + 1, signal.SIGKILL)
        shared.launch("/beside", "/no/such/program", generation=turn + 1)
        assert shared.failed("/beside").stage == "exec"
        for path in paths:
            shared.exited(path)


def test_running_out_of_descriptors_fails_the_launch_and_nothing_else() -> None:
    spawning = Spawning()
    spawning.launch("/first", "sleep", "1000")
    spawning.spawned("/first")
    spares(spawning, "/", 1)  # after which there is nothing left to close or to fork
    pid = spawning.launcher.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    in_use = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 2, hard))
    spawning.launch("/second", "sleep", "1000")
    failed = spawning.failed("/second")
    assert failed.stage == "fork"
    assert "Too many open files" in failed.message
    assert len(os.listdir(f"/proc/{pid}/fd")) == in_use
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    spawning.launch("/third", "true")
    spawning.spawned("/third")
    spawning.exited("/third")
    spawning.close()


def test_arguments_that_cannot_be_sent_fail_the_launch(shared: Spawning) -> None:
    shared.launch("/unsendable", agent="agents_under_test:wait", extra=object())
    assert "cannot be sent" in shared.failed("/unsendable").message


def test_a_specification_that_makes_no_sense_fails_the_launch(shared: Spawning) -> None:
    shared.launch("/senseless", "true", stop_signal="SIGNONSENSE")
    assert "'SIGNONSENSE' is no signal" in shared.failed("/senseless").message


# --- the end --------------------------------------------------------------------------------


def test_an_end_comes_with_what_the_life_has_used(shared: Spawning, another_path: str) -> None:
    burn = "import time\nblock = bytearray(50_000_000)\nwhile time.process_time() < 0.3: pass\n"
    shared.python(another_path, burn)
    shared.spawned(another_path)
    used = shared.exited(another_path).rusage
    assert 0.3 <= used.cpu_s < 5.0
    assert used.wall_s >= 0.28
    assert 50_000_000 <= used.max_rss_bytes < 500_000_000


@pytest.mark.parametrize(
    ("name", "code", "number"),
    [
        ("finish", 0, None),
        ("fail", 1, None),
        ("leave", 5, None),
        ("die", None, signal.SIGSEGV),
    ],
)
def test_an_agents_end_is_told_by_its_status(
    shared: Spawning, name: str, code: int | None, number: int | None
) -> None:
    shared.launch(f"/{name}", agent=f"agents_under_test:{name}", env={"IN": "spec"})
    shared.spawned(f"/{name}")
    exited = shared.exited(f"/{name}")
    assert (exited.code, exited.signal) == (code, number)


def test_a_program_that_is_not_captured_writes_to_the_hosts_stderr(
    capfd: pytest.CaptureFixture[str],
) -> None:
    spawning = Spawning(uncaptured={"/_/logger"})
    spawning.launch("/_/logger", "echo", "from the logger")
    spawned = spawning.spawned("/_/logger")
    spawning.exited("/_/logger")
    spawning.close()
    assert (spawned.stdout, spawned.stderr) == (-1, -1)
    assert "from the logger" in capfd.readouterr().err


def test_a_root_that_does_not_listen_for_a_while_misses_nothing() -> None:
    spawning = Spawning()
    for number in range(60):  # their notices are more than the socket holds
        spawning.launch(f"/{number}" + "x" * 10_000, "true", agent=None)
    spawning.probe.until(lambda: len(spawning.probe.seen) >= 120, "60 births and ends")
    spawning.close()


def test_the_python_that_runs_agents_is_the_hosts(shared: Spawning, another_path: str) -> None:
    shared.run(another_path, "true")
    assert os.readlink(f"/proc/{shared.launcher.pid}/exe") == os.path.realpath(sys.executable)
