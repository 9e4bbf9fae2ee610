"""`doctor`: what could be wrong with a machine, a run directory or a host; what to do then.

Each check is a function that gives findings; it looks and changes nothing.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import stat
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from supervisor_tree.cli.output import colour, say
from supervisor_tree.cli.version import installed_version
from supervisor_tree.config.directories import resolve_run_dir
from supervisor_tree.control.client import ControlClient
from supervisor_tree.errors import ConfigError, NoHost, SupervisorTreeError
from supervisor_tree.runtime.state import find_leftovers

__all__ = ["Finding", "doctor"]

_OLDEST_KERNEL = (5, 4)  # waitid(2) with P_PIDFD
_PR_GET_CHILD_SUBREAPER = 37  # prctl(2)
_FDS_PER_CHILD = 4  # two output pipes here, a pidfd and a lease in the spawner
_FDS_OF_HOST = 100
_LOW_DISK_BYTES = 200_000_000
_SKEW_S = 1.0


class Finding(NamedTuple):
    """`result` is ok, warn or fail; `advice` says what to do about one that is not ok."""

    check: str
    result: str
    message: str
    advice: str = ""


def doctor(options: Namespace) -> int:
    """0 unless a check has failed, else 1."""
    findings = list(_examine(options))
    say(options, [finding._asdict() for finding in findings], _lines(findings))
    return int(any(finding.result == "fail" for finding in findings))


def _lines(findings: list[Finding]) -> Iterator[str]:
    shades = {"ok": "32", "warn": "33", "fail": "31"}
    width = max(len(finding.check) for finding in findings)
    for check, result, message, advice in findings:
        mark = result.ljust(4)
        if colour():
            mark = f"\x1b[{shades[result]}m{mark}\x1b[0m"
        yield f"{mark}  {check.ljust(width)}  {message}"
        if advice:
            yield f"      {' ' * width}  -> {advice}"


def _examine(options: Namespace) -> Iterator[Finding]:
    yield from _kernel()
    try:
        run_dir = Path(resolve_run_dir(options.run_dir, None))
    except ConfigError as error:
        yield Finding("run directory", "fail", str(error), "choose a shorter --run-dir")
        return
    yield _run_directory(run_dir)
    host, finding = _host(run_dir)
    yield finding
    if host is None:
        if finding.result != "fail":
            yield _leftovers(run_dir)
    else:
        yield _version(host)
    yield _descriptors(host)
    yield _clock(run_dir)
    yield _disk(Path(host["log_dir"]) if host is not None else run_dir)


# --- the machine -----------------------------------------------------------------------------


def _kernel() -> Iterator[Finding]:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < _OLDEST_KERNEL:
        yield Finding("kernel", "fail", f"Linux {release}", "Linux 5.4 or newer is needed")
    else:
        yield Finding("kernel", "ok", f"Linux {release}")
    try:
        os.close(os.pidfd_open(os.getpid()))
        yield Finding("pidfd", "ok", "processes can be watched by descriptor")
    except OSError as error:
        advice = "a seccomp filter may forbid pidfd_open(2): allow it"
        yield Finding("pidfd", "fail", str(error), advice)
    value = ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) == 0:
        yield Finding("subreaper", "ok", "orphans can be adopted")
    else:
        advice = "a seccomp filter may forbid prctl(2): allow PR_SET_CHILD_SUBREAPER"
        yield Finding("subreaper", "fail", os.strerror(ctypes.get_errno()), advice)


def _descriptors(host: dict[str, Any] | None) -> Finding:
    if host is None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = (soft - _FDS_OF_HOST) // _FDS_PER_CHILD
        message = f"{soft} descriptors allowed (hard limit {hard}): room for {room} children"
        return Finding("descriptors", "ok" if room >= 100 else "warn", message)
    children = host["children"]
    try:
        soft, _ = resource.prlimit(host["pid"], resource.RLIMIT_NOFILE)
    except OSError as error:
        return Finding("descriptors", "warn", f"cannot read the host's limit: {error}")
    needed = children * _FDS_PER_CHILD + _FDS_OF_HOST
    message = f"the host may have {soft}, {children} children need about {needed}"
    if needed <= soft:
        return Finding("descriptors", "ok", message)
    return Finding("descriptors", "fail", message, "raise LimitNOFILE= or `ulimit -n`")


# --- the run directory ---------------------------------------------------------------------------


def _run_directory(run_dir: Path) -> Finding:
    name = "run directory"
    try:
        facts = run_dir.stat()
    except FileNotFoundError:
        return Finding(name, "ok", f"{run_dir} is not there yet; `run` makes it")
    except OSError as error:
        return Finding(name, "fail", f"{run_dir}: {error.strerror}", "choose another --run-dir")
    if not stat.S_ISDIR(facts.st_mode):
        return Finding(name, "fail", f"{run_dir} is no directory", "choose another --run-dir")
    if facts.st_uid not in (os.geteuid(), 0):
        advice = "run as that user, or choose another --run-dir"
        return Finding(name, "fail", f"{run_dir} belongs to uid {facts.st_uid}", advice)
    if facts.st_mode & 0o066:
        advice = f"chmod 700 {run_dir}"
        mode = stat.S_IMODE(facts.st_mode)
        return Finding(name, "warn", f"{run_dir} is open to others (mode {mode:o})", advice)
    if not os.access(run_dir, os.W_OK | os.X_OK):
        return Finding(name, "fail", f"{run_dir} is not writable", f"chmod 700 {run_dir}")
    return Finding(name, "ok", f"{run_dir}")


def _host(run_dir: Path) -> tuple[dict[str, Any] | None, Finding]:
    try:
        with ControlClient(run_dir) as client:
            facts: dict[str, Any] = client.request("health", timeout=3.0)
    except NoHost:
        return None, Finding("host", "ok", "none is running here")
    except SupervisorTreeError as error:
        advice = "see who runs it (`ps`), then stop it with SIGTERM"
        return None, Finding("host", "fail", str(error), advice)
    missing = facts["not_ready"]
    message = f"'{facts['name']}' (pid {facts['pid']}) is {facts['state']}"
    if facts["ready"] and not missing:
        return facts, Finding("host", "ok", message)
    return facts, Finding("host", "warn", f"{message}, {missing} not ready", "see `status`")


def _leftovers(run_dir: Path) -> Finding:
    found = find_leftovers(run_dir)
    if not found:
        return Finding("leftovers", "ok", "no process of an earlier host is left")
    named = ", ".join(f"{one.pid} ({one.path})" for one in found[:5])
    advice = "`run` ends them before it starts anything"
    return Finding("leftovers", "warn", f"{len(found)} of a host that died: {named}", advice)


def _version(host: dict[str, Any]) -> Finding:
    ours, theirs = installed_version(), host["version"]
    if ours == theirs:
        return Finding("version", "ok", f"{ours}, as the host's")
    message = f"this command is {ours}, the host {theirs}"
    return Finding("version", "warn", message, "restart the host when it suits")


def _clock(run_dir: Path) -> Finding:
    """A clock that was set back shows in files that are younger than now."""
    now = time.time()
    youngest = now
    for name in ("lock", "state.json"):
        try:
            youngest = max(youngest, (run_dir / name).stat().st_mtime)
        except OSError:
            continue
    if youngest <= now + _SKEW_S:
        return Finding("clock", "ok", "no sign of a step back")
    message = f"the clock has been set back by {youngest - now:.0f} s or more"
    advice = "times in logs and events overlap; supervision itself does not mind"
    return Finding("clock", "warn", message, advice)


def _disk(directory: Path) -> Finding:
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    message = f"{free // 1_000_000} MB free at {directory}"
    if free >= _LOW_DISK_BYTES:
        return Finding("disk", "ok", message)
    return Finding("disk", "warn", message, "make room, or lower logs.total_bytes")
