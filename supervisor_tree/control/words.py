"""The smaller words of rows and events: ends, times, sizes, and text that can do no harm.

Pure.  Text that a child has chosen (a path, an error) cannot move the cursor or begin a line
of its own: control characters are shown as escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = [
    "clean",
    "duration",
    "exit_words",
    "is_clean",
    "or_dash",
    "paint",
    "size",
    "term_words",
    "unmet_words",
]

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CLEAN = {"shutdown": "stopped", "normal": "ended normally"}
_UNMET = {
    "delay": "has not lived for its delay",
    "log": "has not written the line that shows it to be ready",
    "notify": "has not said that it is ready",
    "pattern": "cannot be ready, as looking for the line of its ready.log took too long",
    "tcp": "takes no connections at its port",
}


def exit_words(reason: Mapping[str, Any] | None) -> str:
    """Why a life ended, in a few words."""
    if not reason:
        return "unknown"
    term, number, code = reason.get("term"), reason.get("signal"), reason.get("code")
    if reason.get("watchdog"):
        by = clean(reason["watchdog"])
        return "ended as it asked for" if by == "trigger" else f"silent for too long ({by})"
    if reason.get("oom"):
        return "killed: out of memory"
    if isinstance(term, list | tuple) and term and term[0] in ("init", "start_error"):
        return term_words(term[1:])
    if reason.get("start_timeout") is not None:
        return f"not ready within its start_timeout of {duration(reason['start_timeout'])}"
    if number is not None:
        how = "stopped" if reason.get("kind") == "shutdown" else "killed"
        return f"{how} by {_signal_name(number)}"
    kind = str(reason.get("kind", "unknown"))
    if code is not None:
        return f"stopped, exit code {code}" if kind == "shutdown" else f"exit code {code}"
    if kind in _CLEAN:
        return _CLEAN[kind]
    return kind if term in (None, kind) else term_words(term)


def unmet_words(conditions: Sequence[str]) -> str:
    """What one that is not ready has not done."""
    return " and ".join(_UNMET[word] for word in conditions) or _UNMET["notify"]


def term_words(term: Any) -> str:
    """A reason of the core, which may be nested: its parts one after the other."""
    match term:
        case ("status" | "signal" as kind, int(number)) | [
            "status" | "signal" as kind,
            int(number),
        ]:
            return (
                f"exit code {number}" if kind == "status" else f"killed by {_signal_name(number)}"
            )
    if isinstance(term, list | tuple):
        return ": ".join(term_words(part) for part in term)
    return clean(term)


def duration(seconds: float) -> str:
    """`80 ms`, `3.2 s`, `4m05s`, `3h07m`, `12d04h`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count: int) -> str:
    """Bytes in the units of 1000 that the configuration uses: `950 B`, `6.1 MB`."""
    amount = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 999.5:
            return (
                f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.95 else f"{amount:.1f} {unit}"
            )
        amount /= 1000
    return f"{amount:.1f} TB"


def clean(text: Any) -> str:
    """`text` with control characters shown as escapes."""
    return _CONTROL.sub(lambda match: ascii(match.group())[1:-1], str(text))


def or_dash(value: Any, show: Callable[[Any], str] = str) -> str:
    """As `show` has it, `-` for what is not there."""
    return "-" if value is None else show(value)


def paint(text: str, name: str, colour: bool) -> str:
    """The text in a colour of the terminal, if colours are wanted."""
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if colour and name else text


def _signal_name(number: int) -> str:
    import signal  # noqa: PLC0415 - its enums cost each command that shows no death 1 ms

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def is_clean(reason: Any) -> bool:
    """Whether an end, as events carry it, was none of failure."""
    return isinstance(reason, Mapping) and reason.get("kind") in ("normal", "shutdown")
