"""The file of counts: what one life writes, everybody reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor_tree.bus.meter import Meter, Traffic, read_traffic, remark

NOW = 1_800_000_000.0
HOUR_S = 3600


def test_counts_outlive_a_life_that_was_killed(tmp_path: Path):
    Meter(tmp_path, "x").write({"casts": 3, "calls": 2, "queued": 7, "held": 1}, NOW)
    assert read_traffic(tmp_path, "x", NOW) == Traffic(received=5, queued=7, held=1)
    second = Meter(tmp_path, "x")
    second.write({"casts": 1, "sent": 4, "redelivered": 1, "malformed": 2}, NOW + HOUR_S)
    expected = Traffic(received=6, sent=4, redelivered=1, dropped=2)
    assert read_traffic(tmp_path, "x", NOW + HOUR_S) == expected


def test_what_was_counted_once_is_not_counted_again(tmp_path: Path):
    meter = Meter(tmp_path, "x")
    for sent in (1, 1, 5):
        meter.write({"sent": sent}, NOW)
    assert read_traffic(tmp_path, "x", NOW) == Traffic(sent=5)


def test_a_day_later_nothing_is_left_of_it(tmp_path: Path):
    meter = Meter(tmp_path, "x")
    meter.write({"published": 9, "queued": 3}, NOW)
    meter.close()
    assert read_traffic(tmp_path, "x", NOW) == Traffic(sent=9), "and nothing waits any more"
    assert read_traffic(tmp_path, "x", NOW + 24 * HOUR_S) == Traffic()


@pytest.mark.parametrize("content", [None, b"", b"x", b"\xff" * 4096])
def test_a_file_that_is_none_of_ours_says_nothing(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "x.count").write_bytes(content)
    assert read_traffic(tmp_path, "x", NOW) is None


def test_what_others_have_sent_in_vain_is_remarked_upon():
    before = {"malformed": 3, "casts": 1}
    assert remark(before, {"malformed": 3, "casts": 9}) == ""
    after = {"malformed": 20, "strangers": 3, "unknown": 1}
    assert remark(before, after) == (
        "17 malformed, 3 from strangers, 1 from processes that are no members"
    )
