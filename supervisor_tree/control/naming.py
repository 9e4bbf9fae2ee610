"""The first few of many names."""

from __future__ import annotations

from collections.abc import Sequence

from supervisor_tree.control.words import clean

__all__ = ["few"]


def few(names: Sequence[str], most: int = 3, count: int | None = None) -> str:
    """`/a, /b, /c and 2 more`: the first of what are `count` in all."""
    left = (len(names) if count is None else count) - most
    more = f" and {left} more" if left > 0 else ""
    return ", ".join(map(clean, names[:most])) + more
