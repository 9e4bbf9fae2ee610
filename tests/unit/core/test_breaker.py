"""When a host leaves its tree alone."""

from __future__ import annotations

import pytest

from supervisor_tree.core.breaker import STOPPED, WINDOW_S, Boot, is_safe_mode, unclean

NOW = 1000.0
CUT = None


def boots(*outcomes: str | None, apart: float = 10.0) -> list[Boot]:
    count = len(outcomes)
    return [
        Boot(began=NOW - apart * (count - number), outcome=outcome)
        for number, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("outcomes", "counted"),
    [
        ((), 0),
        ((CUT, CUT), 2),
        ((CUT, CUT, CUT), 3),
        ((CUT, CUT, CUT, STOPPED), 0),
        ((CUT, CUT, CUT, STOPPED, CUT), 1),
        ((CUT, "gave_up", CUT, "forced", CUT), 3),
    ],
)
def test_lives_that_were_cut_off_count_until_one_was_stopped_in_order(outcomes, counted):
    assert len(unclean(boots(*outcomes), NOW)) == counted
    assert is_safe_mode(boots(*outcomes), NOW) is (counted > 2)


def test_what_is_long_ago_or_lives_does_not_count():
    assert unclean(boots(CUT, CUT, CUT, apart=WINDOW_S + 1), NOW) == []
    assert unclean([Boot(began=NOW - 1, lives=True)], NOW) == []


def test_a_clock_that_was_set_back_hides_nothing():
    assert is_safe_mode([Boot(began=NOW + 1e6)] * 3, NOW)
