"""What is worth a diagnostic report, and what stands in one.

A report is made of what is known anyway: the core's picture, the last events, the end of
the child's log file, what the kernel counts of this process.  Everything has a bound.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor_tree.control.events import rfc3339
from supervisor_tree.control.redaction import redacted
from supervisor_tree.control.render import event_line
from supervisor_tree.control.rows import explanation_data, is_missing, row_data, story_data
from supervisor_tree.core.explanation import explain
from supervisor_tree.core.specdata import to_data
from supervisor_tree.files import open_regular
from supervisor_tree.runtime.builds import BUILDS
from supervisor_tree.runtime.chronicle import Chronicle
from supervisor_tree.runtime.desk import Desk
from supervisor_tree.runtime.logs.book import file_of, parse_line
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.reports import Reports
from supervisor_tree.version import VERSION

__all__ = ["Reporter", "kind_of"]

_LOGGER_CATCHES_UP_S = 0.3  # the child's last lines are in its file by then
_PERIOD_S = 60.0  # for one report of a kind and a child
_MOST_CRASHES = 6  # in a period, of all children together: twenty reports are kept
_EVENTS = 60
_ROWS = 100
_LOG_BYTES = 64 * 1024
_LOG_LINES = 200
_SYSTEM_BYTES = 8192


class Reporter:
    """Of one host.  An error of a report's own is told, and costs that report alone."""

    def __init__(
        self,
        desk: Desk,
        reactor: Reactor,
        reports: Reports,
        chronicle: Chronicle,
    ) -> None:
        self._desk = desk
        self._reactor = reactor
        self._reports = reports
        self._chronicle = chronicle
        self._recent: dict[tuple[str, str], float] = {}  # kind and path -> when
        self._pending: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._passed_over = 0

    def heard(self, record: Mapping[str, Any]) -> None:
        """An event has been published: is it worth a report, and is there room for one?"""
        kind = kind_of(record)
        if kind is None:
            return
        key, now = (kind, _whose(record)), self._desk.now()
        self._recent = {each: at for each, at in self._recent.items() if at > now - _PERIOD_S}
        crashes = sum(each[0] == "crash" for each in self._recent)
        if key in self._recent or (kind == "crash" and crashes >= _MOST_CRASHES):
            self._passed_over += 1
            return
        self._recent[key] = now
        self._pending[key] = record
        self._reactor.call_in(("report", *key), _LOGGER_CATCHES_UP_S, lambda: self._due(key))

    def write(
        self, kind: str, what: str, path: str = "/", event: Mapping[str, Any] | None = None
    ) -> Path | None:
        """Write a report now; its file, or None if it could not be written.

        `what` may be empty if there is an event.  Raises nothing: it is called where the host ends.
        """
        try:
            content = self._content(kind, what, path, event)
            file = self._reports.write(content, self._desk.wall())
        except Exception as error:
            self._reports.lose(repr(error))
            self._chronicle.fault(error)
            file = None
        if file is None:
            self._chronicle.tell(f"a report ({kind}, {path}) is lost: {self._reports.problem}")
        elif kind != "asked":
            self._chronicle.say(f"report written: {file}")
        return file

    def flush(self) -> None:
        """The host is about to end: what was to be written soon is written now."""
        for key in list(self._pending):
            self._due(key)

    def _due(self, key: tuple[str, str]) -> None:
        record = self._pending.pop(key, None)
        if record is not None:
            self.write(key[0], "", key[1], record)

    # --- what stands in one ----------------------------------------------------------------

    def _content(
        self, kind: str, what: str, path: str, event: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        desk = self._desk
        if not what and event is not None:
            what = event_line(event, clock=False)
        passed_over, self._passed_over = self._passed_over, 0
        return {
            "report": 1,
            "kind": kind,
            "time": rfc3339(desk.wall()),
            "path": path,
            "what": " ".join(what.split()),
            "event": None if event is None else redacted(event),
            "versions": _versions(),
            "host": {**desk.facts(), "phase": desk.phase},
            "root": _self_facts(),
            "system": _system(desk.facts()["state_dir"]),
            "child": self._child(path),
            "tree": self._rows(path),
            "events": self._events(path),
            "log": _last_lines(desk.facts()["log_dir"], path),
            "passed_over": passed_over,  # events that had no report of their own since the last
        }

    def _child(self, path: str) -> dict[str, Any]:
        desk = self._desk
        now, wall = desk.now(), desk.wall()
        row, spec = desk.tree.row(path), desk.tree.spec(path)
        found = explain(desk.tree, path, now)
        return {
            "spec": None if spec is None else redacted(to_data(spec)),
            "explanation": None if found is None else explanation_data(found, now),
            "said": desk.said(path),
            "since_s": None if row is None else round(now - row.since, 3),
            "error": None if row is None else row.error,
            "story": story_data(desk.tree, path, now, wall),
        }

    def _rows(self, path: str) -> list[dict[str, Any]]:
        """The child, what is above it, and the first of those that are not as they should be."""
        rows = self._desk.tree.rows("/")
        near = [row for row in rows if f"{path}/".startswith(f"{row.path.rstrip('/')}/")]
        missing = [row for row in rows if is_missing(row) and row not in near]
        return [row_data(row, self._desk.now()) for row in (*near, *missing[:_ROWS])]

    def _events(self, path: str) -> list[Mapping[str, Any]]:
        """The last of all, and of this child before them."""
        kept = self._desk.log.last(2000)
        last = kept[-_EVENTS:]
        own = [event for event in kept[:-_EVENTS] if event["path"] == path]
        return [redacted(event) for event in (*own[-_EVENTS:], *last)]


def kind_of(record: Mapping[str, Any]) -> str | None:
    """`watchdog`, `crash` or `intensity`; None for what is no reason for a report."""
    name, path = record["event"], str(record["path"])
    if name == "intensity_reached":
        return "intensity"
    if name != "child_exited" or record.get("kind") == "supervisor":
        return None
    reason = record.get("reason") or {}
    if reason.get("watchdog"):
        return "watchdog"
    failed = reason.get("kind") == "abnormal" and not record.get("asked")
    return "crash" if failed and not path.startswith(("/_/clients", BUILDS)) else None


def _whose(record: Mapping[str, Any]) -> str:
    """The child that an event is about: a supervisor tells of its own."""
    path = str(record["path"])
    return path if "child" not in record else f"{path.rstrip('/')}/{record['child']}"


def _versions() -> dict[str, str]:
    system = os.uname()
    return {
        "supervisor_tree": VERSION,
        "python": sys.version.split()[0],
        "kernel": f"{system.sysname} {system.release}",
        "machine": system.machine,
    }


def _self_facts() -> dict[str, Any]:
    """What the kernel counts of the root, getrusage(2); to look at `descriptors` takes one more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    descriptors: int | None = None
    with contextlib.suppress(OSError):
        descriptors = len(os.listdir("/proc/self/fd")) - 1  # one of them is for this look
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "max_rss_bytes": used.ru_maxrss * 1024,
        "descriptors": descriptors,
        "descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def _system(directory: str) -> dict[str, Any]:
    memory = {}
    for line in _read("/proc/meminfo", 0).splitlines():
        name, _, value = line.partition(":")
        if name in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree"):
            memory[name] = int(value.split()[0]) * 1024
    free: int | None = None
    with contextlib.suppress(OSError):
        found = os.statvfs(directory)
        free = found.f_bavail * found.f_frsize
    load: list[float] | None = None
    with contextlib.suppress(OSError):
        load = list(os.getloadavg())
    return {"load": load, "memory_bytes": memory, "free_disk_bytes": free}


def _last_lines(log_dir: str, path: str) -> list[dict[str, object]]:
    """The end of a child's live log file, or of the host's own."""
    lines = _read(file_of(log_dir, path), _LOG_BYTES).split("\n")
    parsed = (parse_line(line) for line in lines[-_LOG_LINES:])
    return [{**line.to_json(), "text": redacted(line.text)} for line in parsed if line is not None]


def _read(file: str, tail_bytes: int) -> str:
    """Its end, or its beginning if `tail_bytes` is 0; whatever is no file holds nobody up."""
    try:
        fd = open_regular(file)
    except OSError:
        return ""
    with open(fd, "rb") as opened:
        if tail_bytes:
            opened.seek(max(0, os.fstat(fd).st_size - tail_bytes))
        return opened.read(tail_bytes or _SYSTEM_BYTES).decode("utf-8", "backslashreplace")
