"""The verbs `stats` and `top`: what each child uses, counted over its whole scope."""

from __future__ import annotations

import os
import select
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor_tree.cli.connecting import connect
from supervisor_tree.cli.output import colour, dump, say
from supervisor_tree.control.client import ControlClient
from supervisor_tree.control.render import table
from supervisor_tree.control.scopes import Process, count_descriptors, look, read_pss
from supervisor_tree.control.words import clean, duration, size
from supervisor_tree.runtime.logs.book import file_of
from supervisor_tree.runtime.logs.sizes import log_sizes

__all__ = ["stats", "top"]

_NEVER_CLOSES = 3600.0
_CLEAR = "\x1b[H\x1b[2J"  # ECMA-48: cursor home, erase display
_SUMS = ("processes", "rss_bytes", "pss_bytes", "cpu_percent", "descriptors", "log_bytes")


def stats(options: Namespace) -> int:
    """`stats [PATH] [--all] [--pss]`"""
    with connect(options) as client:
        rows = _Sampler(client, options).sample()
    say(options, rows, _lines(rows, pss=options.pss))
    return 0


def top(options: Namespace) -> int:
    """`top [PATH]`: until Ctrl-C or the host's end; the busiest first, CPU of the last interval."""
    terminal = sys.stdout.isatty()
    with connect(options) as client:
        sampler = _Sampler(client, options)
        sampler.sample()
        shown = 0
        while options.count is None or shown < options.count:
            _pause(options.interval)
            rows = sampler.sample()
            rows.sort(key=lambda row: (-(row["cpu_percent"] or 0), -(row["rss_bytes"] or 0)))
            lines = _lines(rows, pss=options.pss)
            if terminal and not options.json:
                room = os.get_terminal_size().lines - 1
                print(_CLEAR, end="")
                lines = lines[:room]
            if options.json:
                dump(rows, line=True)
            else:
                print("\n".join(lines), flush=True)
            shown += 1
    return 0


def _pause(seconds: float) -> None:
    """Wait; whoever reads standard output and goes away ends it at once."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # POLLERR and POLLHUP are always told, poll(2)
    if poll.poll(min(seconds, _NEVER_CLOSES) * 1000):
        raise BrokenPipeError


class _Sampler:
    """Asks one host again and again."""

    def __init__(self, client: ControlClient, options: Namespace) -> None:
        self._client = client
        self._options = options
        self._cpu_s: dict[tuple[str, int], float] = {}  # of a life, the last time
        self._at: float | None = None

    def sample(self) -> list[dict[str, Any]]:
        """One row per child, supervisors with the sums of what is below them."""
        host = self._client.request("ping")
        rows = self._client.request("status", {"path": "/", "all": True})
        if self._options.all:
            rows += _own_rows(host)
        scopes = look().scopes(rows, host)
        sizes = log_sizes(host["log_dir"])
        now = time.monotonic()
        elapsed_s = None if self._at is None else now - self._at
        cpu_s: dict[tuple[str, int], float] = {}
        result = []
        for row in self._wanted(rows):
            processes = scopes.get(row["path"], [])
            life = (row["path"], row["generation"])
            cpu_s[life] = sum(process.cpu_s for process in processes)
            used_s, over_s = cpu_s[life], max((each.age_s for each in processes), default=0.0)
            if elapsed_s is not None and life in self._cpu_s:
                used_s, over_s = max(0.0, used_s - self._cpu_s[life]), elapsed_s
            cpu = round(100 * used_s / over_s, 1) if processes and over_s else None
            log_bytes = sizes.get(file_of(host["log_dir"], _log_of(row)), 0)
            result.append(_row(row, processes, cpu, log_bytes, pss=self._options.pss))
        self._cpu_s, self._at = cpu_s, now
        return _with_sums(result)

    def _wanted(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        path = "/" + (self._options.path or "").strip("/")
        if path == "/":
            return [row for row in rows if self._options.all or not _is_own(row["path"])]
        found = [row for row in rows if f"{row['path']}/".startswith(f"{path}/")]
        if not found:
            self._client.request("status", {"path": path})  # which knows best why
        return found


def _is_own(path: str) -> bool:
    return path == "/_" or path.startswith("/_/")


_ROOT, _SPAWNER = "/_/root", "/_/spawner"


def _own_rows(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The two processes of a host that are nobody's children in the tree."""
    common = {"kind": "host", "state": "running", "generation": 1, "restarts": 0}
    own = [(_ROOT, host["pid"], host["uptime_s"]), (_SPAWNER, host["spawner_pid"], None)]
    return [
        {"path": path, "pid": pid, "uptime_s": uptime_s, **common}
        for path, pid, uptime_s in own
        if pid
    ]


def _log_of(row: Mapping[str, Any]) -> str:
    """The path whose log file is a row's: the root writes the host's own."""
    if row["path"] == _ROOT:
        return "/"
    return str(row["path"])


def _row(
    row: Mapping[str, Any],
    processes: Sequence[Process],
    cpu_percent: float | None,
    log_bytes: int,
    *,
    pss: bool,
) -> dict[str, Any]:
    pids = [process.pid for process in processes]
    memory = sum(process.rss_bytes for process in processes)
    keys = ("path", "kind", "state", "pid", "generation", "restarts", "uptime_s")
    return {key: row[key] for key in keys} | {
        "processes": len(pids),
        "rss_bytes": memory if pids else None,
        "pss_bytes": sum(read_pss(pid) or 0 for pid in pids) if pss and pids else None,
        "cpu_percent": cpu_percent,
        "descriptors": sum(count_descriptors(pid) or 0 for pid in pids) if pids else None,
        "log_bytes": 0 if row["kind"] == "supervisor" else log_bytes,
    }


def _with_sums(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each supervisor gets the sums of all children below it that are among the rows."""
    totals = {row["path"]: row for row in rows if row["kind"] == "supervisor"}
    for row in rows:
        if row["kind"] == "supervisor":
            continue
        above = row["path"]
        while above != "/":
            above = above.rpartition("/")[0] or "/"
            total = totals.get(above)
            if total is not None and (above != "/" or not _is_own(row["path"])):
                for key in _SUMS:
                    if row[key] is not None:
                        total[key] = round((total[key] or 0) + row[key], 1)
    return rows


_HEADINGS = ("PATH", "STATE", "PROCS", "MEMORY", "CPU", "FDS", "UPTIME", "RESTARTS", "LOG")


def _lines(rows: Sequence[Mapping[str, Any]], *, pss: bool) -> list[str]:
    headings = (*_HEADINGS[:4], "PSS", *_HEADINGS[4:]) if pss else _HEADINGS
    cells = [_cells(row, pss=pss) for row in rows]
    return table(headings, cells, right=headings[2:], colour=colour()) if cells else ["no children"]


def _cells(row: Mapping[str, Any], *, pss: bool) -> tuple[str, ...]:
    cpu = row["cpu_percent"]
    return (
        clean(row["path"]),
        row["state"],
        str(row["processes"]),
        _or_dash(row["rss_bytes"], size),
        *((_or_dash(row["pss_bytes"], size),) if pss else ()),
        "-" if cpu is None else f"{cpu:.1f}%",
        _or_dash(row["descriptors"], str),
        _or_dash(row["uptime_s"], duration),
        str(row["restarts"]),
        size(row["log_bytes"]),
    )


def _or_dash(value: Any, show: Callable[[Any], str]) -> str:
    return "-" if value is None else show(value)
