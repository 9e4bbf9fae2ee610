"""What `doctor` thinks of the systemd unit that a host runs under, read from its files.

systemd.unit(5): the file, then its drop-ins `NAME.service.d/*.conf` in the order of their
names; an empty assignment takes back what stood before.  Which unit a process belongs to
is the name of its control group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path

from supervisor_tree.cli.finding import Finding

__all__ = ["check_unit", "read_unit", "time_span", "unit_file", "unit_of"]

_SYSTEM = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")
_USER = ("~/.config/systemd/user", "/etc/systemd/user", "/usr/lib/systemd/user")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service")
_DEFAULT_STOP_S = 90.0  # DefaultTimeoutStopSec=, systemd-system.conf(5)
_MARGIN_S = 5.0

_Keys = Mapping[str, str]


def unit_of(cgroup: str) -> str | None:
    """The service that /proc/PID/cgroup names (cgroups(7)); None if the process is in none."""
    steps = [step for line in cgroup.splitlines() for step in line.split("/")]
    own = [step for step in steps if _UNIT.fullmatch(step) and not step.startswith("user@")]
    return own[-1] if own else None


def unit_file(name: str) -> Path | None:
    """Where the unit of this name stands."""
    template = re.sub(r"@[^.]*\.", "@.", name)
    for folder in (*_SYSTEM, *_USER):
        for each in (name, template):
            file = Path(folder).expanduser() / each
            if file.is_file():
                return file
    return None


def read_unit(file: Path) -> dict[str, str]:
    """`Key` of its [Service] section -> the value in force; of lists, the words of all lines.

    Raises OSError.
    """
    found: dict[str, str] = {}
    drop_ins: list[Path] = []
    for folder in (*_SYSTEM, *_USER, str(file.parent)):
        drop_ins += Path(folder).expanduser().glob(f"{file.name}.d/*.conf")
    for each in (file, *sorted(set(drop_ins), key=lambda path: path.name)):
        for key, value in _assignments(each.read_text(errors="replace")):
            if not value:
                found.pop(key, None)
            elif key in ("Environment", "RestartPreventExitStatus") and key in found:
                found[key] += f" {value}"
            else:
                found[key] = value
    return found


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    joined = re.sub(r"\\\n", " ", text)
    for raw in joined.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif section == "Service" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


_SPANS = {
    "us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0,
    "seconds": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0, "day": 86400.0,
    "days": 86400.0,
}  # fmt: skip


def time_span(text: str) -> float | None:
    """systemd.time(7): `90`, `1min 30s`, `infinity`; None for what is none."""
    if text == "infinity":
        return inf
    parts = re.findall(r"([0-9.]+)\s*([a-z]*)", text)
    if not parts or re.sub(r"[0-9.]+\s*[a-z]*|\s", "", text):
        return None
    try:
        return sum(float(number) * _SPANS[unit] for number, unit in parts)
    except (KeyError, ValueError):
        return None


def check_unit(
    name: str, keys: _Keys, *, budget_s: float | None, descriptors: int
) -> Iterator[Finding]:
    """What should be otherwise in a unit; one `ok` if nothing should.

    `budget_s`: what the tree may take to stop, None if that is not known; `descriptors`: what
    its children need.
    """
    found = [
        *_check_words(keys),
        *_check_stop(keys, budget_s),
        *_check_descriptors(keys, descriptors),
    ]
    if found:
        yield from (Finding("unit", "warn", f"{name}: {text}", advice) for text, advice in found)
    else:
        yield Finding("unit", "ok", f"{name} is as `unit` would have it")


def _check_words(keys: _Keys) -> Iterator[tuple[str, str]]:
    kind = keys.get("Type", "simple")
    if kind not in ("notify", "notify-reload"):
        text = f"Type={kind}: systemd takes the host for started before it is"
        yield text, "Type=notify-reload (before systemd 253: Type=notify)"
    mode = keys.get("KillMode", "control-group")
    if mode != "mixed":
        why = {
            "control-group": "all children get SIGTERM at once, and no order is kept",
            "process": "nothing ends what the root could not",
            "none": "nothing is ended at all",
        }.get(mode, "the tree cannot stop in order")
        yield f"KillMode={mode}: {why}", "KillMode=mixed"
    restart = keys.get("Restart", "no")
    if restart == "no":
        yield "Restart=no: a host that dies stays dead", "Restart=on-failure"
    elif "78" not in keys.get("RestartPreventExitStatus", "").split():
        text = "a configuration that is refused (exit code 78) is tried again and again"
        yield text, "RestartPreventExitStatus=78"


def _check_stop(keys: _Keys, budget_s: float | None) -> Iterator[tuple[str, str]]:
    given = keys.get("TimeoutStopSec", keys.get("TimeoutSec", f"{_DEFAULT_STOP_S:g}"))
    stop_s = time_span(given)
    if stop_s is None:
        yield f"TimeoutStopSec={given} is no time", "see systemd.time(7)"
        return
    if budget_s is not None and stop_s < budget_s + _MARGIN_S:
        takes = "without limit" if budget_s == inf else f"up to {budget_s:g} s"
        text = f"TimeoutStopSec is {stop_s:g} s, and the tree may take {takes} to stop"
        yield text, "let `unit` compute it, or shorten `shutdown` of its children"
    limit = re.search(r"SUPERVISOR_TREE_STOP_LIMIT=([^\s\"']+)", keys.get("Environment", ""))
    limit_s = None if limit is None else time_span(limit[1])
    if limit_s is not None and limit_s >= stop_s:
        text = f"SUPERVISOR_TREE_STOP_LIMIT is {limit_s:g} s, TimeoutStopSec {stop_s:g} s"
        yield text, "make it some seconds shorter than TimeoutStopSec"


def _check_descriptors(keys: _Keys, needed: int) -> Iterator[tuple[str, str]]:
    limit = keys.get("LimitNOFILE", "").rpartition(":")[2]
    if limit.isdigit() and int(limit) < needed:
        yield f"LimitNOFILE={limit}, and the children need {needed}", f"LimitNOFILE={2 * needed}"
