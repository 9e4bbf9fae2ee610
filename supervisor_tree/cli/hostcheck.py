"""What `doctor` finds in a host's own records: how it came up, what failed, what is left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from supervisor_tree.cli.currency import config_facts
from supervisor_tree.cli.finding import Finding
from supervisor_tree.cli.reporting import live_leaks
from supervisor_tree.cli.unitcheck import check_unit, read_unit, unit_file, unit_of
from supervisor_tree.control.client import ControlClient
from supervisor_tree.control.config_words import left_out_words
from supervisor_tree.control.scopes import look
from supervisor_tree.control.words import clean
from supervisor_tree.core.budget import stop_budget
from supervisor_tree.errors import ConfigError, NoSuchChild
from supervisor_tree.runtime.boots import read_boots
from supervisor_tree.runtime.infrastructure import IN_FORCE
from supervisor_tree.runtime.reports import report_files
from supervisor_tree.runtime.settings import DESCRIPTORS_PER_CHILD, FEWEST_DESCRIPTORS

__all__ = ["check_records", "examine_host"]

_RECENT_S = 86_400.0


def examine_host(host: Mapping[str, Any], client: ControlClient) -> Iterator[Finding]:
    """All that a running host has to say; `host` is its answer to `health`."""
    yield _safe_mode(host)
    yield _configuration(config_facts(client)["left_out"])
    yield from _source(client)
    yield from check_records(Path(host["state_dir"]), host["instance"])
    yield from _lost(client.request("lost_records"), host["state_dir"])
    yield _leaks(live_leaks(client))
    yield _dead_letters(client.request("dead_letters"))
    yield _installation(host["pid"])
    yield from _unit(host)


def check_records(state_dir: Path, instance: str | None) -> Iterator[Finding]:
    """Boots and reports, of the life called `instance` and those before it."""
    yield _boots(state_dir, instance)
    yield _reports(state_dir)


def _safe_mode(host: Mapping[str, Any]) -> Finding:
    if not host["safe_mode"]:
        return Finding("safe mode", "ok", "off")
    message = "the host has come up in safe mode, and children wait for an order to start"
    advice = "find out what ended it (`report`, the logs), then `reset-failed`"
    return Finding("safe mode", "fail", message, advice)


def _configuration(left_out: Sequence[Mapping[str, Any]]) -> Finding:
    """Included files that are broken: their children are not there, or not there the next time."""
    name = "configuration"
    if not left_out:
        return Finding(name, "ok", "no included file was left out")
    more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    message = clean(f"{left_out_words(left_out[0])}{more}")
    result = "warn" if all(each["goes_on"] for each in left_out) else "fail"
    return Finding(name, result, message, "mend the file (`check` finds all), then `apply`")


def _source(client: ControlClient) -> Iterator[Finding]:
    """Whether the last look at `host.source` has found what is in force; nothing without one."""
    try:
        said = client.show("/_/source")["said"]
    except NoSuchChild:
        return
    if said and not said.startswith(IN_FORCE):
        advice = "the host runs on with what it has; mend the document or the way to it"
        yield Finding("source", "warn", clean(said), advice)
    else:
        yield Finding("source", "ok", clean(said) or "the first look is not over")


def _boots(state_dir: Path, instance: str | None) -> Finding:
    recent = time.time() - _RECENT_S
    cut_off = [
        boot
        for boot in read_boots(state_dir)
        if boot.get("outcome") is None
        and boot.get("instance") != instance
        and boot["began"] >= recent
    ]
    if not cut_off:
        return Finding("boots", "ok", "no life of this host was cut off within a day")
    many = len(cut_off) != 1
    lives = f"{len(cut_off)} lives of this host were" if many else "1 life of this host was"
    message = f"{lives} cut off within a day"
    advice = (
        f"the last began at {cut_off[-1].get('time')}: look for SIGKILL, the OOM killer or a "
        "power failure then (`journalctl -k`)"
    )
    return Finding("boots", "warn", message, advice)


def _reports(state_dir: Path) -> Finding:
    files = report_files(state_dir / "reports")
    recent = [file for file in files if _is_recent(file) and "-asked" not in file.name]
    if not recent:
        return Finding("reports", "ok", f"none within a day, {len(files)} kept")
    message = f"{len(recent)} within a day, the last is {recent[-1].name}"
    return Finding("reports", "warn", message, "`report` lists them, `report NAME` shows one")


def _lost(lost: Mapping[str, int], state_dir: str) -> Iterator[Finding]:
    missing = [f"{count} {what}" for what, count in lost.items() if count]
    if missing:
        message = f"this host could not write down {', '.join(missing)}"
        yield Finding("records", "warn", message, f"make room in {state_dir}, and see its mode")


def _is_recent(file: Path) -> bool:
    try:
        return file.stat().st_mtime >= time.time() - _RECENT_S
    except OSError:
        return False


def _leaks(living: list[dict[str, Any]]) -> Finding:
    if not living:
        return Finding("leaks", "ok", "no process is outside of the living scopes")
    named = ", ".join(f"{each['pid']} (of {each['path']}, {each['of']})" for each in living[:5])
    message = f"{len(living)} in no living scope: {named}"
    return Finding("leaks", "warn", message, "`leaks` shows them; end them by hand")


def _dead_letters(letters: list[Any]) -> Finding:
    if not letters:
        return Finding("dead letters", "ok", "none")
    advice = "`dead-letters` shows them, `dead-letters --discard` deletes them"
    return Finding("dead letters", "warn", f"{len(letters)} messages were given up", advice)


def _installation(pid: int) -> Finding:
    """Files that were changed under a running host: whatever it starts anew is of another make."""
    process = look().processes.get(pid)
    package = Path(__file__).parents[1]
    newest = max((file.stat().st_mtime for file in package.rglob("*.py")), default=0.0)
    same_program = _same_program(pid)
    if process is None or not same_program or newest <= time.time() - process.age_s:
        return Finding("installation", "ok", "root and spawner are as installed")
    message = "the installed files are younger than the host: its next spawner would be of them"
    return Finding("installation", "warn", message, "restart the host when it suits")


def _same_program(pid: int) -> bool:
    try:
        return os.path.samefile(f"/proc/{pid}/exe", "/proc/self/exe")
    except OSError:
        return False


def _unit(host: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        name = unit_of(Path(f"/proc/{host['pid']}/cgroup").read_text())
    except OSError:
        name = None
    file = None if name is None else unit_file(name)
    if name is None or file is None:
        return  # no service of systemd, or one whose file cannot be seen from here
    needed = ceil(FEWEST_DESCRIPTORS + DESCRIPTORS_PER_CHILD * host["children"])
    try:
        keys = read_unit(file)
    except OSError as error:
        yield Finding("unit", "warn", f"cannot read {file}: {error.strerror}", "read it yourself")
        return
    yield from check_unit(name, keys, budget_s=_budget(host["config"]), descriptors=needed)


def _budget(config: str | None) -> float | None:
    """What the tree may take to stop, by its file; None if that says nothing."""
    if config is None:
        return None
    from supervisor_tree.config import load  # noqa: PLC0415 - a quarter of a second

    try:
        return stop_budget(load(config).tree)
    except (ConfigError, OSError):
        return None
