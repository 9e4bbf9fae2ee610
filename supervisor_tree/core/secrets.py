"""What secrets look like: the patterns that are kept out of logs.

A pattern is a regular expression of Python's `re`.  The word `default` stands for `KNOWN`,
shapes of tokens that are widely used; none is in force unless it is asked for, as every
pattern costs time, and may hide what was none.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any

from supervisor_tree.core.values import shown

__all__ = ["DEFAULT", "KNOWN", "expanded", "redact_rule"]

DEFAULT = "default"
KNOWN = (
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS
    r"\bgh[oprsu]_[0-9A-Za-z]{36,255}",  # GitHub
    r"\bgithub_pat_[0-9A-Za-z_]{22,255}",
    r"\bglpat-[0-9A-Za-z_-]{20,255}",  # GitLab
    r"\bxox[abeoprs]-[0-9A-Za-z-]{10,255}",  # Slack
    r"\bsk-[0-9A-Za-z_-]{20,255}",  # OpenAI, Anthropic
    r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,255}",  # Stripe
    r"\bAIza[0-9A-Za-z_-]{35}",  # Google
    r"\beyJ[0-9A-Za-z_-]{8,4000}\.[0-9A-Za-z_-]{8,4000}\.[0-9A-Za-z_-]*",  # JWT, RFC 7519
    r"(?i)\b(?:bearer|basic) +[0-9a-z._~+/=-]{8,}",  # RFC 6750, RFC 7617
    r"(?<=://)[^\s/:@]{0,255}:[^\s/@]{1,255}(?=@)",  # RFC 3986, userinfo
    r"(?i)\b(?:password|passwd|passphrase|secret|token|api[_-]?key)['\"]? ?[=:] ?"
    r"(?:'[^']*'|\"[^\"]*\"|[^\s,;&'\"]+)",
)
_LONGEST = 400  # bytes of a pattern
_MOST = 50  # patterns


def redact_rule(value: Any) -> str | None:
    """What is wrong with a list of patterns; see `core.values`."""
    if not isinstance(value, list | tuple):
        return f"must be a list of patterns, or default, not {shown(value)}"
    if len(value) > _MOST:
        return f"must be at most {_MOST} patterns, not {len(value)}"
    for number, pattern in enumerate(value, 1):
        error = _pattern(pattern)
        if error is not None:
            return f"must be regular expressions; number {number}, {shown(pattern)}: {error}"
    return None


def _pattern(value: Any) -> str | None:
    if not isinstance(value, str):
        return "is no text"
    if not value or "\n" in value:
        return "is empty or has a line end, and a pattern is about one line"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if len(value.encode()) > _LONGEST:
                return f"is longer than {_LONGEST} bytes"
            compiled = re.compile(value)
    except re.error as error:
        return f"{error.msg} at position {error.pos}"
    except (Warning, UnicodeError, OverflowError, RecursionError) as error:
        return str(error)
    return "would find nothing in every line" if compiled.fullmatch("") else None


def expanded(patterns: Iterable[str]) -> tuple[str, ...]:
    """The patterns, each once, with the known ones where their word stands."""
    found: dict[str, None] = {}
    for pattern in patterns:
        found.update(dict.fromkeys(KNOWN if pattern == DEFAULT else (pattern,)))
    return tuple(found)
