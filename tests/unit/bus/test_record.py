"""What one life writes, the next one reads, however the first has ended."""

from __future__ import annotations

from pathlib import Path

from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.record import Record

ANN, BOB = Sender("/ann", 1), Sender("/bob", 4)


def test_what_was_in_hand_is_counted_against_that_cast_alone(tmp_path: Path):
    first = Record(tmp_path, "x")
    assert first.deaths == {}
    first.begin(ANN, 7)
    first.clear()
    first.begin(BOB, 9)
    second = Record(tmp_path, "x")  # the first was killed: nothing was closed
    assert second.deaths == {BOB: {9: 1}}
    second.begin(BOB, 9)
    third = Record(tmp_path, "x")
    assert third.deaths == {BOB: {9: 2}}


def test_a_life_that_dies_over_nothing_is_counted_against_nobody(tmp_path: Path):
    first = Record(tmp_path, "x")
    first.begin(ANN, 1)
    first.clear()
    assert Record(tmp_path, "x").deaths == {}
    assert Record(tmp_path, "x").deaths == {}


def test_deaths_are_remembered_over_lives_that_end_well(tmp_path: Path):
    Record(tmp_path, "x").begin(ANN, 1)
    for _ in range(3):
        assert Record(tmp_path, "x").deaths == {ANN: {1: 1}}


def test_a_record_that_cannot_be_read_is_an_empty_one(tmp_path: Path):
    (tmp_path / "x.deaths").write_bytes(b"\xc1")
    (tmp_path / "x.hand").write_bytes(b"\xff" * 100)
    assert Record(tmp_path, "x").deaths == {}
