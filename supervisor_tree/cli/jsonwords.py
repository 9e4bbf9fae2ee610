"""Messages of the bus as JSON: what a user types, and what is shown of an answer."""

from __future__ import annotations

import json
import math
import sys
from typing import Any, NoReturn

from supervisor_tree.errors import UsageError

__all__ = ["plain", "read_message"]


def read_message(text: str) -> Any:
    """The value of a JSON argument; "-" is standard input.  Raises UsageError with the place."""
    try:
        data: str | bytes = sys.stdin.buffer.read() if text == "-" else text
        return json.loads(data, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        hint = "" if text == "-" else "; a text needs quotes of its own: '\"hello\"'"
        raise UsageError(f"this is not JSON: {error.msg} at {where}{hint}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"this is not JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise UsageError("this JSON is nested too deep") from None


def _refuse(word: str) -> NoReturn:
    raise UsageError(f"this is not JSON: {word} is not a number")


def plain(value: Any) -> Any:
    """A message with what JSON has no form for as text: bytes, and numbers that are none.

    So is one that is nested too deep for JSON to be written.
    """
    try:
        found = _plain(value)
        json.dumps(found)
    except RecursionError:
        return "(nested too deep to be shown)"
    return found


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {
                key if isinstance(key, str) else str(_plain(key)): _plain(item)
                for key, item in value.items()
            }
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return repr(value)
