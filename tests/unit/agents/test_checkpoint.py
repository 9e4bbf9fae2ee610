"""Small states that outlive their writers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor_tree.agents.checkpoint import MAX_BYTES, SLOTS, CheckpointStore, pack_state


def store(directory: Path, generation: int = 1) -> CheckpointStore:
    return CheckpointStore(lambda: directory, generation)


def keep(directory: Path, state: dict, generation: int = 1) -> None:
    store(directory, generation).write(pack_state(state))


def test_what_is_kept_last_is_read_by_a_later_life_that_knows_its_writer(tmp_path: Path) -> None:
    assert store(tmp_path).read() is None
    mine = store(tmp_path, 4)
    for number in range(5):
        mine.write(pack_state({"number": number, "names": ["a", "b"], 7: b"raw"}))
        found = store(tmp_path, 5).read()
        assert found == {"number": number, "names": ["a", "b"], 7: b"raw"}
        assert found.generation == 4
    assert found.time == pytest.approx(os.stat(tmp_path / SLOTS[1]).st_mtime, abs=60)
    assert (tmp_path / SLOTS[0]).stat().st_mode & 0o777 == 0o600


def test_a_later_life_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    for number in range(6):
        keep(tmp_path, {"n": number}, generation=number)
    assert store(tmp_path).read() == {"n": 5}
    assert sorted(os.listdir(tmp_path)) == sorted(SLOTS)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, b"\x96\x01", b"[1, 2]", None])
def test_where_the_newest_is_torn_the_one_before_counts(
    tmp_path: Path, damage: bytes | None
) -> None:
    keep(tmp_path, {"n": 1})
    keep(tmp_path, {"n": 2})
    newest = max(SLOTS, key=lambda slot: (tmp_path / slot).stat().st_mtime_ns)
    content = (tmp_path / newest).read_bytes()
    (tmp_path / newest).write_bytes(content[:-1] if damage is None else damage)
    assert store(tmp_path).read() == {"n": 1}
    keep(tmp_path, {"n": 3})
    assert store(tmp_path).read() == {"n": 3}


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    keep(tmp_path, {"text": "x" * 100})
    slot = tmp_path / SLOTS[1]
    slot.write_bytes(slot.read_bytes().replace(b"xxx", b"xyx", 1))
    assert store(tmp_path).read() is None


def test_what_a_kill_has_left_half_written_is_passed_over(tmp_path: Path) -> None:
    keep(tmp_path, {"n": 1})
    (tmp_path / "checkpoint.new").write_bytes(b"half")
    assert store(tmp_path).read() == {"n": 1}
    keep(tmp_path, {"n": 2})
    assert store(tmp_path).read() == {"n": 2}


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        ([1], TypeError, "a checkpoint is a dict, not list"),
        ({"a": object()}, TypeError, "cannot keep this checkpoint"),
        ({"a": 2**70}, TypeError, "cannot keep this checkpoint"),
        ({"a": b"x" * MAX_BYTES}, ValueError, "what is larger belongs into files"),
    ],
)
def test_what_cannot_be_kept_is_refused(state: object, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        pack_state(state)
