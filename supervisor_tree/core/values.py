"""What a single value of a specification must be, however it has come: YAML, Python or JSON.

A rule returns None, or what is wrong as a text that follows the name of the key: "must be
true or false, not 'maybe'".  `config` reads people's spellings (`5s`, `20 MB`) before.
Numbers of time are seconds, those of size bytes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from supervisor_tree.core.patterns import check_path_pattern, check_topic_pattern
from supervisor_tree.core.specs import Shutdown

__all__ = [
    "LARGEST",
    "LONGEST_ID",
    "LONGEST_S",
    "Rule",
    "account",
    "agent_name",
    "child_id",
    "env_key",
    "flag",
    "number",
    "path_pattern",
    "path_text",
    "period",
    "plain_data",
    "regular_expression",
    "seconds",
    "shown",
    "shutdown",
    "signal_name",
    "tcp_target",
    "text",
    "topic_pattern",
    "whole",
    "word_of",
]

Rule: TypeAlias = Callable[[Any], str | None]

# Longer waits are a mistake, and larger numbers overflow the kernel's timers and rlimits.
LONGEST_S = 10 * 365 * 86400.0
LARGEST = 2**62
LONGEST_ID = 200  # a file of logs is named by it, and a name has at most 255 bytes

_DEEPEST_DATA = 32  # of `args`
_LONGEST_PATTERN = 1000

# Addresses, and the one name that needs no question to a name server, which might not answer.
_TCP = re.compile(
    r"(?:localhost|([0-9.]+)|\[([0-9a-f:.]+)\]):([0-9]{1,5})", re.ASCII | re.IGNORECASE
)

# The host sets these in a child's environment; nobody else may.
_OWNED_VARIABLES = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
_OWNED_PREFIXES = ("SUPERVISOR_TREE_", "LISTEN_")

# signal(7) on Linux.  The core asks no machine, and there is no other that we run on.
_SIGNALS = frozenset(
    {
        *("SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE"),
        *("SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT"),
        *("SIGCHLD", "SIGCONT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ"),
        *("SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS", "SIGRTMIN", "SIGRTMAX"),
        *("SIGCLD", "SIGIOT", "SIGPOLL"),
    }
)
_UNCATCHABLE = frozenset({"SIGKILL", "SIGSTOP"})


def shown(value: Any) -> str:
    """A value as an error text shows it: one short line, whatever it is."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge number"
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:56]}...{told[-1]}"


def tcp_target(value: Any) -> str | None:
    """A port of this machine, or where else to connect to."""
    if isinstance(value, int) and not isinstance(value, bool):
        return None if 0 < value <= 65535 else f"must be a port from 1 to 65535, not {shown(value)}"
    found = _TCP.fullmatch(value) if isinstance(value, str) else None
    if found and 0 < int(found[3]) <= 65535 and (found[1] is None or _is_ipv4(found[1])):
        return None
    return (
        "must be a port, or HOST:PORT with an address or localhost such as 127.0.0.1:8080 or "
        f"[::1]:8080, not {shown(value)}"
    )


def regular_expression(value: Any) -> str | None:
    """What Python's `re` can search for."""
    error = text(value)
    if error is not None:
        return error
    if not 0 < len(value) <= _LONGEST_PATTERN:
        return f"must have from 1 to {_LONGEST_PATTERN} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(value)
    except (re.error, Warning, OverflowError, RecursionError) as reason:
        return f"must be a regular expression: {reason}"
    return None


def flag(value: Any) -> str | None:
    """A bool."""
    return None if isinstance(value, bool) else f"must be true or false, not {shown(value)}"


def text(value: Any) -> str | None:
    """What a C string can hold and UTF-8 can write."""
    if not isinstance(value, str):
        return f"must be text, not {shown(value)}"
    if "\0" in value:
        return "must not contain a NUL character"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must be text that UTF-8 can write"
    return None


def path_text(value: Any) -> str | None:
    """Text that may name a file."""
    return 'must be a path, not ""' if value == "" else text(value)


def account(value: Any) -> str | None:
    """A user or a group, by name or by number."""
    error = text(value)
    if error is None and (not value or ":" in value or any(map(str.isspace, value))):
        return f"must be a name or a numeric id, not {shown(value)}"
    return error


def child_id(value: Any) -> str | None:
    """The name of a child among its siblings; it becomes a part of paths and of file names."""
    if not isinstance(value, str):
        return f"must be a name such as greeter or bot-1, not {shown(value)}"
    if value == "_":
        return "must not be _, which is the name of the host's own processes"
    if not value.isascii() or not value[:1].isalnum() or not _is_word(value):
        return (
            "must begin with a letter or a digit and go on with letters, digits, '.', '_' or '-', "
            f"not {shown(value)}"
        )
    if len(value) > LONGEST_ID:
        return f"must have at most {LONGEST_ID} characters, not {len(value)}"
    return None


