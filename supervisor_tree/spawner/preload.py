"""Imports modules ahead of the forks, and leaves out those that would make forks unsafe.

A module that starts a thread cannot be unloaded, and a fork copies no threads but all their
locks: it has to be kept out of a *fresh* spawner, which the caller gets by exec.

What a module does to signals or to the standard streams is undone: every child would have
it, also those that never wanted the module.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import TextIO

from supervisor_tree.spawner import kernel

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


def preload(modules: Sequence[str], announce: Callable[[str], None]) -> Preload:
    """Import each module once, then collect and freeze what all children will share.

    `announce` is told each name before its import, which may be the end of the process.
    Raises StartsThreads as soon as a module does.
    """
    done = Preload()
    begin = time.monotonic()
    for name in modules:
        announce(name)
        with _streams_kept(), _signals_kept():
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

    signal.signal(signal.SIGALRM, expire)
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
    return None


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Dispositions and mask are as before at the end, whoever has changed them and how."""
    mask = kernel.signal_mask()
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    dispositions = {number: kernel.disposition(number) for number in handlers}
    try:
        yield
    finally:
        for number, handler in handlers.items():  # what Python believes, then what is
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        for number, disposition in dispositions.items():
            if kernel.disposition(number) != disposition:
                kernel.set_disposition(number, disposition)
        kernel.mask_signals(mask)


@contextlib.contextmanager
def _streams_kept() -> Iterator[None]:
    """sys.stdout and sys.stderr are as before at the end, flushed, and open."""
    kept = (sys.stdout, sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr, *kept):
            with contextlib.suppress(Exception):  # anything may have been put there
                stream.flush()
        sys.stdout, sys.stderr = (
            _reopened(stream, fd) for stream, fd in zip(kept, (1, 2), strict=True)
        )


def _reopened(stream: TextIO, fd: int) -> TextIO:
    if stream is None or not stream.closed:
        return stream
    errors = "strict" if fd == 1 else "backslashreplace"
    return open(fd, "w", encoding=stream.encoding, errors=errors, closefd=False)


def _count_threads() -> int:
    """All of them, those of C libraries included."""
    return len(os.listdir("/proc/self/task"))
