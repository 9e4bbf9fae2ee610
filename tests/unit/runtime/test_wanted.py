"""What operators want is on the disk before they are answered, or they are told that it is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.control.holds import Asker
from supervisor_tree.core.actions import HoldChanged
from supervisor_tree.core.stimuli import StartChildRequested, Stimulus
from supervisor_tree.runtime.wanted import WantedState
from supervisor_tree.runtime.wantedfile import read_holds, write_holds

NO_ROOM = ("error", (("init", "OSError: [Errno 28] No space left on device"), "child"))


class World:
    """A loop whose time stands still, and a core that starts a saver when it is told to."""

    def __init__(self, directory: Path | None) -> None:
        self.timers: dict[Hashable, Callable[[], None]] = {}
        self.starts: list[tuple[Any, Callable[[Any], None]]] = []
        self.told: list[str] = []
        self.kept: list[str] = []
        self.state = WantedState(directory, self, self, lambda: 0.0, self.told.append)

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None:
        self.timers[key] = callback

    def submit(self, make: Callable[[int], Stimulus], answer: Callable[[Any], None]) -> None:
        request = make(1)
        assert isinstance(request, StartChildRequested)
        assert request.supervisor == "/_"
        self.starts.append((request.spec, answer))

    def order(self, path: str, down: bool | None = True) -> None:
        """An operator's order has changed something, and wants to know that it is kept."""
        asker = Asker("stop", 1000, 99, "because")
        self.state.remember(HoldChanged(path, down, 1), asker)
        self.state.when_kept(asker, self.kept.append)

    def turn(self) -> None:
        self.timers.pop("wanted")()

    def save(self, result: Any = ("ok", None)) -> None:
        spec, answer = self.starts.pop(0)
        if result[0] == "ok":
            args = spec.args
            write_holds(Path(args["directory"]), args["number"], args["holds"])
        answer(result)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_order_is_answered_when_it_is_on_the_disk(world, tmp_path):
    world.order("/a")
    world.turn()
    assert world.kept == []
    world.save()
    assert world.kept == [""]
    hold = read_holds(tmp_path).holds["/a"]
    assert (hold.verb, hold.uid, hold.pid, hold.why) == ("stop", 1000, 99, "because")


def test_orders_of_one_turn_are_one_file(world, tmp_path):
    world.order("/a")
    world.order("/b")
    world.turn()
    world.save()
    assert world.kept == ["", ""]
    assert os.listdir(tmp_path) == ["1.json"]
    assert world.starts == []


def test_what_changes_while_a_file_is_written_is_in_the_next(world, tmp_path):
    world.order("/a")
    world.turn()
    world.order("/b")
    world.save()
    assert world.kept == [""]
    world.save()
    assert world.kept == ["", ""]
    assert list(read_holds(tmp_path).holds) == ["/a", "/b"]


def test_a_full_disk_is_told_to_the_operator_and_once_to_the_log(world, tmp_path):
    world.order("/a")
    world.turn()
    world.save(NO_ROOM)
    assert world.kept == ["OSError: [Errno 28] No space left on device"]
    assert world.state.problem == world.kept[0]
    world.turn()
    world.save(NO_ROOM)
    assert len(world.told) == 1
    assert "No space left" in world.told[0]
    world.turn()
    world.save()
    assert world.told[1].endswith("written again")
    assert world.state.problem == ""
    assert list(read_holds(tmp_path).holds) == ["/a"]


def test_what_is_taken_back_is_no_longer_remembered(world, tmp_path):
    world.order("/a")
    world.turn()
    world.save()
    world.order("/a", None)
    world.turn()
    world.save()
    assert read_holds(tmp_path).holds == {}


def test_an_order_that_changes_nothing_is_answered_at_once(world):
    world.state.when_kept(Asker("stop"), world.kept.append)
    world.state.when_kept(None, world.kept.append)
    assert world.kept == ["", ""]
    assert world.timers == {}


def test_a_disk_that_hangs_holds_no_answer_up_for_ever(world):
    world.order("/a")
    world.turn()
    (late,) = world.timers.values()
    late()
    assert world.kept == ["the disk is too slow"]
    world.save()
    assert world.kept == ["the disk is too slow"]


def test_what_is_not_written_when_the_host_ends_is_written_then(world, tmp_path):
    world.order("/a")
    world.turn()
    _spec, answer = world.starts.pop()
    answer(("exit", "shutdown"))
    world.state.close()
    assert list(read_holds(tmp_path).holds) == ["/a"]
    assert world.told == []


def test_a_host_that_was_not_told_anything_writes_nothing(world, tmp_path):
    world.state.load()
    world.state.close()
    assert os.listdir(tmp_path) == []


def test_the_next_life_knows_what_the_former_was_told_and_goes_on_numbering(world, tmp_path):
    world.order("/a")
    world.order("/off", False)
    world.turn()
    world.save()
    later = World(tmp_path)
    assert later.state.load() == {"/a": True, "/off": False}
    later.order("/b")
    later.turn()
    later.save()
    assert list(read_holds(tmp_path).holds) == ["/a", "/off", "/b"]
    assert sorted(os.listdir(tmp_path)) == ["1.json", "2.json"]


def test_the_tree_of_a_program_is_remembered_as_long_as_it_runs():
    world = World(None)
    assert world.state.load() == {}
    world.order("/a")
    assert world.kept == [""]
    assert list(world.state.holds) == ["/a"]
    assert world.timers == {}
    world.state.close()
