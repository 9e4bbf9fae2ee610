"""Whom the names mean that are given to `apply --reload`, and whether an apply can reach them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supervisor_tree.core.diff import ASKED, Change, Drift
from supervisor_tree.errors import NoSuchChild, UsageError

__all__ = ["check_reached", "path_of"]


def check_reached(changes: list[Change], drift: Drift) -> None:
    """Raise UsageError if one who is asked for cannot be reached by an apply."""
    paths = {change.path for change in changes}
    missing = [path for path, names in drift.items() if ASKED in names and path not in paths]
    if missing:
        raise UsageError(
            f"cannot start {missing[0]} with fresh code: it is not one of the configuration's; "
            f"`restart {missing[0]}` starts it anew"
        )


def path_of(name: str, known: Mapping[str, Any]) -> str:
    """The path of whom an id or a path says.  Raises NoSuchChild, or UsageError for several."""
    path = "/" + name.strip("/")
    if path in known:
        return path
    found = [each for each in known if each.rpartition("/")[2] == name]
    if not found:
        raise NoSuchChild(f"cannot reload {name}: no child has this id or path")
    if len(found) > 1:
        raise UsageError(f"cannot reload {name}: it may be {' or '.join(found)}; give the path")
    return found[0]
