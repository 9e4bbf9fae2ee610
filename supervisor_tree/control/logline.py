"""A line of a child's log as text for people: whose it is, and what it may do to a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from zlib import crc32

from supervisor_tree.control.words import clean

__all__ = ["log_line"]

_STREAM_WIDTH = len("stdout")
# Of the 256 colours of terminals, those that can be read on black and on white.
_PATH_SHADES = (27, 32, 35, 37, 64, 70, 72, 97, 99, 127, 130, 133, 136, 162, 166, 168, 172, 196)
_SGR = re.compile(r"(\x1b\[[0-9;:]*m|\t)")  # ECMA-48, 8.3.117


def log_line(line: Mapping[str, Any], *, whose: bool, terminal: bool, colour: bool = False) -> str:
    """One line of a child's log; `whose`: with its path, in `colour` in one of its own.

    `terminal`: what the child wrote may colour its own line, and do nothing else there.
    """
    path = ""
    if whose:
        shade = _PATH_SHADES[crc32(line["path"].encode("utf-8", "replace")) % len(_PATH_SHADES)]
        name = clean(line["path"])
        path = f" \x1b[38;5;{shade}m{name}\x1b[39m" if colour else f" {name}"
    text = _tamed(line["text"]) if terminal else line["text"]
    stream = line["stream"].ljust(_STREAM_WIDTH)
    return f"{line['ts']}{path} {stream} #{line['generation']} | {text}"


def _tamed(text: str) -> str:
    """Control characters as escapes, tabs and colours excepted; a colour ends with its line."""
    parts = _SGR.split(text)
    kept = "".join(part if at % 2 else clean(part) for at, part in enumerate(parts))
    return f"{kept}\x1b[0m" if "\x1b[" in kept else kept
