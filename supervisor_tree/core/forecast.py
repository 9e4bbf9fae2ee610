"""What restarts would follow if a child went on failing: delays to come, and the end of patience.

Nothing is estimated: the same functions that decide are played forwards, with the least
and the greatest jitter.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import NamedTuple

from supervisor_tree.core.backoff import delay_s, next_attempt
from supervisor_tree.core.child import ChildState, StoryLine
from supervisor_tree.core.intensity import RestartWindow
from supervisor_tree.core.specs import Backoff, SupervisorSpec

__all__ = ["Delay", "GiveUp", "Habit", "delays", "forget_at", "give_up", "mean_life"]

_DELAYS_SHOWN = 10
# After so many restarts a backoff has reached its longest delay (`backoff.delay_s`).
_GROWING = 64
# A supervisor that allows more than this is said to go on for ever.
_MOST_PLAYED = 5000
_LIVES_LOOKED_AT = 5
_FAILED = frozenset({"exited", "start failed"})


class Delay(NamedTuple):
    """The wait before restart number `attempt` (0, 1, ...), in seconds, without and with jitter."""

    attempt: int
    least: float
    most: float


class GiveUp(NamedTuple):
    """At which failure from now the limit is exceeded, and when: times of the core's clock.

    `latest` is None if jitter may stretch the restarts so far that it never is.
    """

    failures: int
    earliest: float
    latest: float | None


class Habit(NamedTuple):
    """How a child is taken to fail: first at `first_at`, then after `life_s` of each life."""

    first_at: float
    life_s: float


def delays(backoff: Backoff | None, attempt: int) -> tuple[Delay, ...]:
    """The delays to come, up to the first that does not grow any more."""
    if backoff is None:
        return ()
    found: list[Delay] = []
    for number in range(attempt, attempt + _DELAYS_SHOWN):
        delay = Delay(number, delay_s(backoff, number, 0.0), delay_s(backoff, number, 1.0))
        if found and delay.least <= found[-1].least:
            break
        found.append(delay)
    return tuple(found)


def forget_at(second: int, period: float) -> float:
    """When a restart of that second is no longer counted (`RestartWindow`, whole seconds)."""
    return float(floor(second + period) + 1)


def give_up(
    window: RestartWindow,
    habit: Habit,
    spec: SupervisorSpec,
    backoff: Backoff | None,
    attempt: int,
) -> GiveUp | None:
    """None if the restarts never come close enough together.  `window` stays as it is.

    `spec` has the limit, `attempt` is the number of the delay after the first failure.
    """

    def play(jitter: float) -> tuple[int, float] | None:
        played, number, at = window.copy(), attempt, habit.first_at
        for failures in range(1, min(spec.intensity + _GROWING + 2, _MOST_PLAYED) + 1):
            if not played.record(at, intensity=spec.intensity, period=spec.period):
                return failures, at
            wait_s = 0.0
            if backoff is not None:
                wait_s = delay_s(backoff, number, jitter)
                number = next_attempt(backoff, number + 1, habit.life_s)
            at += wait_s + habit.life_s
        return None

    soonest, latest = play(0.0), play(1.0)
    if soonest is None:
        return None
    return GiveUp(*soonest, None if latest is None else latest[1])


def mean_life(story: Iterable[StoryLine]) -> float | None:
    """Seconds from start to failure, over the last lives that have failed; None without one."""
    lives: list[float] = []
    begun: float | None = None
    for at, _, after, cause in story:
        if after == ChildState.STARTING:
            begun = at
        elif cause in _FAILED and begun is not None:
            lives.append(at - begun)
            begun = None
    last = lives[-_LIVES_LOOKED_AT:]
    return sum(last) / len(last) if last else None
