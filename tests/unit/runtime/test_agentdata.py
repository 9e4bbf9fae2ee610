"""Deleting what children have kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.agents.checkpoint import SLOTS
from supervisor_tree.core.stimuli import StartChildRequested
from supervisor_tree.errors import OperationFailed
from supervisor_tree.runtime.agentdata import Wardrobe, child_environment, remove_tree
from supervisor_tree.runtime.settings import HostSettings


class Desk:
    """A host that only remembers what it is asked to start."""

    def __init__(self) -> None:
        self.asked: list[StartChildRequested] = []
        self.answer: Any = None

    def said(self, path: str) -> str:
        return f'{{"path": "{path}"}}'

    def submit(self, make: Any, answer: Any) -> None:
        self.asked.append(make(1))
        self.answer = answer


def test_the_directories_of_a_child_are_named_after_its_path() -> None:
    place = Path("/x")
    settings = HostSettings(name="x", run_dir=place, state_dir=Path("/s"), log_dir=place)
    assert child_environment(settings, "/chat/bot", 2) == {
        "SUPERVISOR_TREE_PATH": "/chat/bot",
        "SUPERVISOR_TREE_GENERATION": "2",
        "SUPERVISOR_TREE_RUN_DIR": "/x",
        "SUPERVISOR_TREE_DATA_DIR": "/s/data/chat/bot",
        "SUPERVISOR_TREE_CACHE_DIR": "/s/cache/chat/bot",
    }


def test_a_tree_is_deleted_and_counted_and_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").write_bytes(b"x" * 100)
    (top / SLOTS[0]).write_bytes(b"x" * 10)
    (top / "link").symlink_to(outside)
    (top / "a" / "b" / "dangling").symlink_to("/nowhere")
    counts = remove_tree(top)
    assert {**counts, "bytes": 0} == {
        "checkpoints": 1,
        "files": 4,
        "directories": 2,
        "bytes": 0,
        "left": 0,
    }
    assert counts["bytes"] >= 110
    assert not top.exists()
    assert (outside / "precious").exists()


def test_what_is_not_there_is_deleted_at_once_and_nobody_is_asked(tmp_path: Path) -> None:
    desk, answers = Desk(), list[Any]()
    Wardrobe(tmp_path, desk).clear("data", "/a", answers.append)
    assert answers[0]["files"] == 0
    assert desk.asked == []


def test_a_directory_is_out_of_reach_at_once_and_deleted_by_another_process(tmp_path: Path) -> None:
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "file").write_text("x")
    desk, answers = Desk(), list[Any]()
    Wardrobe(tmp_path, desk).clear("data", "/a", answers.append)
    assert not (tmp_path / "data" / "a").exists()
    assert answers == []
    (asked,) = desk.asked
    assert asked.supervisor == "/_"
    desk.answer(("ok", "pid"))
    assert answers == [{"path": "/_/remove-1"}]


def test_a_failed_deletion_names_what_is_left(tmp_path: Path) -> None:
    (tmp_path / "cache" / "a").mkdir(parents=True)
    desk, answers = Desk(), list[Any]()
    Wardrobe(tmp_path, desk).clear("cache", "/a", answers.append)
    desk.answer(("error", "no process"))
    assert isinstance(answers[0], OperationFailed)
    assert f"{tmp_path}/trash/cache-" in str(answers[0])


@pytest.mark.parametrize("link", ["data", "data/chat", "data/chat/bot"])
def test_a_link_in_the_place_of_a_directory_is_refused(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    (outside / "chat" / "bot").mkdir(parents=True)
    place = tmp_path / "state" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    desk, answers = Desk(), list[Any]()
    Wardrobe(tmp_path / "state", desk).clear("data", "/chat/bot", answers.append)
    assert "is not a directory" in str(answers[0])
    assert (outside / "chat" / "bot").exists()
    assert desk.asked == []
