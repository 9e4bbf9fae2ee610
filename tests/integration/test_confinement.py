"""Limits and isolation of real processes, programs and agents alike."""

from __future__ import annotations

import grp
import json
import os
import pwd
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.core.specs import Limits
from tests.integration.hosting import RunningHost
from tests.integration.spawning import Spawning, read_line

AGENTS = str(Path(__file__).parent / "spawned")
KINDS = ("program", "agent")
USER = "nobody"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def shared() -> Iterator[Spawning]:
    spawning = Spawning(sys_path=[AGENTS], modules=["agents_under_test"])
    yield spawning
    spawning.close()


@pytest.fixture
def another_path(request: pytest.FixtureRequest) -> str:
    return "/" + request.node.name.replace("[", "-").replace("]", "")[-60:]


def begin(spawning: Spawning, kind: str, path: str, **spec: Any) -> int:
    """A child of this kind that stays; its pid, once its set-up is done."""
    if kind == "agent":
        spawning.launch(path, agent="agents_under_test:wait", **spec)
    else:
        spawning.launch(path, "sh", "-c", "echo waiting; exec sleep 1000", **spec)
    spawned = spawning.spawned(path)
    assert read_line(spawned.stdout) == "waiting"
    return spawned.pid


def end(spawning: Spawning, path: str) -> None:
    spawning.launcher.kill(path, 1)
    spawning.exited(path)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


# --- limits of single processes --------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_resource_limits_are_set_soft_and_hard(
    shared: Spawning, kind: str, another_path: str
) -> None:
    limits = Limits(nofile=99, address_space=3 << 30, core=4096, nproc=5000)
    pid = begin(shared, kind, another_path, limits=limits)
    for number, value in (
        (resource.RLIMIT_NOFILE, 99),
        (resource.RLIMIT_AS, 3 << 30),
        (resource.RLIMIT_CORE, 4096),
        (resource.RLIMIT_NPROC, 5000),
    ):
        assert resource.prlimit(pid, number) == (value, value)
    end(shared, another_path)


@pytest.mark.parametrize("kind", KINDS)
def test_niceness_oom_score_umask_and_directory_are_as_asked(
    shared: Spawning, kind: str, another_path: str, tmp_path: Path
) -> None:
    limits = Limits(nice=7, oom_score_adj=321)
    pid = begin(shared, kind, another_path, limits=limits, umask=0o027, cwd=str(tmp_path))
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "321"
    assert status(pid)["Umask"] == "0027"
    assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
    end(shared, another_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_that_asks_for_no_limits_has_the_hosts(
    shared: Spawning, kind: str, another_path: str
) -> None:
    pid = begin(shared, kind, another_path)
    for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_CORE):
        assert resource.prlimit(pid, number) == resource.getrlimit(number)
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
    assert status(pid)["NoNewPrivs"] == "0"
    end(shared, another_path)


