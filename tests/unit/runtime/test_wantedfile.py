"""What is remembered survives torn, empty, foreign and unreadable files."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from supervisor_tree.control.holds import Hold
from supervisor_tree.runtime.wantedfile import read_holds, write_holds

HOLD = Hold(path="/a", down=True, since="2026-01-31T10:00:00.000Z", verb="stop", uid=0, pid=9)


def write(directory: Path, number: int, *paths: str) -> None:
    write_holds(directory, number, [asdict(HOLD) | {"path": path} for path in paths])


def test_what_was_written_is_read(tmp_path):
    directory = tmp_path / "wanted"
    write(directory, 1, "/a", "/b")
    holds, number, problems = read_holds(directory)
    assert (list(holds), number, problems) == (["/a", "/b"], 1, [])
    assert holds["/a"] == HOLD
    assert (directory / "1.json").stat().st_mode & 0o777 == 0o600


def test_nothing_is_remembered_where_nothing_was_written(tmp_path):
    assert read_holds(tmp_path / "wanted") == ({}, 0, [])


def test_the_last_few_files_stay(tmp_path):
    for number in range(1, 8):
        write(tmp_path, number, f"/{number}")
    assert sorted(os.listdir(tmp_path)) == ["4.json", "5.json", "6.json", "7.json"]
    assert list(read_holds(tmp_path).holds) == ["/7"]


@pytest.mark.parametrize(
    "content",
    [
        *(b"", bytes(400), b'{"version": 1, "holds": [{"pa', b"[]", b"null", b"\xff\xfe"),
        *(b'{"version": 1}', b'{"version": 2, "holds": []}', b'{"version": 1, "holds": [{}]}'),
        b'{"version": 1, "holds": [{"path": 1, "down": true, "since": ""}]}',
        b'{"version": 1, "holds": [{"path": "/a", "down": "no", "since": ""}]}',
        b'{"version": 1, "holds": [{"path": "/a", "down": true, "since": "", "uid": "x"}]}',
        b'{"version": 1, "holds": [{"path": "/a", "down": true, "since": "", "uid": -1}]}',
        b'{"version": 1, "holds": [{"path": "/a", "down": true, "since": 1}]}',
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:30]),
)
def test_a_damaged_file_is_set_aside_and_the_one_before_is_used(tmp_path, content):
    write(tmp_path, 1, "/a")
    (tmp_path / "2.json").write_bytes(content)
    holds, number, problems = read_holds(tmp_path)
    assert (list(holds), number) == (["/a"], 2)
    assert "2.json" in problems[0]
    assert "2.json.damaged" in problems[0]
    assert "1.json, the one before" in problems[1]
    assert (tmp_path / "2.json.damaged").read_bytes() == content
    write(tmp_path, 3, "/b")
    assert list(read_holds(tmp_path).holds) == ["/b"]


def test_if_no_file_is_whole_nothing_is_remembered_and_that_is_said(tmp_path):
    (tmp_path / "1.json").write_bytes(b"")
    (tmp_path / "2.json").mkdir()
    holds, number, problems = read_holds(tmp_path)
    assert (holds, number) == ({}, 2)
    assert problems[-1] == "no other is there: nothing is known of what operators want"


def test_a_pipe_of_that_name_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "1.json")
    assert read_holds(tmp_path).holds == {}


def test_what_is_none_of_ours_is_left_alone(tmp_path):
    names = {"notes.txt", "x.json", "1.json.new"}
    for name in names:
        (tmp_path / name).write_text("mine")
    write(tmp_path, 1, "/a")
    assert names - {"1.json.new"} <= set(os.listdir(tmp_path))
    assert read_holds(tmp_path).number == 1


def test_old_damaged_files_go_as_well(tmp_path):
    for number in range(1, 6):
        (tmp_path / f"{number}.json.damaged").write_bytes(b"")
    write(tmp_path, 6, "/a")
    assert sorted(os.listdir(tmp_path))[:3] == [
        "3.json.damaged",
        "4.json.damaged",
        "5.json.damaged",
    ]


def test_a_write_that_fails_leaves_the_file_before_it(tmp_path):
    write(tmp_path, 1, "/a")
    (tmp_path / "2.new").mkdir()
    with pytest.raises(OSError, match=r"2\.new"):
        write(tmp_path, 2, "/b")
    assert list(read_holds(tmp_path).holds) == ["/a"]
    assert json.loads((tmp_path / "1.json").read_text())["version"] == 1
