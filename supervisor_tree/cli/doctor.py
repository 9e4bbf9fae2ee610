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
from typing import Any

from supervisor_tree.cli.finding import Finding
from supervisor_tree.cli.former import former_host
from supervisor_tree.cli.hostcheck import check_records, examine_host
from supervisor_tree.cli.limit_checks import cgroup_finding
from supervisor_tree.cli.output import colour, say
from supervisor_tree.config.directories import resolve_run_dir
from supervisor_tree.control.client import ControlClient
from supervisor_tree.control.naming import few
from supervisor_tree.control.words import clean
from supervisor_tree.errors import ConfigError, NoHost, SupervisorTreeError
from supervisor_tree.runtime.settings import DESCRIPTORS_PER_CHILD, FEWEST_DESCRIPTORS
from supervisor_tree.runtime.state import find_leftovers
from supervisor_tree.version import VERSION

__all__ = ["doctor"]

_OLDEST_KERNEL = (5, 4)  # waitid(2) with P_PIDFD
_PR_GET_CHILD_SUBREAPER = 37  # prctl(2)
_FEW_CHILDREN = 100
_LOW_DISK_BYTES = 200_000_000
_SKEW_S = 1.0


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
    former = former_host(run_dir)
    yield finding
    if host is None:
        if finding.result != "fail":
            yield _leftovers(run_dir)
            if former is not None:
                yield from check_records(former.state_dir, None)
    else:
        yield _version(host)
        yield from _platform(host["platform"])
        with ControlClient(run_dir) as client:
            yield from examine_host(host, client)
        yield _wanted(run_dir)
    yield _descriptors(host)
    yield cgroup_finding(host)
    yield _clock(run_dir)
    yield _disk(former.log_dir if former is not None else run_dir)


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
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        message = "/proc/PID/task/TID/children is missing: scopes cannot be followed"
        yield Finding("proc", "fail", message, "a kernel with CONFIG_PROC_CHILDREN is needed")
    value = ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) == 0:
        yield Finding("subreaper", "ok", "orphans can be adopted")
    else:
        advice = "a seccomp filter may forbid prctl(2): allow PR_SET_CHILD_SUBREAPER"
        yield Finding("subreaper", "fail", os.strerror(ctypes.get_errno()), advice)


def _descriptors(host: dict[str, Any] | None) -> Finding:
    """`run` raises its own limit as far as it may: the hard one counts."""
    need = f"a host needs {FEWEST_DESCRIPTORS} and four for each child"
    advice = "raise LimitNOFILE= or the hard limit of `ulimit -n`"
    if host is None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = (hard - FEWEST_DESCRIPTORS) // DESCRIPTORS_PER_CHILD
        message = f"{hard} descriptors allowed, {need}"
        if room < 0:
            return Finding("descriptors", "fail", message, advice)
        message = f"{message}: room for {room} children"
        if room < _FEW_CHILDREN:
            return Finding("descriptors", "warn", message, advice)
        return Finding("descriptors", "ok", message)
    children = host["children"]
    try:
        soft, _ = resource.prlimit(host["pid"], resource.RLIMIT_NOFILE)
    except OSError as error:
        return Finding("descriptors", "warn", f"cannot read the host's limit: {error}")
    enough = children * DESCRIPTORS_PER_CHILD + FEWEST_DESCRIPTORS <= soft
    message = f"{soft} descriptors allowed, {need}; it has {children} children"
    if enough:
        return Finding("descriptors", "ok", message)
    return Finding("descriptors", "fail", message, advice)


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
    if not missing:
        return facts, Finding("host", "warn", message, "see `status`")
    named = few(facts["missing"], count=missing)
    advice = f"see `explain {clean(facts['missing'][0])}`"
    return facts, Finding("host", "warn", f"{message}, {missing} not ready: {named}", advice)


def _leftovers(run_dir: Path) -> Finding:
    found = find_leftovers(run_dir)
    if not found:
        return Finding("leftovers", "ok", "no process of an earlier host is left")
    named = ", ".join(f"{one.pid} ({one.path})" for one in found[:5])
    advice = "the next `run` ends them, unless `host.leftovers` is `leave`"
    return Finding("leftovers", "warn", f"{len(found)} of a host that died: {named}", advice)


def _platform(facts: dict[str, Any]) -> Iterator[Finding]:
    """Who is above the host: nothing is said where nobody is."""
    if facts["service_manager"] is not None and not facts["notify"]:
        message = "systemd has started the host, and does not listen to what it says"
        yield Finding("service manager", "warn", message, "Type=notify-reload in the unit")
    elif facts["service_manager"] is not None:
        watchdog = facts["watchdog_s"]
        beats = "no watchdog" if watchdog is None else f"a watchdog of {watchdog:g} s"
        yield Finding("service manager", "ok", f"systemd has started the host, with {beats}")
    if facts["container"] is not None:
        place = "PID 1" if facts["init"] else "not PID 1: something else reaps orphans here"
        yield Finding("container", "ok", f"{facts['container']}; the host is {place}")


def _version(host: dict[str, Any]) -> Finding:
    ours, theirs = VERSION, host["version"]
    if ours == theirs:
        return Finding("version", "ok", f"{ours}, as the host's")
    message = f"this command is {ours}, the host {theirs}"
    return Finding("version", "warn", message, "restart the host when it suits")


def _wanted(run_dir: Path) -> Finding:
    """What operators have ordered, and whether it will outlive the host."""
    name = "wanted state"
    try:
        with ControlClient(run_dir) as client:
            facts = client.request("holds", timeout=3.0)
    except SupervisorTreeError as error:
        return Finding(name, "fail", str(error), "see `status`")
    holds = facts["holds"]
    if facts["problem"]:
        message = f"what operators want cannot be written: {facts['problem']}"
        return Finding(name, "fail", message, "make room in the state directory; it tries again")
    strays = [clean(hold["path"]) for hold in holds if not hold["known"]]
    message = f"{len(holds)} children are kept up or down by order"
    if not strays:
        return Finding(name, "ok", message)
    named = ", ".join(strays[:5]) + (", ..." if len(strays) > 5 else "")
    advice = "harmless; `start PATH` forgets one"
    return Finding(name, "warn", f"{message}; nobody has the path {named}", advice)


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
