"""The line of its output that shows a child to be ready (`ready.log`)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from supervisor_tree.runtime.logs.timed import TookTooLong, within

__all__ = ["Awaited"]

_SEARCHED = 4096  # bytes of a line
_BURST_S = 0.25  # of processor time, in one go
_SHARE = 0.25  # of the time that passes, on end
_LINE_S = 5e-6  # for each line, which costs something with any pattern
_LEAST_S = 0.001  # setitimer(2) takes 0 for no limit


class Awaited:
    """What the streams of one life are looked through for until it is found.

    All lines of the host wait while one is searched.  So a pattern has an account of processor
    time, which fills up as time passes and lines come; one that has used it up is given up.
    """

    def __init__(self, pattern: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._pattern: re.Pattern[str] | None = re.compile(pattern)
        self._left_s = _BURST_S
        self._clock = clock
        self._at = clock()

    def look(self, data: bytes, start: int, end: int) -> str:
        """What to tell the root of the lines of `data[start:end]`.

        "seen": one of them is it; "given_up": they took too long; each once.  Else "".
        """
        if self._pattern is None:
            return ""
        now, used = self._clock(), time.process_time()
        earned = (now - self._at) * _SHARE
        self._at = now
        lines = data[start:end].split(b"\n")
        limit = min(_BURST_S, self._left_s + earned) + len(lines) * _LINE_S
        try:
            found = within(limit, self._occurs, lines)
        except TookTooLong:
            self._pattern = None
            return "given_up"
        self._left_s = max(_LEAST_S, limit - (time.process_time() - used))
        if found:
            self._pattern = None
        return "seen" if found else ""

    def _occurs(self, lines: list[bytes]) -> bool:
        assert self._pattern is not None
        search = self._pattern.search
        return any(search(line[:_SEARCHED].decode(errors="replace")) for line in lines)
