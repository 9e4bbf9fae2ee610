"""What must not be read in a report or over somebody's shoulder: values under telling names.

A name tells when it contains one of the usual words for a secret.  Nobody can know all
secrets by their names; so what looks like one of the known kinds of token, or is a password in
an address, is hidden as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from supervisor_tree.core.secrets import KNOWN

__all__ = ["HIDDEN", "is_secret", "redacted"]

HIDDEN = "(redacted)"

_TELLING = re.compile(
    r"token|secret|passw|passphrase|credential|private|cookie|authorization|key|dsn", re.IGNORECASE
)
_FLAG = re.compile(r"(--?[\w-]+|\w+)(=)?(.*)", re.DOTALL)  # --token=x, --token x, TOKEN=x


def is_secret(name: str) -> bool:
    """Whether what stands under this name is likely to be a secret."""
    return _TELLING.search(name) is not None


def redacted(value: Any, name: str = "") -> Any:
    """Plain data with the values under telling names replaced, and what looks like a secret.

    Of a list of words (a command), the word after `--token`, and what stands after `token=`.
    """
    match value:
        case Mapping():
            return {key: redacted(item, str(key)) for key, item in value.items()}
        case str() if name and is_secret(name) and value:
            return HIDDEN
        case str():
            return _without_known(value)
        case bytes() | int() | float() if name and is_secret(name) and value is not True:
            return HIDDEN
        case list() | tuple() if all(isinstance(item, str) for item in value):
            return [HIDDEN] * len(value) if name and is_secret(name) else _words(value)
        case list() | tuple():
            return [redacted(item, name) for item in value]
        case _:
            return value


_SHORTEST = 10  # characters of what is worth a look


def _without_known(text: str) -> str:
    for shape in _known_shapes() if len(text) >= _SHORTEST else ():
        text = shape.sub(HIDDEN, text)
    return text


@cache
def _known_shapes() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in KNOWN)


def _words(words: Sequence[str]) -> list[str]:
    hidden: list[str] = []
    follows = False
    for word in words:
        match = _FLAG.fullmatch(word)
        told = match is not None and is_secret(match[1])
        if follows and not word.startswith("-"):
            hidden.append(HIDDEN)
        elif match is not None and told and match[2]:
            hidden.append(f"{match[1]}={HIDDEN}")
        else:
            hidden.append(redacted(word))
        follows = told and word.startswith("-") and not (match is not None and match[2])
    return hidden
