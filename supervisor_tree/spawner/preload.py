"""Imports modules ahead of the forks, and leaves out those that would make forks unsafe.

A module that starts a thread cannot be unloaded, and a fork copies no threads but all their
locks: it has to be kept out of a *fresh* spawner, which the caller gets by exec.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

__all__ = ["Preload", "StartsThreads", "preload"]

IMPORT_LIMIT_S = 60.0


class StartsThreads(Exception):
    """The module of that name has left threads running in this process."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.module = module


class _TookTooLong(BaseException):
    """Not an Exception: a module's own `except Exception` must not swallow it."""


@dataclass(slots=True)
class Preload:
    """What was imported, and what was not and why."""

    modules: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0


def preload(modules: Sequence[str]) -> Preload:
    """Import each module once, then collect and freeze what all children will share.

    Raises StartsThreads as soon as a module does.
    """
    done = Preload()
    begin = time.monotonic()
    for name in modules:
        reason = _import(name)
        if _count_threads() > 1:
            raise StartsThreads(name)
        if reason is None:
            done.modules.append(name)
        else:
            done.left_out.append((name, reason))
    gc.collect()
    gc.freeze()
    done.seconds = time.monotonic() - begin
    return done


def _import(name: str) -> str | None:
    """Why it failed, None if it did not."""

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise _TookTooLong

    former = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, IMPORT_LIMIT_S)
    try:
        importlib.import_module(name)
    except _TookTooLong:
        return f"its import took longer than {IMPORT_LIMIT_S:.0f} s"
    except BaseException as error:  # SystemExit too: no module may end the spawner
        text = str(error) or "no message"
        return f"{type(error).__name__}: {text}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    return None


def _count_threads() -> int:
    """All of them, those of C libraries included."""
    return len(os.listdir("/proc/self/task"))
