"""Pictures of the tree as plain data: what `status`, `tree` and `show` answer with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from supervisor_tree.control.events import reason_data, rfc3339
from supervisor_tree.control.redaction import redacted
from supervisor_tree.core.child import ChildRow, StoryLine
from supervisor_tree.core.explanation import Explanation, Level
from supervisor_tree.core.specdata import to_data
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec

__all__ = [
    "TreeView",
    "explanation_data",
    "is_missing",
    "nested",
    "row_data",
    "show_data",
    "story_data",
]


_GROUNDS = ("kept_down_by", "because", "waiting_for", "error")
_AT_REST = ("stopped", "backoff", "parked")


class TreeView(Protocol):
    """What readers need of `core.tree.Tree`."""

    def rows(self, path: str = "/", *, infrastructure: bool = False) -> list[ChildRow]:
        """All rows at and below `path`, each supervisor before its children."""
        ...

    def row(self, path: str) -> ChildRow | None: ...

    def spec(self, path: str) -> ChildSpec | SupervisorSpec | None: ...

    def story(self, path: str) -> list[StoryLine]: ...


def row_data(row: ChildRow, now: float, *, why: bool = False) -> dict[str, Any]:
    """One row of `status --json`; `rss_bytes` and `cpu_percent` are for the asking side to fill.

    `uptime_s` is the age of the present life, None while there is none.  With `why` the row has
    also `kept_down_by`, `because`, `waiting_for` and `error`.
    """
    more: dict[str, Any] = {}
    if why:
        more = {name: getattr(row, name) for name in _GROUNDS}
    started = row.started_at
    alive = row.pid is not None or (row.strategy is not None and row.state not in _AT_REST)
    return {
        "path": row.path,
        "id": row.id,
        "kind": row.kind,  # strings both; `.value` would cost a thousand rows half a millisecond
        "state": row.state,
        "ready": row.ready,
        "pid": row.pid,
        "generation": row.generation,
        "restarts": row.restarts,
        "uptime_s": round(now - started, 3) if alive and started is not None else None,
        "wanted": row.wanted,
        "last_exit": None if row.last_exit is None else reason_data(row.last_exit),
        "rss_bytes": None,
        "cpu_percent": None,
        **more,
    }


def nested(rows: Iterable[ChildRow], now: float) -> list[dict[str, Any]]:
    """The same rows with `strategy` and, for supervisors, `children`; a list of the topmost."""
    tops: list[dict[str, Any]] = []
    by_path: dict[str, dict[str, Any]] = {}
    for row in rows:
        node = row_data(row, now, why=True)
        node["strategy"] = None if row.strategy is None else row.strategy.value
        if row.strategy is not None:
            node["children"] = []
        by_path[row.path] = node
        above = by_path.get(row.path.rpartition("/")[0] or "/")
        (tops if above is None or above is node else above["children"]).append(node)
    return tops


def show_data(tree: TreeView, row: ChildRow, now: float, wall: float) -> dict[str, Any]:
    """All that is known of one child, secrets hidden.  Times of the core become times of day."""
    spec = tree.spec(row.path)
    return {
        **row_data(row, now, why=True),
        "strategy": None if row.strategy is None else row.strategy.value,
        "since": rfc3339(wall - (now - row.since)),
        "started_at": None if row.started_at is None else rfc3339(wall - (now - row.started_at)),
        "error": row.error,
        "next_start_in_s": None if row.next_start_at is None else max(0, row.next_start_at - now),
        "waiting_for": row.waiting_for,
        "spec": None if spec is None else redacted(to_data(spec)),
        "story": story_data(tree, row.path, now, wall),
    }


def is_missing(row: ChildRow) -> bool:
    """Wanted and not there: neither ready nor done with its work for good."""
    if row.ready or row.wanted == "down":
        return False
    done = row.last_exit is not None and row.last_exit.clean
    return not (row.state.value == "stopped" and done and row.waiting_for is None)


def story_data(tree: TreeView, path: str, now: float, wall: float) -> list[dict[str, Any]]:
    """The last transitions of a child, oldest first."""
    return [
        {"time": rfc3339(wall - (now - at)), "from": before, "to": after, "cause": cause}
        for at, before, after, cause in tree.story(path)
    ]


def explanation_data(found: Explanation, now: float) -> dict[str, Any]:
    """What `explain` adds to a row; names that end in `_s` are seconds, from now where they can."""
    give_up = found.give_up
    return {
        "why": found.why,
        "about": found.about,
        "by": found.by,
        "due_in_s": _from_now(found.due_at, now),
        "restart": found.restart,
        "delays": [
            {"attempt": attempt, "least_s": round(least, 3), "most_s": round(most, 3)}
            for attempt, least, most in found.delays
        ],
        "reset_after_s": found.reset_after,
        "mean_life_s": None if found.life_s is None else round(found.life_s, 3),
        "limit": None if found.limit is None else _level_data(found.limit, now),
        "give_up": None
        if give_up is None
        else {
            "failures": give_up.failures,
            "earliest_in_s": _from_now(give_up.earliest, now),
            "latest_in_s": _from_now(give_up.latest, now),
        },
        "above": [_level_data(level, now) for level in found.above],
        "own": None if found.own is None else _level_data(found.own, now),
        "not_ready": list(found.waits_for),
    }


def _level_data(level: Level, now: float) -> dict[str, Any]:
    return {
        "path": level.path,
        "intensity": level.intensity,
        "period_s": level.period,
        "restarts": level.counted,
        "left": level.left,
        "more_in_s": _from_now(level.more_at, now),
        "then": level.then,
    }


def _from_now(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, at - now), 3)
