"""How much room each child's log files take, by one look at the directory of them all."""

from __future__ import annotations

import os

from supervisor_tree.runtime.logs.book import is_rotated

__all__ = ["log_sizes"]

_SUFFIX = ".log"


def log_sizes(log_dir: str) -> dict[str, int]:
    """Live file (see `logbook.file_of`) -> bytes, what it has been rotated to included."""
    sizes: dict[str, int] = {}
    for folder, _, names in os.walk(log_dir):
        live = {name for name in names if name.endswith(_SUFFIX) and not is_rotated(name)}
        for name in names:
            owner = name if name in live else _owner(name, live)
            if owner is None:
                continue
            try:
                size = os.stat(os.path.join(folder, name)).st_size
            except OSError:
                continue  # rotated or removed meanwhile
            file = os.path.join(folder, owner)
            sizes[file] = sizes.get(file, 0) + size
    return sizes


def _owner(name: str, live: set[str]) -> str | None:
    """The live file that a rotated one has been: `bot.<time>.log` was `bot.log`."""
    stem = name
    while "." in stem:
        stem = stem.rpartition(".")[0]
        if stem + _SUFFIX in live:
            return stem + _SUFFIX
    return None
