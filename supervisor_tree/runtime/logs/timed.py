"""A limit of processor time for what Python's regular expression engine does.

The engine goes back over what it has read, so a pattern may take time that grows with the
square of a text, or worse.  It heeds signals while it does: that of a timer ends a search.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TypeVar

__all__ = ["TookTooLong", "within"]

_Subject = TypeVar("_Subject")
_Result = TypeVar("_Result")


class TookTooLong(Exception):
    """The search was given up."""


def within(limit_s: float, work: Callable[[_Subject], _Result], subject: _Subject) -> _Result:
    """`work(subject)`, unless it takes more than so much processor time: then TookTooLong.

    For the main thread, which has the signals.  ITIMER_VIRTUAL counts this process alone
    (setitimer(2)): a busy machine makes nothing slow.
    """
    armed = True

    def expire(*_: object) -> None:
        if armed:
            raise TookTooLong

    before = signal.signal(signal.SIGVTALRM, expire)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        return work(subject)
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
