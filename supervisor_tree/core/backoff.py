"""How long to wait before a restart: our extension, off unless a child asks for it."""

from __future__ import annotations

from supervisor_tree.core.specs import Backoff

__all__ = ["delay_s", "next_attempt"]

# 2.0 ** 1024 overflows a float; every sane `max` is reached long before.
_LARGEST_EXPONENT = 64


def delay_s(backoff: Backoff, attempt: int, jitter: float) -> float:
    """Seconds to wait before restart number `attempt` (0, 1, ...); `jitter` is in [0, 1)."""
    exponent = min(attempt, _LARGEST_EXPONENT)
    base = min(backoff.max, backoff.initial * backoff.factor**exponent)
    return base * (1.0 + backoff.jitter * jitter)


def next_attempt(backoff: Backoff, attempt: int, lived_s: float) -> int:
    """The attempt that a restart starts from, after a life of `lived_s` seconds."""
    return 0 if lived_s >= backoff.reset_after else attempt