@pytest.mark.parametrize("kind", KINDS)
def test_no_new_privileges_can_be_had_where_that_is_asked_for(
    shared: Spawning, kind: str, another_path: str
) -> None:
    pid = begin(shared, kind, another_path, no_new_privs=True)
    assert status(pid)["NoNewPrivs"] == "1"
    end(shared, another_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_that_the_host_may_not_give_is_a_failed_start_that_names_it(
    shared: Spawning, kind: str, another_path: str
) -> None:
    target: dict[str, Any] = {"agent": "agents_under_test:wait"}
    command = () if kind == "agent" else ("true",)
    shared.launch(
        another_path,
        *command,
        limits=Limits(nofile=1 << 40),
        **(target if kind == "agent" else {}),
    )
    failed = shared.failed(another_path)
    assert failed.stage == "limits"
    assert f"cannot apply limits.nofile {1 << 40} (the host itself has at most" in failed.message


# --- users ----------------------------------------------------------------------------------


@pytest.fixture
def more_groups() -> Iterator[None]:
    """This process, and the spawner that it starts, have groups that no child may inherit."""
    former = os.getgroups()
    os.setgroups([0, grp.getgrnam("adm").gr_gid, grp.getgrnam("disk").gr_gid])
    yield
    os.setgroups(former)


@as_root
@pytest.mark.parametrize("kind", KINDS)
def test_another_user_has_its_own_ids_and_groups_and_no_capability_left(
    more_groups: None, kind: str
) -> None:
    spawning = Spawning(sys_path=[AGENTS], modules=["agents_under_test"])
    pid = begin(spawning, kind, "/a", user=USER)
    account, seen = pwd.getpwnam(USER), status(pid)
    assert seen["Uid"].split() == 4 * [str(account.pw_uid)]
    assert seen["Gid"].split() == 4 * [str(account.pw_gid)]
    groups = os.getgrouplist(USER, account.pw_gid)
    assert sorted(map(int, seen["Groups"].split())) == sorted(groups)
    for kept in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(seen[kept], 16) == 0
    end(spawning, "/a")
    spawning.close()


@as_root
@pytest.mark.parametrize("kind", KINDS)
def test_a_group_alone_replaces_all_groups(more_groups: None, kind: str) -> None:
    spawning = Spawning(sys_path=[AGENTS], modules=["agents_under_test"])
    games = grp.getgrnam("games").gr_gid
    pid = begin(spawning, kind, "/a", group="games")
    seen = status(pid)
    assert seen["Uid"].split() == 4 * ["0"]
    assert (seen["Gid"].split(), seen["Groups"].split()) == (4 * [str(games)], [str(games)])
    end(spawning, "/a")
    spawning.close()


@as_root
def test_there_is_no_way_back_to_the_hosts_user(shared: Spawning, another_path: str) -> None:
    shared.launch(another_path, agent="agents_under_test:try_to_be_root", user=USER)
    spawned = shared.spawned(another_path)
    assert read_line(spawned.stdout) == "setresuid setresgid setgroups: not permitted"
    shared.exited(another_path)


@as_root
@pytest.mark.parametrize("kind", KINDS)
def test_another_user_finds_its_home_and_name(
    shared: Spawning, kind: str, another_path: str
) -> None:
    if kind == "agent":
        shared.launch(another_path, agent="agents_under_test:tell_home", user=USER)
    else:
        shared.launch(another_path, "sh", "-c", "echo $HOME $USER $LOGNAME", user=USER)
    home = pwd.getpwnam(USER).pw_dir
    assert read_line(shared.spawned(another_path).stdout) == f"{home} {USER} {USER}"
    shared.exited(another_path)


@as_root
@pytest.mark.parametrize("kind", KINDS)
def test_limits_that_only_root_may_set_are_set_before_the_user_changes(
    shared: Spawning, kind: str, another_path: str
) -> None:
    limits = Limits(nice=-5)
    pid = begin(shared, kind, another_path, user=USER, limits=limits, no_new_privs=True)
    assert os.getpriority(os.PRIO_PROCESS, pid) == -5
    assert status(pid)["NoNewPrivs"] == "1"
    end(shared, another_path)


@as_root
def test_a_host_that_is_not_root_says_that_it_cannot_become_another_user(tmp_path: Path) -> None:
    account = pwd.getpwnam(USER)
    code = """
import sys, json
sys.path.insert(0, sys.argv[1])
from supervisor_tree.spawner.rights import become
from supervisor_tree.core.specs import ChildSpec
import os
os.setgroups([]); os.setresgid(*3*[int(sys.argv[2])]); os.setresuid(*3*[int(sys.argv[2])])
try:
    become(ChildSpec(id="a", command=("true",), user="daemon"), {})
except OSError as error:
    print(error.strerror)
"""
    root = str(Path(__file__).parents[2])
    told = subprocess.run(
        [sys.executable, "-c", code, root, str(account.pw_uid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert told.stdout.strip() == "Operation not permitted", told.stderr


# --- an agent of another user in a host ---------------------------------------------------------


TALKER = """
import os

import supervisor_tree


class Talker(supervisor_tree.Agent):
    def init(self, ctx):
        self.ctx = ctx
        self.heard = []
        (ctx.data_dir / "here").write_text(ctx.path)
        (ctx.cache_dir / "here").write_text(ctx.path)
        ctx.subscribe("talk.>")

    def handle_event(self, topic, event):
        self.heard.append(event)

    async def handle_call(self, request, sender):
        match request:
            case "uid":
                return os.getuid()
            case ["ask", path]:
                return await self.ctx.call(path, "uid", timeout=5.0)
            case "publish":
                self.ctx.publish("talk.here", self.ctx.path)
            case "heard":
                return self.heard
"""


@as_root
def test_an_agent_of_another_user_is_ready_on_the_bus_and_has_its_directories(
    tmp_path: Path, open_directory: Path
) -> None:
    (open_directory / "talker_of_users.py").write_text(TALKER)
    config = open_directory / "users.yaml"
    config.write_text(
        f"""
version: 1
host: {{name: users, state_dir: {open_directory}/state, log_dir: {open_directory}/log}}
tree:
  children:
    - {{id: plain, agent: "talker_of_users:Talker"}}
    - id: deep
      supervisor:
        children:
          - {{id: other, agent: "talker_of_users:Talker", user: {USER}}}
"""
    )
    uid = pwd.getpwnam(USER).pw_uid
    with RunningHost(config, open_directory) as host:
        host.wait_ready("/deep/other")
        host.wait_ready("/plain")
        assert host.ask("call", "/deep/other", '"uid"') == uid
        assert host.ask("call", "/deep/other", json.dumps(["ask", "/plain"])) == 0
        assert host.ask("call", "/plain", json.dumps(["ask", "/deep/other"])) == uid
        heard: set[str] = set()
        while len(heard) < 2:  # what was published before the exchange knew of us is lost
            for path in ("/plain", "/deep/other"):
                host.ask("call", path, '"publish"')
            heard = set(host.ask("call", "/deep/other", '"heard"'))
            heard &= set(host.ask("call", "/plain", '"heard"'))
        for purpose in ("data", "cache"):
            mine = open_directory / "state" / purpose / "deep" / "other"
            assert (mine.stat().st_uid, mine.stat().st_mode & 0o777) == (uid, 0o700)
            assert (mine / "here").read_text() == "/deep/other"
        inbox = host.run_dir / "inbox"
        assert inbox.stat().st_mode & 0o007 == 0, "open to users that the tree knows nothing of"


@pytest.fixture
def open_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that other users may enter: pytest's own are for one alone."""
    directory = Path(tempfile.mkdtemp(prefix="users-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
