"""`logs`: the log files, read where they are.

The host only says where they are and whether there is such a child; the lines do not pass
through it, and with --log-dir it need not run.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import merge
from itertools import chain

from supervisor_tree.cli.connecting import connect, note
from supervisor_tree.cli.former import former_host
from supervisor_tree.cli.output import colour, dump
from supervisor_tree.config.directories import resolve_run_dir
from supervisor_tree.config.units import parse_duration
from supervisor_tree.control.logline import log_line
from supervisor_tree.errors import NoHost, NoSuchChild, UsageError
from supervisor_tree.runtime.logs.book import LogLine, format_time, paths_under
from supervisor_tree.runtime.logs.reader import Follower, read_since, tail

__all__ = ["read"]

_SHOWN = 50
_LOOK_S = 0.1  # between two looks at files that are followed
_NEW_S = 1.0  # between two looks for files of other children
_LEISURE = 4  # of the time a thousand files take, so much is waited until the next look


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which lines are shown."""

    until: str | None
    stream: str | None
    grep: str | None

    def __call__(self, line: LogLine) -> bool:
        return (
            (self.until is None or line.ts < self.until)
            and (self.stream is None or line.stream == self.stream)
            and (self.grep is None or self.grep in line.text)
        )


def read(options: Namespace) -> int:
    """Print the lines of children, and of all below supervisors, in the order of their times."""
    since = None if options.since is None else _moment("--since", options.since)
    until = None if options.until is None else _moment("--until", options.until)
    if options.follow and until is not None:
        raise UsageError("--until ends what -f is to go on with; give one of them")
    log_dir, tops = _place(options)
    wanted = _Wanted(None if until is None else format_time(until), options.stream, options.grep)
    bounded = options.count is not None or since is not None or until is not None
    count = options.count if bounded else _SHOWN
    if options.follow:
        _follow(options, log_dir, tops, since, wanted, count)
        return 0
    paths = _paths(log_dir, tops, all=options.all)
    several = paths != tops[:1]
    if since is None and count is None:
        since = 0.0
    line = None
    for line in _lines(log_dir, paths, since, count, wanted):
        _print(line, options, several)
    if line is None and not options.json:
        note("no lines")
    return 0


def _place(options: Namespace) -> tuple[str, list[str]]:
    """(log directory, paths).  Raises NoSuchChild if neither the host nor the files know one."""
    if not options.paths and not options.all:
        raise UsageError("name at least one path, such as /chat/bot; --all shows all there are")
    paths = list(dict.fromkeys("/" + path.strip("/") for path in options.paths))
    log_dir, known = options.log_dir, {"/"} if options.all else set()
    if log_dir is None:
        try:
            with connect(options) as client:
                for path in paths or ["/"]:
                    answer = client.request("logs_info", {"path": path})
                    log_dir, problem = answer["log_dir"], answer["logs"]["problem"]
                    known |= {path} if answer["known"] else set()
                if problem:
                    note(f"log lines are being dropped: {problem}")
        except NoHost as error:
            former = former_host(resolve_run_dir(options.run_dir, None))
            if former is None or options.follow:
                hint = "--log-dir DIR reads the logs of one that has ended"
                raise NoHost(f"{error}; {hint}") from None
            log_dir = str(former.log_dir)
            note(f"host {former.name} has ended; its logs are in {log_dir}")
            known |= {"/"}
    assert log_dir is not None
    for path in paths:
        if path not in known and not paths_under(log_dir, path):
            raise NoSuchChild(f"no child has the path {path}, and no log file in {log_dir} has")
    return log_dir, paths


def _paths(log_dir: str, tops: list[str], *, all: bool) -> list[str]:
    """Those of `tops` and all below them; `/` alone is the host's own log."""
    if all:
        return paths_under(log_dir, "/")
    found: dict[str, None] = {}
    for top in tops:
        below = [] if top == "/" else paths_under(log_dir, top)
        found.update(dict.fromkeys(below or [top]))
    return list(found)


def _lines(
    log_dir: str, paths: list[str], since: float | None, count: int | None, wanted: _Wanted
) -> Iterator[LogLine]:
    if since is not None:
        streams = [read_since(log_dir, path, since) for path in paths]
        found = filter(wanted, merge(*streams, key=lambda line: line.ts))
        if count is None:
            return found
        kept = list(found)
    else:
        newest = chain.from_iterable(tail(log_dir, path, count or 0, wanted) for path in paths)
        kept = sorted(newest, key=lambda line: line.ts)
    return iter(kept[-count:] if count else [])


def _follow(  # noqa: PLR0913, PLR0917
    options: Namespace,
    log_dir: str,
    tops: list[str],
    since: float | None,
    wanted: _Wanted,
    count: int | None,
) -> None:
    """Until interrupted.  Children that come later are followed too."""
    before = count or 0
    with ExitStack() as stack:
        followers: dict[str, Follower] = {}
        first, look_at = True, 0.0
        while True:
            began = time.monotonic()
            if began >= look_at:
                look_at = began + _NEW_S
                for one in _paths(log_dir, tops, all=options.all):
                    if one not in followers:
                        # A file that appears while we follow is read from its beginning.
                        start = since if first else 0.0
                        n = before if first else 0
                        follower = Follower(log_dir, one, n=n, since=start, wanted=wanted)
                        followers[one] = stack.enter_context(follower)
            fresh = [line for follower in followers.values() for line in follower.poll()]
            fresh.sort(key=lambda line: line.ts)
            if first and (since is None or count is not None):
                fresh = fresh[-before:] if before else []
            first = False
            several = len(followers) > 1 or options.all
            for line in fresh:
                _print(line, options, several)
            time.sleep(max(_LOOK_S, _LEISURE * (time.monotonic() - began)))


def _print(line: LogLine, options: Namespace, several: bool) -> None:
    if options.json:
        dump(line.to_json(), line=True)
        return
    terminal = sys.stdout.isatty()
    shown = log_line(line.to_json(), whose=several, terminal=terminal, colour=colour())
    print(shown, flush=options.follow)


def _moment(option: str, text: str) -> float:
    """Unix time of an RFC 3339 time (local where it names no zone), or of a duration ago."""
    try:
        return time.time() - float(parse_duration(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option}: expected a time such as 2026-01-31T10:00:00Z or 10m, not {text!r}"
        ) from None
    return moment.astimezone(UTC).timestamp()
