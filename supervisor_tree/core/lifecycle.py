"""The closed set of public facts about a tree: what `events` shows and ZeroMQ carries.

The core fills in what it knows.  The host adds `seq`, `time` and `host` when it
publishes, and the process facts (`pid`, `rusage`) that only the launcher knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["EventName", "LifecycleEvent"]


class EventName(StrEnum):
    """Every name that the `event` field can have."""

    HOST_STARTED = "host_started"
    HOST_STOPPING = "host_stopping"
    HOST_REEXEC = "host_reexec"
    SPAWNER_STARTED = "spawner_started"
    CHILD_STARTING = "child_starting"
    CHILD_STARTED = "child_started"
    CHILD_READY = "child_ready"
    CHILD_EXITED = "child_exited"
    CHILD_STOPPING = "child_stopping"
    CHILD_STOPPED = "child_stopped"
    CHILD_BACKOFF = "child_backoff"
    CHILD_PARKED = "child_parked"
    CHILD_UNRESPONSIVE = "child_unresponsive"
    CHILD_LEAKED = "child_leaked"
    SUPERVISOR_RESTARTING = "supervisor_restarting"
    INTENSITY_REACHED = "intensity_reached"
    CONFIG_APPLIED = "config_applied"
    CONFIG_REJECTED = "config_rejected"
    DRAIN_STARTED = "drain_started"
    DRAIN_FINISHED = "drain_finished"
    DEAD_LETTER = "dead_letter"
    MESSAGE_REFUSED = "message_refused"


# Not frozen, as six are made of each restart: that doubles what one costs.
@dataclass(slots=True, kw_only=True)
class LifecycleEvent:
    """One public fact.  `path` is "/" for facts about the host itself.

    `detail` holds what this kind of event adds, as plain data: `reason` and
    `asked` (child_exited), `delay_s` and `attempt` (child_backoff), `restarts`,
    `intensity`, `period` (intensity_reached, supervisor_restarting), `error` (a failed start),
    `budget`, `label`, `silent_s` (child_unresponsive).
    """

    event: EventName
    path: str
    id: str | None = None
    kind: str | None = None
    generation: int | None = None
    pid: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
