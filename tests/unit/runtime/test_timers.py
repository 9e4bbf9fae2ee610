"""Deadlines by key."""

from __future__ import annotations

from supervisor_tree.runtime.timers import Timers


def test_timers_fire_in_the_order_of_their_deadlines() -> None:
    timers = Timers()
    timers.set("late", 3.0)
    timers.set("early", 1.0)
    timers.set("between", 2.0)
    assert timers.pop_due(2.5) == ["early", "between"]
    assert timers.next_at() == 3.0


def test_equal_deadlines_fire_in_the_order_they_were_set() -> None:
    timers = Timers()
    for name in "cab":
        timers.set(name, 1.0)
    assert timers.pop_due(1.0) == ["c", "a", "b"]


def test_a_timer_set_anew_forgets_its_former_deadline() -> None:
    timers = Timers()
    timers.set("a", 1.0)
    timers.set("a", 5.0)
    assert timers.pop_due(4.9) == []
    assert timers.pop_due(5.0) == ["a"]
    assert timers.pop_due(9.0) == []


def test_a_cancelled_timer_never_fires() -> None:
    timers = Timers()
    timers.set("a", 1.0)
    timers.cancel("a")
    timers.cancel("unknown")
    assert timers.next_at() is None
    assert timers.pop_due(2.0) == []


def test_timers_that_are_set_again_and_again_do_not_pile_up() -> None:
    timers = Timers()
    for number in range(10_000):
        timers.set("a", float(number))
    assert len(timers) == 1
    assert len(timers._heap) < 100
