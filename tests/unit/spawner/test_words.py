"""The spawner's pure parts: marks, terms, owned keys, frames."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor_tree.core.environment import is_owned
from supervisor_tree.core.specs import ChildSpec, Limits
from supervisor_tree.runtime.launcher import (
    Exited,
    LauncherNotice,
    LaunchFailed,
    Leaked,
    Rusage,
    Spawned,
)
from supervisor_tree.spawner import child, protocol
from supervisor_tree.spawner.lives import mark_of, read_mark, terms_of
from supervisor_tree.spawner.procfs import MARK_KEY
from supervisor_tree.spawner.records import Patience
from supervisor_tree.spawner.title import PADDING_KEY, reserve_slot

USED = Rusage(cpu_s=0.5, max_rss_bytes=1, wall_s=2.0)
IDENTITY: dict[str, Any] = {"path": "/chat/bot", "generation": 3}


class Fds:
    """A Channel as far as `to_notice` needs one."""

    def __init__(self, *fds: int) -> None:
        self._fds = list(fds)

    def take_fds(self, count: int) -> list[int]:
        taken, self._fds = self._fds[:count], self._fds[count:]
        return taken


@pytest.mark.parametrize("path", ["/a", "/chat/bot", "/with:colon", "/with space"])
def test_a_mark_names_path_and_generation(path: str) -> None:
    assert read_mark("host", mark_of("host", path, 7)) == (path, 7)


@pytest.mark.parametrize(
    "mark", [None, "", "host", "host:", "host:/a", "host:/a:", "host:/a:x", "host::1", "other:/a:1"]
)
def test_what_is_no_mark_of_this_host_is_not_read_as_one(mark: str | None) -> None:
    assert read_mark("host", mark) is None


@pytest.mark.parametrize(
    ("shutdown", "grace"),
    [(None, 5.0), (0.25, 0.25), (0, 0.0), ("brutal_kill", 0.0), ("infinity", None)],
)
def test_the_shutdown_time_is_the_grace_of_leftovers(shutdown: object, grace: object) -> None:
    spec = ChildSpec(id="a", command=("x",), shutdown=shutdown, stop_signal="SIGINT")  # type: ignore[arg-type]
    assert terms_of(spec) == (2, grace)


@pytest.mark.parametrize("wrong", [{"stop_signal": "TERM"}, {"shutdown": "soon"}])
def test_terms_that_make_no_sense_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"is no (signal|time)"):
        terms_of(ChildSpec(id="a", command=("x",), **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "owned"),
    [
        ("NOTIFY_SOCKET", True),
        ("WATCHDOG_USEC", True),
        ("WATCHDOG_PID", True),
        ("LISTEN_FDS", True),
        ("SUPERVISOR_TREE_PATH", True),
        ("PATH", False),
        ("LISTENER", False),
    ],
)
def test_some_keys_are_the_hosts_alone(key: str, owned: bool) -> None:
    assert is_owned(key) is owned


def test_only_what_depends_on_the_world_outside_can_fail_in_set_up() -> None:
    assert not child.can_fail(ChildSpec(id="a", agent="m:f", umask=0o77, env={"A": "b"}))
    for spec in (
        ChildSpec(id="a", command=("x",)),
        ChildSpec(id="a", agent="m:f", cwd="/"),
        ChildSpec(id="a", agent="m:f", user="u"),
        ChildSpec(id="a", agent="m:f", group="g"),
        ChildSpec(id="a", agent="m:f", env_file="e"),
        ChildSpec(id="a", agent="m:f", limits=Limits(nice=1)),
    ):
        assert child.can_fail(spec)


def test_the_slot_of_the_mark_is_last_and_beyond_any_title() -> None:
    environment = reserve_slot({MARK_KEY: "old", "A": "b", PADDING_KEY: "old"})
    assert list(environment) == ["A", PADDING_KEY, MARK_KEY]
    assert len(environment[PADDING_KEY]) >= 512
    assert len(environment[MARK_KEY]) >= 1024


@pytest.mark.parametrize(
    ("notice", "fds"),
    [
        (Spawned(**IDENTITY, pid=5, start_ticks=6, stdout=7, stderr=8), (7, 8)),
        (Spawned(**IDENTITY, pid=5, start_ticks=6), ()),
        (LaunchFailed(**IDENTITY, stage="exec", message="no"), ()),
        (
            Exited(**IDENTITY, pid=5, code=None, signal=9, asked=True, rusage=USED),
            (),
        ),
        (Leaked(**IDENTITY, processes=((5, "sleep 9"),), ended=True), ()),
    ],
)
def test_a_notice_survives_its_frame(notice: LauncherNotice, fds: tuple[int, ...]) -> None:
    frame = protocol.from_notice(notice)
    assert protocol.to_notice(frame, Fds(*fds)) == notice  # type: ignore[arg-type]


def test_a_frame_that_holds_no_notice_is_told_apart() -> None:
    assert protocol.to_notice(["preloaded", [], 0.0], Fds()) is None  # type: ignore[arg-type]


def test_a_specification_is_packed_and_unpacked_once() -> None:
    spec = ChildSpec(id="a", command=("x", "y"), env={"A": "b"}, limits=Limits(nofile=5))
    packer, unpacker = protocol.SpecPacker(), protocol.SpecUnpacker()
    packed = packer.pack(spec)
    assert packer.pack(spec) is packed
    assert unpacker.unpack(packed) == spec
    assert unpacker.unpack(packed) is unpacker.unpack(packed)


def test_spawners_that_keep_dying_are_replaced_ever_more_slowly() -> None:
    patience = Patience()
    assert [patience.after(0.1) for _ in range(7)] == [0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 5.0]
    assert [patience.after(60.0), patience.after(0.1)] == [0.0, 0.1]
