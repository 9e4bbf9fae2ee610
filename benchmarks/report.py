"""What a row comes to: a spread for each contestant, and figures against their goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.measure import Spread

__all__ = ["Entry", "Figure", "Options", "Report", "at_least", "at_most"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured.  Without `peers` only ourselves and the limits are."""

    quick: bool = False
    peers: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """What one contestant has achieved, in the unit of its report."""

    who: str
    spread: Spread


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.  `met` is None where there is no goal."""

    what: str
    value: str
    goal: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Report:
    """One row of the whole."""

    row: str
    title: str
    unit: str
    entries: list[Entry] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def enter(self, who: str, samples: Sequence[float]) -> None:
        """Samples of one contestant; none at all are passed over."""
        if samples:
            self.entries.append(Entry(who, Spread.of(samples)))

    def median(self, who: str) -> float | None:
        """What a contestant has achieved, None if it did not take part."""
        for entry in self.entries:
            if entry.who == who:
                return entry.spread.median
        return None

    def compare(self, ours: str, theirs: str, *, most: float = 0.0, least: float = 0.0) -> None:
        """A figure: our median over theirs, and perhaps a goal: it is at most or at least so."""
        mine, other = self.median(ours), self.median(theirs)
        if mine is None or other is None:
            return
        what = f"{ours} / {theirs}"
        if most:
            self.figures.append(at_most(what, mine / other, most))
        elif least:
            self.figures.append(at_least(what, mine / other, least))
        else:
            self.figures.append(Figure(what, _number(mine / other, "x")))


def at_most(what: str, value: float, goal: float, unit: str = "x") -> Figure:
    """Small is good."""
    return Figure(what, _number(value, unit), f"≤ {_number(goal, unit)}", value <= goal)


def at_least(what: str, value: float, goal: float, unit: str = "x") -> Figure:
    """Large is good."""
    return Figure(what, _number(value, unit), f"≥ {_number(goal, unit)}", value >= goal)


def _number(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()
