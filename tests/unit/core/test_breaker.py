"""When a host leaves its tree alone because its last lives were cut off."""

from __future__ import annotations

import pytest

from supervisor_tree.core.breaker import WINDOW_S, Boot, is_safe_mode, unclean

NOW = 1_000_000.0


def cut_off(ago_s: float) -> Boot:
    return Boot(began=NOW - ago_s)


@pytest.mark.parametrize(
    ("boots", "safe"),
    [
        ([], False),
        ([cut_off(200), cut_off(100)], False),
        ([cut_off(200), cut_off(100), cut_off(1)], True),
        ([cut_off(WINDOW_S), cut_off(100), cut_off(1)], True),
        ([cut_off(WINDOW_S + 1), cut_off(100), cut_off(1)], False),
        ([cut_off(200), Boot(began=NOW - 100, outcome="stopped"), cut_off(1)], False),
        ([cut_off(200), Boot(began=NOW - 100, lives=True), cut_off(1)], False),
        ([cut_off(-50), cut_off(100), cut_off(1)], True),
    ],
    ids=["none", "two", "three", "edge", "too old", "one in order", "one lives", "clock set back"],
)
def test_three_lives_that_were_cut_off_within_five_minutes_are_one_too_many(boots, safe):
    assert is_safe_mode(boots, NOW) is safe


def test_those_that_count_are_named():
    boots = [cut_off(400), cut_off(10), Boot(began=NOW - 5, outcome="forced")]
    assert unclean(boots, NOW) == [boots[1]]
