"""How a verb prints: JSON for programs, lines for people, colour on a terminal only."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor_tree.errors import SupervisorTreeError

__all__ = ["colour", "complain", "dump", "say"]


def colour() -> bool:
    """Whether to paint what goes to standard output; see `coloured`."""
    from supervisor_tree.control.colour import coloured  # noqa: PLC0415 - `start` paints nothing

    return coloured(os.environ, terminal=sys.stdout.isatty())


def dump(value: Any, *, line: bool = False) -> None:
    """Print `value` as JSON: indented, or on one line that is sent off at once."""
    text = _json(value) if line else _json(value, indent=2)
    print(text, flush=line)


def _json(value: Any, indent: int | None = None) -> str:
    """With letters as they are, where whoever reads can have them."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(value, indent=indent, ensure_ascii=not utf8, default=repr)


def complain(error: SupervisorTreeError, *, as_json: bool) -> None:
    """Say on standard error what has failed: in lines, or as one line of JSON.

    The object is {"error": {type, message, exit_code, ...}}, see `SupervisorTreeError.facts`.
    """
    if as_json:
        print(json.dumps({"error": error.facts()}), file=sys.stderr)
        return
    for line in str(error).splitlines() or ["failed"]:
        print(f"supervisor-tree: {line}", file=sys.stderr)


def say(options: Namespace, value: Any, lines: Iterable[str]) -> None:
    """Print `value` under --json, `lines` otherwise."""
    if options.json:
        dump(value)
    else:
        for text in lines:
            print(text)