def agent_name(value: str) -> str | None:
    """`module:name`, both possibly dotted."""
    parts = value.split(":")
    if len(parts) == 2 and all(word.isidentifier() for part in parts for word in part.split(".")):
        return None
    return f"must be module:name such as examples.greeter:Greeter, not {shown(value)}"


def env_key(value: Any) -> str | None:
    """The name of a variable that is not the host's."""
    if not isinstance(value, str) or not value or "=" in value or "\0" in value:
        return f"must be the name of a variable, without '=', not {shown(value)}"
    if value in _OWNED_VARIABLES or value.startswith(_OWNED_PREFIXES):
        return "belongs to the host, which sets it for every child; leave it out"
    return text(value)


def signal_name(value: Any) -> str | None:
    """`SIGTERM` and the like."""
    if isinstance(value, str) and value in _UNCATCHABLE:
        return (
            f"must be a signal that a child can act on, not {value}; "
            "to kill at once, write shutdown: brutal_kill"
        )
    if isinstance(value, str) and value in _SIGNALS:
        return None
    return f"must be the name of a signal such as SIGTERM, not {shown(value)}"


def seconds(value: Any) -> str | None:
    """0 or more, and neither nan nor infinite."""
    if not _is_number(value) or not value >= 0:  # also false for nan
        return f"must be a number of seconds of 0 or more, not {shown(value)}"
    return None if value <= LONGEST_S else f"must be at most ten years, not {shown(value)}"


def period(value: Any) -> str | None:
    """More than 0 seconds."""
    return "must be more than 0" if _is_number(value) and value == 0 else seconds(value)


def shutdown(value: Any) -> str | None:
    """Seconds, or one of OTP's two words (`specs.Shutdown`)."""
    words: tuple[Shutdown, ...] = ("brutal_kill", "infinity")
    if isinstance(value, str):
        known = value in words
        return None if known else f"must be seconds, brutal_kill or infinity, not {shown(value)}"
    return seconds(value)


def path_pattern(value: Any) -> str | None:
    """A pattern over paths (`core.patterns`)."""
    return _pattern(value, check_path_pattern, "paths such as /chat/bot, /chat/*, /chat/> or >")


def topic_pattern(value: Any) -> str | None:
    """A pattern over topics (`core.patterns`)."""
    return _pattern(value, check_topic_pattern, "topics such as news.sport, news.*, news.> or >")


def whole(least: int, most: int | None = None) -> Rule:
    """Integers from `least` to `most`."""
    limits = f"from {least} to {most}" if most is not None else f"of {least} or more"
    largest = LARGEST if most is None else most

    def rule(value: Any) -> str | None:
        exact = isinstance(value, int) and not isinstance(value, bool)
        if exact and least <= value <= largest:
            return None
        return f"must be a whole number {limits}, not {shown(value)}"

    return rule


def number(least: float, most: float) -> Rule:
    """Numbers from `least` to `most`."""

    def rule(value: Any) -> str | None:
        if _is_number(value) and least <= value <= most:  # false for nan
            return None
        return f"must be a number from {least:g} to {most:g}, not {shown(value)}"

    return rule


def word_of(words: Iterable[str]) -> Rule:
    """One of `words`."""
    known = tuple(str(word) for word in words)
    *others, last = known

    def rule(value: Any) -> str | None:
        if isinstance(value, str) and value in known:
            return None
        return f"must be {', '.join(others)} or {last}, not {shown(value)}"

    return rule


def plain_data(value: Any, depth: int = 0) -> str | None:
    """What can travel to another process as it is: text, bytes, numbers, lists and mappings."""
    if value is None or isinstance(value, bool | float | bytes):
        return None
    if isinstance(value, str):
        return (
            None if text(value.replace("\0", "")) is None else "must be text that UTF-8 can write"
        )
    if isinstance(value, int):
        fits = -(2**63) <= value < 2**64
        return None if fits else f"must fit into 64 bits, which {shown(value)} does not"
    if depth >= _DEEPEST_DATA:
        return "is nested too deep"
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            return "must have text as keys"
        value = list(value.values())
    if isinstance(value, list | tuple):
        errors = (plain_data(item, depth + 1) for item in value)
        return next((error for error in errors if error is not None), None)
    return f"must be plain data (text, numbers, lists, mappings), not {shown(value)}"


def _pattern(value: Any, check: Callable[[str], str], what: str) -> str | None:
    error = text(value)
    if error is not None:
        return error
    try:
        check(value)
    except ValueError as reason:
        return f"must be a pattern of {what}: {reason}"
    return None


def _is_ipv4(value: str) -> bool:
    parts = value.split(".")
    return len(parts) == 4 and all(0 < len(part) < 4 and int(part) < 256 for part in parts)


def _is_word(value: str) -> bool:
    return all(letter.isalnum() or letter in "._-" for letter in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
