"""The rows, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.report import Options, Report
from benchmarks.rows import bus, core, idle, logs, memory, restart, scale, start, status

__all__ = ["ROWS"]

ROWS: dict[str, Callable[[Options], Report]] = {
    "core": core.run,
    "restart": restart.trivial,
    "restart-usual": restart.usual,
    "warm": restart.warm,
    "start": start.trivial,
    "start-usual": start.usual,
    "memory": memory.run,
    "idle": idle.run,
    "status": status.run,
    "scale-watchdogs": scale.watchdogs,
    "scale-apply": scale.apply,
    "scale-stats": scale.stats,
    "scale-logs": logs.run,
    "bus-cast": bus.cast,
    "bus-call": bus.call,
    "bus-publish": bus.publish,
    "bus-shapes": bus.shapes,
    "bus-restart": bus.restart,
}
