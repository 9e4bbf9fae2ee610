"""Verbs about what went wrong: report leaks."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from supervisor_tree.cli.connecting import connect
from supervisor_tree.cli.former import former_host
from supervisor_tree.cli.output import colour, say
from supervisor_tree.config.directories import resolve_run_dir
from supervisor_tree.control.client import ControlClient
from supervisor_tree.control.render import event_line, table
from supervisor_tree.control.scopes import command_of, marks
from supervisor_tree.control.sentences import sentences
from supervisor_tree.control.words import clean, duration, size
from supervisor_tree.errors import NoHost, NoSuchChild, OperationFailed
from supervisor_tree.runtime.leaks import LeakLedger
from supervisor_tree.runtime.reports import read_report, report_files

__all__ = ["leaks", "live_leaks", "report"]

_SHOWN_LINES = 40


# --- report ----------------------------------------------------------------------------------


def report(options: Namespace) -> int:
    """`report [NAME | PATH] [--now] [--dir DIR]`"""
    if options.now:
        with connect(options) as client:
            file = Path(client.request("write_report", {"path": options.name}))
        say(options, {"file": str(file)}, [str(file)])
        return 0
    directory = _given(Path(options.dir)) if options.dir else _directory(options)
    files = report_files(directory)
    if options.name is None:
        listed = [facts for file in files if (facts := _listed(file)) is not None]
        say(options, listed, _table(listed) if listed else [f"no reports in {directory}"])
        return 0
    file = _named(files, options.name, directory)
    content = _read(file)
    try:
        lines = [] if options.json else list(_lines(content))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OperationFailed(
            f"cannot show {file}: it is no report, or one of another version ({error!r}); "
            "with --json it is shown as it is"
        ) from None
    say(options, content, lines)
    return 0


def _directory(options: Namespace) -> Path:
    """Where the host keeps its reports: it is asked, or, if it has ended, what it left behind."""
    try:
        with connect(options) as client:
            return Path(client.request("ping")["state_dir"]) / "reports"
    except NoHost as error:
        former = former_host(resolve_run_dir(options.run_dir, None))
        if former is None:
            hint = "or name the directory of its reports with --dir"
            raise NoHost(f"{error}; {hint}") from None
        return former.state_dir / "reports"


def _given(directory: Path) -> Path:
    """`--dir`: a directory of reports, or the state directory that has one."""
    reports = directory / "reports"
    return reports if reports.is_dir() and not report_files(directory) else directory


def _named(files: list[Path], name: str, directory: Path) -> Path:
    """A report by its name or a part of it, or the last one about a path."""
    if name.startswith("/"):
        for file in reversed(files):
            facts = _listed(file)
            if facts is not None and facts["path"] == "/" + name.strip("/"):
                return file
        raise NoSuchChild(f"there is no report about {name} in {directory}")
    found = [file for file in files if name in file.name]
    if not found:
        raise NoSuchChild(f"there is no report {name} in {directory}; `report` lists them")
    return found[-1]


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_report(file)
    except (OSError, ValueError) as error:
        raise OperationFailed(f"cannot read the report {file}: {error}") from None


def _listed(file: Path) -> dict[str, Any] | None:
    try:
        content, facts = read_report(file), file.stat()
    except (OSError, ValueError):
        return None
    keys = ("time", "kind", "path", "what")
    return {"name": file.name, **{key: content.get(key) for key in keys}, "bytes": facts.st_size}


def _table(listed: list[dict[str, Any]]) -> list[str]:
    headings = ("TIME", "KIND", "PATH", "SIZE", "NAME", "WHAT")
    cells = [
        (
            clean(each["time"]),
            clean(each["kind"]),
            clean(each["path"]),
            size(each["bytes"]),
            each["name"],
            clean(each["what"])[:80],
        )
        for each in listed
    ]
    return table(headings, cells, right=("SIZE",), colour=colour())


def _lines(content: Mapping[str, Any]) -> Iterator[str]:
    host, versions, root = content["host"], content["versions"], content["root"]
    yield f"{content['kind']} of {clean(content['path'])} at {content['time']}"
    yield f"  {clean(content['what'])}"
    yield ""
    yield (
        f"host '{clean(host['name'])}' (pid {host['pid']}) was {host['phase']}, "
        f"up for {duration(host['uptime_s'])}"
    )
    yield f"supervisor_tree {versions['supervisor_tree']}, Python {versions['python']}, " + clean(
        versions["kernel"]
    )
    descriptors = "?" if root["descriptors"] is None else root["descriptors"]
    yield (
        f"root: {root['cpu_s']:.1f} s cpu, {size(root['max_rss_bytes'])} at most, "
        f"{descriptors} of {root['descriptor_limit']} descriptors"
    )
    child = content["child"] or {}
    if child.get("explanation"):
        yield ""
        yield from _sentences(content)
    yield ""
    yield "events"
    for event in content["events"][-_SHOWN_LINES:]:
        yield f"  {event_line(event)}"
    yield ""
    yield "last lines of its log"
    for line in content["log"][-_SHOWN_LINES:]:
        yield f"  {line['ts']} {line['stream']} #{line['generation']} | {clean(line['text'])}"
    if content["passed_over"]:
        yield ""
        yield f"{content['passed_over']} more failures had no report of their own"


def _sentences(content: Mapping[str, Any]) -> Iterator[str]:
    """What `explain` would have said then."""
    row = next((row for row in content["tree"] if row["path"] == content["path"]), None)
    if row is not None:
        child = content["child"]
        common = {"since_s": child["since_s"], "error": child["error"], "said": child["said"]}
        yield from sentences(row | child["explanation"] | common)


# --- leaks -----------------------------------------------------------------------------------


def leaks(options: Namespace) -> int:
    """`leaks`: 1 if there is one that lives."""
    try:
        with connect(options) as client:
            ledger = client.request("leaks")
            living = live_leaks(client)
        advice = "look what they are, then end them by hand: kill PID"
    except NoHost:
        run_dir = resolve_run_dir(options.run_dir, None)
        former = former_host(run_dir)
        if former is None:
            raise
        ledger, living = LeakLedger(former.state_dir).entries(), _left_by(run_dir)
        advice = "the next `run` ends them, unless `host.leftovers` is `leave`; or: kill PID"
    answer = {"living": living, "ledger": ledger}
    say(options, answer, _leak_lines(living, ledger, advice))
    return OperationFailed.exit_code if living else 0


def live_leaks(client: ControlClient) -> list[dict[str, Any]]:
    """Processes that bear a mark of this host or a former one, and belong to no living scope."""
    host = client.request("ping")
    found = []
    for pid, instance, path, generation in list(marks()):
        ours = instance == host["instance"]
        if not ours and _run_dir_of(pid) != host["run_dir"]:
            continue
        found.append((pid, ours, path, generation))
    # Asked afterwards: whoever is born between the two looks is known to the second.
    rows = client.request("status", {"path": "/", "all": True})
    lives = {(row["path"], row["generation"]) for row in rows if row["pid"] is not None}
    return [
        _living(pid, path, generation, of="this host" if ours else "a former host")
        for pid, ours, path, generation in found
        if not (ours and ((path, generation) in lives or generation == 0)) and _lives(pid)
    ]


def _left_by(run_dir: str) -> list[dict[str, Any]]:
    """Processes that bear a mark of a host in `run_dir`, in which none runs."""
    return [
        _living(pid, path, generation, of="a former host")
        for pid, _, path, generation in list(marks())
        if _run_dir_of(pid) == run_dir and _lives(pid)
    ]


def _living(pid: int, path: str, generation: int, *, of: str) -> dict[str, Any]:
    named = {"pid": pid, "path": path, "generation": generation}
    return {**named, "command": command_of(pid), "of": of}


def _run_dir_of(pid: int) -> str:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    for entry in environ.split(b"\0"):
        if entry.startswith(b"SUPERVISOR_TREE_RUN_DIR="):
            return os.fsdecode(entry.partition(b"=")[2])
    return ""


def _lives(pid: int) -> bool:
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return content[content.rindex(b")") + 2 :][:1] not in (b"Z", b"X")


def _leak_lines(
    living: list[dict[str, Any]], ledger: list[dict[str, Any]], advice: str
) -> Iterator[str]:
    if not living and not ledger:
        yield "no process has outlived or escaped its scope"
        return
    if living:
        yield "STILL THERE, and in no living scope"
        for each in living:
            yield (
                f"  pid {each['pid']} of {clean(each['path'])} #{each['generation']} "
                f"({each['of']}): {clean(each['command'])}"
            )
        yield f"  -> {advice}"
    if ledger:
        yield "had escaped"
        for each in ledger:
            fate = "ended" if each["ended"] else "left alone"
            yield (
                f"  {each['time']}  {clean(each['path'])} #{each['generation']}  "
                f"pid {each['pid']}, {fate}: {clean(each['command'])}"
            )
