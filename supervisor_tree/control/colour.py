"""Whether to paint: one rule for every verb and for a host in the foreground."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["coloured"]


def coloured(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """NO_COLOR (no-color.org), then FORCE_COLOR (force-color.org); else on a terminal not dumb."""
    if environment.get("NO_COLOR") or environment.get("FORCE_COLOR"):
        return not environment.get("NO_COLOR")
    return terminal and environment.get("TERM") != "dumb"
