"""Topics (`core.patterns`) as the exchange has them.

There a topic ends with a NUL byte, so that a subscription to `a.b`, which libzmq matches as a
prefix, does not take `a.bc` and `a.b.c` with it.
"""

from __future__ import annotations

__all__ = ["topic_frame", "topic_prefix"]

_END = b"\0"


def topic_frame(topic: str) -> bytes:
    """The first frame of what is published on a topic."""
    return topic.encode() + _END


def topic_prefix(pattern: str) -> bytes:
    """What every frame of a matching topic begins with: the exchange's subscription.

    With a wildcard it lets more through than matches; the subscriber sorts that out.
    """
    words = pattern.split(".")
    fixed = next((n for n, word in enumerate(words) if word in ("*", ">")), None)
    if fixed is None:
        return topic_frame(pattern)
    return "".join(f"{word}." for word in words[:fixed]).encode()
