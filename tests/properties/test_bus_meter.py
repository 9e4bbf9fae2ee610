"""A day of counts, over any number of lives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree.bus.meter import HOURS, add, last_day

COUNTS = st.lists(st.integers(0, 1 << 40), min_size=4, max_size=4)


@given(st.lists(st.tuples(st.integers(0, 40), COUNTS), max_size=60), st.integers(0, 40))
def test_what_was_counted_within_a_day_is_there_and_nothing_else(steps, later):
    words, hour, story = [0] * 512, 490_000, []
    for passed, counts in steps:
        hour += passed
        add(words, hour, counts)
        story.append((hour, counts))
    hour += later
    recent = [counts for at, counts in story if at > hour - HOURS]
    assert last_day(words, hour) == [sum(column) for column in zip([0] * 4, *recent, strict=True)]


@given(st.integers(1, 100), COUNTS)
def test_a_clock_that_was_set_back_hides_counts_and_adds_none(back, counts):
    words = [0] * 512
    add(words, 490_000, counts)
    add(words, 490_000 - back, [1, 2, 3, 4])
    assert last_day(words, 490_000 - back) == [1, 2, 3, 4]
