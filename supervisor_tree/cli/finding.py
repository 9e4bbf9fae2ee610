"""What a check of `doctor` has found."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Finding"]


class Finding(NamedTuple):
    """`result` is ok, warn or fail; `advice` says what to do about one that is not ok."""

    check: str
    result: str
    message: str
    advice: str = ""
