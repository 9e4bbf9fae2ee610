"""Names with wildcards: topics (`a.b.c`) and the patterns over them, paths and theirs.

One word of a pattern may be `*`, which stands for exactly one word; the last may be `>`,
which stands for all the rest, one word at least.  (These are the wildcards of NATS subjects.)
Paths have the same patterns with `/` between the words: `/chat/*`, `/chat/>`, `/>`; the
pattern `>` alone means every path, the root included.  A path of another host begins with the
host's name and a colon, and so does a pattern over such paths: `other:/chat/*`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

__all__ = [
    "check_path_pattern",
    "check_topic",
    "check_topic_pattern",
    "path_matches",
    "path_matches_any",
    "topic_matches",
    "topic_pattern_within",
]

_LONGEST = 255  # bytes, of a topic or a pattern


@lru_cache(maxsize=4096)
def check_topic(topic: str) -> str:
    """The topic itself.  Raises ValueError, saying what is wrong, if none can be named so."""
    for word in _words(topic, ".", "topic"):
        if word in ("*", ">"):
            raise ValueError(f"{topic!r} is no topic: {word} belongs into patterns")
    return topic


def check_topic_pattern(pattern: str) -> str:
    """The pattern itself.  Raises ValueError, saying what is wrong."""
    _check_wildcards(pattern, _words(pattern, ".", "topic pattern"))
    return pattern


def check_path_pattern(pattern: str) -> str:
    """The pattern over paths itself.  Raises ValueError, saying what is wrong."""
    if pattern in (">", "/"):
        return pattern
    host, colon, path = pattern.partition(":")
    if not (colon and host and "/" not in host):
        path = pattern
    if not path.startswith("/"):
        raise ValueError(f"{pattern!r} is no path pattern: it must begin with / or name:/, or be >")
    _check_wildcards(pattern, _words(path[1:], "/", "path pattern"))
    return pattern


@lru_cache(maxsize=4096)
def topic_matches(pattern: str, topic: str) -> bool:
    """True if the topic is one of the pattern's.  Both are taken to be valid."""
    return _match(pattern.split("."), topic.split("."))


def topic_pattern_within(asked: str, allowed: str) -> bool:
    """True if every topic of the pattern `asked` is one of `allowed`'s.  Both are valid."""
    words, room = asked.split("."), allowed.split(".")
    for n, word in enumerate(words):
        if n >= len(room):
            return False
        if room[n] == ">":
            return True
        if word == ">" or (room[n] != "*" and room[n] != word):
            return False
    return len(words) == len(room)


@lru_cache(maxsize=4096)
def path_matches(pattern: str, path: str) -> bool:
    """True if the path is one of the pattern's.  Both are taken to be valid."""
    if pattern in (">", path):
        return True
    host, words = _host_and_words(path)
    wanted_host, wanted = _host_and_words(pattern)
    return host == wanted_host and words != [""] and _match(wanted, words)


def path_matches_any(patterns: Iterable[str], path: str) -> bool:
    """True if one of the patterns has this path."""
    return any(path_matches(pattern, path) for pattern in patterns)


def _host_and_words(path: str) -> tuple[str, list[str]]:
    host, _, words = path.partition("/")
    return host, words.split("/")


def _words(name: str, separator: str, what: str) -> list[str]:
    if not name:
        raise ValueError(f"a {what} must not be empty")
    if len(name.encode("utf-8", "replace")) > _LONGEST:
        raise ValueError(f"a {what} has at most {_LONGEST} bytes: {name[:40]!r}...")
    words = name.split(separator)
    for word in words:
        if not word:
            raise ValueError(f"{name!r} is no {what}: it has an empty word")
        if not word.isprintable() or any(letter.isspace() for letter in word):
            raise ValueError(f"{name!r} is no {what}: {word!r} has letters that cannot be shown")
    return words


def _check_wildcards(pattern: str, words: list[str]) -> None:
    for number, word in enumerate(words, 1):
        if word == ">" and number < len(words):
            raise ValueError(f"{pattern!r}: > stands for all the rest, so it must come last")
        if word not in ("*", ">") and ("*" in word or ">" in word):
            raise ValueError(f"{pattern!r}: a wildcard is a word of its own, {word!r} is not")


def _match(pattern: list[str], words: list[str]) -> bool:
    for n, wanted in enumerate(pattern):
        if wanted == ">":
            return len(words) > n
        if n >= len(words) or (wanted != "*" and wanted != words[n]):
            return False
    return len(words) == len(pattern)
