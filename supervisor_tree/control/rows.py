"""Pictures of the tree as plain data: what `status`, `tree` and `show` answer with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from supervisor_tree.control.events import reason_data, rfc3339
from supervisor_tree.core.child import ChildRow, StoryLine
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec, to_data

__all__ = ["TreeView", "nested", "row_data", "show_data"]


class TreeView(Protocol):
    """What readers need of `core.tree.Tree`."""

    def rows(self, path: str = "/", *, infrastructure: bool = False) -> list[ChildRow]:
        """All rows at and below `path`, each supervisor before its children."""
        ...

    def row(self, path: str) -> ChildRow | None: ...

    def spec(self, path: str) -> ChildSpec | SupervisorSpec | None: ...

    def story(self, path: str) -> list[StoryLine]: ...


def row_data(row: ChildRow, now: float) -> dict[str, Any]:
    """One row of `status --json`; `rss_bytes` and `cpu_percent` are for the asking side to fill.

    `uptime_s` is the age of the present life, None while there is none.
    """
    started, alive = row.started_at, row.pid is not None or row.strategy is not None
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
    }


def nested(rows: Iterable[ChildRow], now: float) -> list[dict[str, Any]]:
    """The same rows with `strategy` and, for supervisors, `children`; a list of the topmost."""
    tops: list[dict[str, Any]] = []
    by_path: dict[str, dict[str, Any]] = {}
    for row in rows:
        node = row_data(row, now)
        node["strategy"] = None if row.strategy is None else row.strategy.value
        if row.strategy is not None:
            node["children"] = []
        by_path[row.path] = node
        above = by_path.get(row.path.rpartition("/")[0] or "/")
        (tops if above is None or above is node else above["children"]).append(node)
    return tops


def show_data(tree: TreeView, row: ChildRow, now: float, wall: float) -> dict[str, Any]:
    """All that is known of one child.  Times of the core become times of day."""
    spec = tree.spec(row.path)
    return {
        **row_data(row, now),
        "strategy": None if row.strategy is None else row.strategy.value,
        "since": rfc3339(wall - (now - row.since)),
        "started_at": None if row.started_at is None else rfc3339(wall - (now - row.started_at)),
        "error": row.error,
        "next_start_in_s": None if row.next_start_at is None else max(0, row.next_start_at - now),
        "waiting_for": row.waiting_for,
        "spec": None if spec is None else to_data(spec),
        "story": [
            {"time": rfc3339(wall - (now - at)), "from": before, "to": after, "cause": cause}
            for at, before, after, cause in tree.story(row.path)
        ],
    }
