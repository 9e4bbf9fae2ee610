"""The decision core alone: no process, no socket, no clock.

A first pass finds out which stimuli come, as a world that does at once what it is asked for
would give them; the passes that count give just these to a fresh core, which decides the
same again.  CPU time is taken, as nothing else is at work here.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Sequence

from benchmarks.report import Options, Report, at_least, at_most
from supervisor_tree.core.actions import Action, SignalChild, StartChild
from supervisor_tree.core.exits import KILLED, SHUTDOWN
from supervisor_tree.core.specs import ChildSpec, StartMode, Strategy, SupervisorSpec
from supervisor_tree.core.stimuli import (
    BootRequested,
    ChildExited,
    ChildReady,
    ChildSpawned,
    Stimulus,
)
from supervisor_tree.core.tree import Tree

__all__ = ["run"]

_COUNT = 1000
_RATE = "crashes under one_for_one, k stimuli/s"
_FIRST = "one_for_all, the crash alone, ms"
_WHOLE = "one_for_all, until all are up again, ms"


def run(options: Options) -> Report:
    """1,000 children that crash one after the other; then one that takes all with it."""
    report = Report("core", "core.handle with 1,000 children", "see each")
    turns = 5 if options.quick else 30
    crashes = _Script(Strategy.ONE_FOR_ONE, StartMode.CONCURRENT, range(_COUNT))
    report.enter(_RATE, [len(crashes.after) / crashes.play()[1] / 1000 for _ in range(turns)])
    takes_all = _Script(Strategy.ONE_FOR_ALL, StartMode.SEQUENTIAL, [_COUNT // 2])
    first_s, whole_s = zip(*(takes_all.play() for _ in range(turns)), strict=True)
    report.enter(_FIRST, [seconds * 1000 for seconds in first_s])
    report.enter(_WHOLE, [seconds * 1000 for seconds in whole_s])
    rate, whole = report.median(_RATE), report.median(_WHOLE)
    assert rate is not None, _RATE
    assert whole is not None, _WHOLE
    report.figures.append(at_least("core.handle", rate, 100, "k stimuli/s"))
    # Children are stopped one after the other, as OTP does, so no single call decides it all.
    report.figures.append(
        at_most(f"one_for_all, {len(takes_all.after):,} stimuli", whole, 20, "ms")
    )
    return report


class _Script:
    """The stimuli until all run, and those `after`, which are measured."""

    def __init__(self, strategy: Strategy, start: StartMode, crashing: Iterable[int]) -> None:
        self._spec = SupervisorSpec(
            strategy=strategy,
            start=start,
            intensity=1_000_000,
            period=1.0,
            children=tuple(ChildSpec(id=f"c{n}", agent="nobody:nothing") for n in range(_COUNT)),
        )
        self._pids = itertools.count(2)
        tree = self._fresh()
        self._before = self._follow(tree, BootRequested("/", self._spec))
        self.after: list[Stimulus] = []
        for number in crashing:
            path = f"/c{number}"
            row = tree.row(path)
            assert row is not None, path
            self.after += self._follow(tree, ChildExited(path, row.generation, KILLED))

    def play(self) -> tuple[float, float]:
        """CPU seconds of the first stimulus of `after`, and of all of them."""
        tree = self._fresh()
        for stimulus in self._before:
            tree.handle(stimulus, 1.0)
        begin = time.thread_time()
        tree.handle(self.after[0], 1.0)
        first = time.thread_time()
        for stimulus in self.after[1:]:
            tree.handle(stimulus, 1.0)
        return first - begin, time.thread_time() - begin

    def _fresh(self) -> Tree:
        return Tree(jitter=lambda: 0.0)

    def _follow(self, tree: Tree, first: Stimulus) -> list[Stimulus]:
        """Handle it and all that comes of it; returns all of these."""
        handled: list[Stimulus] = []
        waiting = deque([first])
        while waiting:
            stimulus = waiting.popleft()
            handled.append(stimulus)
            waiting.extend(self._answers(tree.handle(stimulus, 1.0)))
        return handled

    def _answers(self, actions: Sequence[Action]) -> list[Stimulus]:
        answers: list[Stimulus] = []
        for action in actions:
            if isinstance(action, StartChild):
                path, generation = action.path, action.generation
                answers.append(ChildSpawned(path, generation, next(self._pids)))
                answers.append(ChildReady(path, generation))
            elif isinstance(action, SignalChild):
                answers.append(ChildExited(action.path, action.generation, SHUTDOWN))
        return answers
