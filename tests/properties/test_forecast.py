"""What `explain` foretells is what the rules then do, to the restart and to the second."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree.core.actions import Action, SetTimer, StartChild, TreeEnded
from supervisor_tree.core.exits import ExitKind, ExitReason
from supervisor_tree.core.explanation import explain
from supervisor_tree.core.specs import Backoff, ChildSpec, SupervisorSpec
from supervisor_tree.core.stimuli import (
    BootRequested,
    ChildExited,
    ChildReady,
    ChildSpawned,
    TimerFired,
)
from supervisor_tree.core.tree import Tree

CRASH = ExitReason(kind=ExitKind.ABNORMAL, term="boom", code=1)
ENOUGH = 200

backoffs = st.none() | st.builds(
    Backoff,
    initial=st.sampled_from([0.125, 0.5, 2.0]),
    factor=st.sampled_from([1.0, 2.0, 3.0]),
    max=st.sampled_from([1.0, 5.0, 30.0]),
    jitter=st.sampled_from([0.0, 0.25, 1.0]),
    reset_after=st.sampled_from([1.0, 4.0, 30.0]),
)


class Failing:
    """A tree with one child that always lives equally long."""

    def __init__(self, spec: SupervisorSpec, life_s: float, jitter: float) -> None:
        self.tree = Tree(jitter=lambda: jitter)
        self.now = 0.25
        self.life_s = life_s
        self.timer: SetTimer | None = None
        self.generation = 0
        self.ended = False
        self._take(self.tree.handle(BootRequested("/", spec), self.now))

    def _take(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case StartChild(path, generation):
                    self.timer = None
                    self.generation = generation
                    born = ChildSpawned(path, generation, 1), ChildReady(path, generation)
                    self._take(self.tree.handle_all(born, self.now))
                case SetTimer():
                    self.timer = action
                case TreeEnded():
                    self.ended = True

    def fail(self) -> None:
        """Live, fail, and wait until the next life has begun."""
        self.now += self.life_s
        self._take(self.tree.handle(ChildExited("/a", self.generation, CRASH), self.now))

    def wait(self) -> None:
        if self.timer is not None:
            self.now = max(self.now, self.timer.at)
            self._take(self.tree.handle(TimerFired(self.timer.key), self.now))


flags = st.builds(
    SupervisorSpec,
    intensity=st.integers(0, 6),
    period=st.sampled_from([1.0, 2.5, 5.0, 20.0]),
)


@given(
    backoff=backoffs,
    flags=flags,
    life_s=st.sampled_from([0.0, 0.125, 1.0, 4.5]),
    failed_before=st.integers(1, 3),
    most=st.booleans(),
)
def test_a_supervisor_gives_up_when_it_was_foretold(
    *,
    backoff: Backoff | None,
    flags: SupervisorSpec,
    life_s: float,
    failed_before: int,
    most: bool,
) -> None:
    child = ChildSpec(id="a", command=("true",), backoff=backoff)
    failing = Failing(replace(flags, children=(child,)), life_s, jitter=1.0 if most else 0.0)
    for _ in range(failed_before):
        failing.fail()
        failing.wait()
    found = explain(failing.tree, "/a", failing.now)
    if failing.ended:
        assert found is None
        return
    assert found is not None
    foretold = found.give_up
    failures = 0
    while not failing.ended and failures < ENOUGH:
        failing.fail()
        failures += 1
        if not failing.ended:
            failing.wait()
    if not failing.ended:
        assert foretold is None or (most and foretold.latest is None)
    else:
        assert foretold is not None
        at = foretold.latest if most else foretold.earliest
        assert at is not None
        assert abs(at - failing.now) < 1e-6
        assert most or foretold.failures == failures
