"""How a verb prints: JSON for programs, lines for people, colour on a terminal only."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

__all__ = ["colour", "dump", "say"]


def colour() -> bool:
    """True on a terminal, unless NO_COLOR is set (no-color.org) or the terminal is dumb."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def dump(value: Any, *, line: bool = False) -> None:
    """Print `value` as JSON: indented, or on one line that is sent off at once."""
    if line:
        print(json.dumps(value, ensure_ascii=False, default=repr), flush=True)
    else:
        print(json.dumps(value, indent=2, ensure_ascii=False, default=repr))


def say(options: Namespace, value: Any, lines: Iterable[str]) -> None:
    """Print `value` under --json, `lines` otherwise."""
    if options.json:
        dump(value)
    else:
        for text in lines:
            print(text)
