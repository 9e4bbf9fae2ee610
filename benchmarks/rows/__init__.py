"""The rows, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.report import Options, Report
from benchmarks.rows import core, idle, memory, restart, start, status

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
}
