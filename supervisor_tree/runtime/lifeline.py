"""The socket by which the root of an embedded tree knows whether its program is still there."""

from __future__ import annotations

import os
from collections.abc import Callable

from supervisor_tree.runtime.reactor import Reactor

__all__ = ["is_closed", "watch"]


def watch(lifeline: int, reactor: Reactor, on_closed: Callable[[], None]) -> None:
    """Call `on_closed` once, when the embedding program has closed its end or has died."""

    def readable() -> None:
        if is_closed(lifeline):
            reactor.remove(lifeline)
            on_closed()

    reactor.add(lifeline, readable)


def is_closed(lifeline: int) -> bool:
    """Whether nobody is at its other end; what may have been said there is passed over."""
    try:
        return os.read(lifeline, 4096) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:  # the program has not read what the root has said
        return True
