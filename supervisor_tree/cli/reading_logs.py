"""`logs`: the log files, read where they are.

The host only says where they are and whether there is such a child; the lines do not pass
through it, and with --log-dir it need not run.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from heapq import merge
from itertools import chain

from supervisor_tree.cli.connecting import connect
from supervisor_tree.cli.output import dump
from supervisor_tree.config.units import parse_duration
from supervisor_tree.errors import NoHost, NoSuchChild, UsageError
from supervisor_tree.runtime.logbook import Follower, LogLine, paths_under, read_since, tail

__all__ = ["read"]

_SHOWN = 50
_LOOK_S = 0.1  # between two looks at files that are followed


def read(options: Namespace) -> int:
    """Print the lines of a child, or of all below a supervisor in the order of their times."""
    log_dir, path = _place(options)
    since = None if options.since is None else _moment(options.since)
    count = options.count if options.count is not None or since is not None else _SHOWN
    paths = [path] if path == "/" else paths_under(log_dir, path) or [path]
    several = paths != [path]
    if options.follow:
        _follow(options, log_dir, path, since, count or 0)
        return 0
    for line in _lines(log_dir, paths, since, count):
        _print(line, options, several)
    return 0


def _place(options: Namespace) -> tuple[str, str]:
    """(log directory, path).  Raises NoSuchChild if neither the host nor the files know it."""
    path = "/" + options.path.strip("/")
    if options.log_dir is not None:
        log_dir, known = options.log_dir, False
    else:
        try:
            with connect(options) as client:
                answer = client.request("logs_info", {"path": path})
        except NoHost as error:
            raise NoHost(f"{error}; --log-dir DIR reads the logs of one that has ended") from None
        log_dir, known = answer["log_dir"], answer["known"]
    if not known and not paths_under(log_dir, path):
        raise NoSuchChild(f"no child has the path {path}, and no log file in {log_dir} has")
    return log_dir, path


def _lines(
    log_dir: str, paths: list[str], since: float | None, count: int | None
) -> Iterator[LogLine]:
    if since is not None:
        streams = [read_since(log_dir, path, since) for path in paths]
        found = merge(*streams, key=lambda line: line.ts)
        if count is None:
            return found
        kept = list(found)
    else:
        newest = chain.from_iterable(tail(log_dir, path, count or 0) for path in paths)
        kept = sorted(newest, key=lambda line: line.ts)
    return iter(kept[-count:] if count else [])


def _follow(options: Namespace, log_dir: str, path: str, since: float | None, count: int) -> None:
    """Until interrupted.  Children that come later are followed too."""
    with ExitStack() as stack:
        followers: dict[str, Follower] = {}
        first = True
        while True:
            present = {path} if path == "/" else {path, *paths_under(log_dir, path)}
            for one in present - followers.keys():
                # A file that appears while we follow is read from its beginning.
                start = since if first else 0.0
                follower = Follower(log_dir, one, n=count if first else 0, since=start)
                followers[one] = stack.enter_context(follower)
            fresh = [line for follower in followers.values() for line in follower.poll()]
            fresh.sort(key=lambda line: line.ts)
            if first and since is None:
                fresh = fresh[-count:] if count else []
            first = False
            for line in fresh:
                _print(line, options, len(followers) > 1)
            time.sleep(_LOOK_S)


def _print(line: LogLine, options: Namespace, several: bool) -> None:
    if options.json:
        dump(line.to_json(), line=True)
        return
    whose = f" {line.path}" if several else ""
    print(f"{line.ts}{whose} {line.stream} #{line.generation} | {line.text}", flush=options.follow)


def _moment(text: str) -> float:
    """Unix time of an RFC 3339 time (local where it names no zone), or of a duration ago."""
    try:
        return time.time() - float(parse_duration(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since: expected a time such as 2026-01-31T10:00:00Z or 10m, not {text!r}"
        ) from None
    return moment.astimezone(UTC).timestamp()
