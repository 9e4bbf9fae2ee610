"""The numbered record of what has happened: who reads it can tell that something is missing.

`seq` counts from 1 without holes for the life of one host; `instance` names that life.
The last 10,000 events are kept for replay, packed: as maps they would be 15 MB.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from supervisor_tree.core.exits import ExitReason
from supervisor_tree.core.lifecycle import LifecycleEvent
from supervisor_tree.wire import event_frames, read_event

__all__ = ["EventLog", "reason_data", "rfc3339"]

KEPT_EVENTS = 10_000


class EventLog:
    """Gives numbers and times to events.  Pure: the time is passed in."""

    def __init__(self, host: str, instance: str, *, kept: int = KEPT_EVENTS) -> None:
        self.host = host
        self.instance = instance
        self.seq = 0
        self._kept: deque[bytes] = deque(maxlen=kept)

    @property
    def first(self) -> int:
        """The oldest number that can still be read; `seq + 1` while there is none."""
        return self.seq - len(self._kept) + 1

    def append(self, event: LifecycleEvent, wall: float) -> dict[str, Any]:
        """Record `event` at `wall` (seconds since the epoch) and return its public form."""
        self.seq += 1
        record: dict[str, Any] = {
            "seq": self.seq,
            "time": rfc3339(wall),
            "host": self.host,
            "event": event.event.value,
            "path": event.path,
            "id": event.id,
            "kind": event.kind,
            "generation": event.generation,
            "pid": event.pid,
        }
        for key, value in event.detail.items():
            record.setdefault(key, reason_data(value) if isinstance(value, ExitReason) else value)
        self._kept.append(event_frames(record)[-1])
        return record

    def since(self, seq: int, limit: int | None = None) -> tuple[int, list[dict[str, Any]]]:
        """(first, events): the oldest number kept, and the events numbered above `seq`.

        `first > seq + 1` tells the reader that events between the two are lost to it.
        """
        skipped = max(0, seq + 1 - self.first)
        stop = None if limit is None else skipped + limit
        return self.first, [read_event(kept) for kept in islice(self._kept, skipped, stop)]

    def last(self, count: int) -> list[dict[str, Any]]:
        """The newest `count` events, oldest first."""
        skipped = max(0, len(self._kept) - count)
        return [read_event(kept) for kept in islice(self._kept, skipped, None)]


def reason_data(reason: ExitReason) -> dict[str, Any]:
    """An exit reason as `child_exited` and `last_exit` show it."""
    return {
        "kind": reason.kind.value,
        "code": reason.code,
        "signal": reason.signal,
        "oom": reason.oom,
        "watchdog": reason.watchdog,
        "start_timeout": reason.start_timeout,
        "term": reason.term,
    }


def rfc3339(wall: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, to the millisecond."""
    text = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
