"""Which version this is: a constant, as looking it up takes longer than most verbs."""

from __future__ import annotations

__all__ = ["VERSION"]

VERSION = "0.1.0"
