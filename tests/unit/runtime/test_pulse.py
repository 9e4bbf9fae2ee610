"""When somebody who should answer counts as frozen."""

from __future__ import annotations

from supervisor_tree.runtime.pulse import Pulse


def test_one_who_has_not_moved_for_so_many_looks_in_a_row_is_frozen() -> None:
    pulse = Pulse(2)
    assert [pulse.look(beats) for beats in (5, 5, 5)] == [False, False, True]


def test_a_sign_of_life_begins_the_count_anew() -> None:
    pulse = Pulse(2)
    assert [pulse.look(beats) for beats in (5, 5, 6, 6, 7, 7)] == [False] * 6


def test_it_is_said_once() -> None:
    pulse = Pulse(2)
    assert [pulse.look(0) for _ in range(5)] == [False, False, True, False, False]


def test_a_successor_is_given_the_whole_patience() -> None:
    pulse = Pulse(2)
    pulse.look(3)
    pulse.look(3)
    pulse.begin()
    assert [pulse.look(3) for _ in range(3)] == [False, False, True]
