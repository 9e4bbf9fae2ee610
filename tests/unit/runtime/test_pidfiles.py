"""A pid file is there while its child's process is, names it, and is nobody else's."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from pathlib import Path

import pytest

from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec
from supervisor_tree.runtime.pidfiles import PidFiles

NOBODY = 2**22 + 1  # above the largest pid that Linux gives, proc(5)


class World:
    """A tree of two children whose pid files are in one directory."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "a.pid"
        self.specs = {
            "/a": ChildSpec(id="a", command=("x",), pid_file=str(self.file)),
            "/b": ChildSpec(id="b", command=("x",)),
        }
        self.told: list[str] = []
        self.timers: dict[Hashable, Callable[[], None]] = {}
        self.files = PidFiles(self, self, self.told.append)

    def spec(self, path: str) -> ChildSpec | None:
        return self.specs.get(path)

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None:
        self.timers[key] = callback

    def started(self, pid: int, path: str = "/a") -> None:
        event = LifecycleEvent(event=EventName.CHILD_STARTED, path=path, pid=pid)
        self.files.heard(event)

    def exited(self, path: str = "/a") -> None:
        self.files.heard(LifecycleEvent(event=EventName.CHILD_EXITED, path=path))

    def look(self) -> None:
        self.timers.pop("pid-files")()

    def sweep(self) -> None:
        self.files.sweep(SupervisorSpec(children=tuple(self.specs.values())))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_it_is_there_from_the_start_of_the_process_to_its_end(world):
    world.started(4711)
    assert world.file.read_text() == "4711\n"
    world.exited()
    assert not world.file.exists()
    world.started(4712)
    assert world.file.read_text() == "4712\n"
    assert os.listdir(world.file.parent) == ["a.pid"]


def test_a_child_that_asks_for_none_has_none(world):
    world.started(4711, "/b")
    world.exited("/b")
    assert os.listdir(world.file.parent) == []
    assert world.timers == {}


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_text("1\n")])
def test_what_was_deleted_or_overwritten_is_put_right(world, damage):
    world.started(4711)
    damage(world.file)
    world.look()
    assert world.file.read_text() == "4711\n"
    assert "put right" in world.told[0]
    world.look()
    assert len(world.told) == 1


def test_nobody_looks_any_more_when_none_is_left(world):
    world.started(4711)
    world.exited()
    world.look()
    assert world.timers == {}


def test_a_directory_that_is_not_there_is_told_once_and_tried_again(world, tmp_path):
    world.specs["/a"] = ChildSpec(id="a", command=("x",), pid_file=str(tmp_path / "no/a.pid"))
    world.started(4711)
    world.look()
    assert len(world.told) == 1
    assert "cannot write pid_file" in world.told[0]
    (tmp_path / "no").mkdir()
    world.look()
    assert (tmp_path / "no/a.pid").read_text() == "4711\n"


def test_a_link_is_replaced_and_not_followed(world, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    world.file.symlink_to(victim)
    world.started(4711)
    assert victim.read_text() == "precious"
    assert world.file.read_text() == "4711\n"


def test_a_file_that_somebody_else_has_put_there_stays_when_the_child_ends(world):
    world.started(4711)
    world.file.unlink()
    world.file.write_text("99\n")
    world.exited()
    assert world.file.read_text() == "99\n"


def test_two_children_cannot_share_one(world):
    world.specs["/b"] = ChildSpec(id="b", command=("x",), pid_file=str(world.file))
    world.started(4711)
    world.started(4712, "/b")
    assert world.file.read_text() == "4711\n"
    assert "that of /a already" in world.told[0]


def test_a_changed_specification_moves_it_with_the_next_life(world, tmp_path):
    world.started(4711)
    world.specs["/a"] = ChildSpec(id="a", command=("x",), pid_file=str(tmp_path / "other.pid"))
    world.exited()
    world.started(4712)
    assert os.listdir(tmp_path) == ["other.pid"]


def test_one_of_a_former_host_that_names_nobody_is_taken_away(world):
    world.file.write_text(f"{NOBODY}\n")
    world.sweep()
    assert not world.file.exists()
    assert "taken away" in world.told[0]


def test_a_number_that_was_given_out_again_does_not_make_it_true(world):
    """The process that bears it now was started after the file was written."""
    world.file.write_text(f"{os.getpid()}\n")
    os.utime(world.file, (1.0, 1.0))
    world.sweep()
    assert not world.file.exists()


def test_one_that_names_a_living_stranger_is_left_and_told(world):
    world.file.write_text(f"{os.getpid()}\n")
    world.sweep()
    assert world.file.exists()
    assert "is not ours" in world.told[0]


@pytest.mark.parametrize("content", ["", "no number\n", "1 2\n"])
def test_what_is_no_pid_file_is_not_deleted(world, content):
    world.file.write_text(content)
    world.sweep()
    assert world.file.read_text() == content
    assert world.told == []


def test_when_the_host_ends_none_is_left(world):
    world.started(4711)
    world.files.close()
    assert os.listdir(world.file.parent) == []
