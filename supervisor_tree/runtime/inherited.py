"""What the service manager that has started this process gave it.

NOTIFY_SOCKET (sd_notify(3)), WATCHDOG_USEC and WATCHDOG_PID (sd_watchdog_enabled(3)),
LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES (sd_listen_fds(3)).  All of it is for this process
alone, so it is taken out of the environment before anything else is started.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

from supervisor_tree.notify import Notifier

__all__ = ["LISTEN_FDS_START", "Inherited"]

LISTEN_FDS_START = 3  # SD_LISTEN_FDS_START
_NAMELESS = "unknown"  # sd_listen_fds_with_names(3)
_KEYS = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"),
)


@dataclass(frozen=True, slots=True)
class Inherited:
    """Parts that were not given, or not to this process, are absent.

    `watchdog_s` is how long the manager waits for WATCHDOG=1.  `sockets` has descriptors by
    name, in the order in which they were passed.  `problems` says what could not be used.
    """

    notifier: Notifier = field(default_factory=lambda: Notifier(None))
    watched: bool = False  # somebody listens to `notifier`
    watchdog_s: float | None = None
    sockets: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @classmethod
    def take(
        cls, environ: MutableMapping[str, str], pid: int, *, embedded: bool = False
    ) -> Inherited:
        """Take it out of `environ` for the process `pid`, which is this one.

        `embedded`: the program that has started us is the service, so that only it may speak.
        """
        given = {key: environ.pop(key) for key in _KEYS if key in environ}
        problems: list[str] = []
        sockets = _sockets(given, pid, problems)
        address = None if embedded else given.get("NOTIFY_SOCKET")
        return cls(
            notifier=Notifier(address),
            watched=bool(address),
            watchdog_s=None if embedded else _watchdog(given, pid, problems),
            sockets=sockets,
            problems=tuple(problems),
        )


def _watchdog(given: Mapping[str, str], pid: int, problems: list[str]) -> float | None:
    written = given.get("WATCHDOG_USEC")
    if written is None or given.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = _number(written)
    if not microseconds:
        problems.append(f"WATCHDOG_USEC is no number of microseconds: {written!r:.40}")
        return None
    return microseconds / 1e6


def _sockets(
    given: Mapping[str, str], pid: int, problems: list[str]
) -> Mapping[str, tuple[int, ...]]:
    written = given.get("LISTEN_FDS")
    if written is None or given.get("LISTEN_PID") != str(pid):
        return {}
    count = _number(written)
    if count is None:
        problems.append(f"LISTEN_FDS is no number: {written!r:.40}")
        return {}
    names = given["LISTEN_FDNAMES"].split(":") if given.get("LISTEN_FDNAMES") else []
    found: dict[str, tuple[int, ...]] = {}
    for place in range(count):
        fd = LISTEN_FDS_START + place
        try:
            os.set_inheritable(fd, False)
        except OSError:
            problems.append(f"LISTEN_FDS says {count}, but descriptor {fd} is not open")
            break
        name = names[place] if place < len(names) else _NAMELESS
        found[name] = (*found.get(name, ()), fd)
    return found


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
