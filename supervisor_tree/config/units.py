"""Durations and sizes as people write them: `250ms`, `5s`, `2m`, `1h`, `30d`, `infinity`; `20 MB`.

A duration is seconds (float, `math.inf` for `infinity`), a size is bytes (int).  KB, MB, GB
are powers of 1000, KiB, MiB, GiB powers of 1024 (IEC 80000-13).  A bare number is accepted
as seconds or bytes.  Errors are `ValueError` with a text for an operator.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from supervisor_tree.core.values import LARGEST, LONGEST_S, shown

__all__ = [
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_size",
]

DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s?([A-Za-z]+)", re.ASCII)


def parse_duration(value: Any, *, infinity: bool = False) -> float:
    """Seconds, 0 or more; `math.inf` for the word `infinity` if `infinity` allows it."""
    expected = "a duration such as 250ms, 5s, 2m, 1h or 30d" + (
        " (or infinity)" if infinity else ""
    )
    if value == "infinity":
        if infinity:
            return math.inf
        raise ValueError(f"must be {expected}, not infinity")
    if isinstance(value, str):
        if not (found := _DURATION.fullmatch(value.strip())):
            raise ValueError(f"must be {expected}, not {shown(value)}")
        # A division keeps 1ms..999ms equal to the literal 0.001..0.999; a product would not.
        number = float(found[1])
        seconds = number / 1000 if found[2] == "ms" else number * DURATION_UNITS_S[found[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = _as_float(value)
    else:
        raise ValueError(f"must be {expected}, not {shown(value)}")
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"must be {expected}, not {shown(value)}")
    if seconds > LONGEST_S:
        raise ValueError(f"must be at most ten years, not {shown(value)}")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest spelling that `parse_duration` reads back as the same number."""
    if math.isinf(seconds):
        return "infinity"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    milliseconds = round(seconds * 1000)
    if seconds and milliseconds / 1000 == seconds:
        return f"{milliseconds}ms"
    return f"{Decimal(repr(seconds)).normalize():f}s"


def parse_size(value: Any) -> int:
    """Bytes, 0 or more."""
    expected = "a size such as 64 KB, 20 MB, 1 GB or 512 MiB"
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str):
        text = value.strip()
        found = _SIZE.fullmatch(text)
        if text.isascii() and text.isdigit() and len(text) < 20:
            size = int(text)
        elif found and found[2].upper() in SIZE_UNITS:
            size = int(Decimal(found[1]) * SIZE_UNITS[found[2].upper()])
        else:
            raise ValueError(f"must be {expected}, not {shown(value)}")
    else:
        raise ValueError(f"must be {expected}, not {shown(value)}")
    if size < 0:
        raise ValueError(f"must be {expected}, not {shown(value)}")
    if size > LARGEST:
        raise ValueError(f"is too large: {shown(value)}")
    return size


def format_size(size: int) -> str:
    """The shortest spelling that `parse_size` reads back as the same number."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]} {unit}"
    return f"{size} B"


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf
