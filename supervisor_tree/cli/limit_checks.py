"""`doctor`'s word on limits that count for all processes of a child: can they be kept here?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supervisor_tree.cli.finding import Finding
from supervisor_tree.runtime.cgroups import CONTROLLERS, NotAvailable, own_place, usable

__all__ = ["cgroup_finding"]

_ADVICE = (
    "run it as a service with Delegate=yes (a container: with a writable cgroup of its own), "
    "where cgroup v2 has the controllers memory, pids and cpu"
)


def cgroup_finding(host: Mapping[str, Any] | None) -> Finding:
    """Of a running host it counts what that has found."""
    if host is not None and host["limits"]["missing"]:
        limits = host["limits"]
        why = limits["problem"] or f"{limits['directory']} lacks their controllers"
        keys = " and ".join(limits["missing"])
        message = f"not available: {why}; children have limits that need one: {keys}"
        if limits["missing"] == ["memory_max"]:
            message += ", which is looked after every 2 s instead"
        return Finding("cgroup", "warn", message, _ADVICE)
    if host is not None and host["limits"]["directory"]:
        kept = ", ".join(host["limits"]["controllers"])
        return Finding("cgroup", "ok", f"{host['limits']['directory']} keeps limits: {kept}")
    process = "self" if host is None else str(host["pid"])
    try:
        found = usable(own_place(process))
    except NotAvailable as error:
        return Finding(
            "cgroup", "ok", f"not available: {error}; no child has a limit that needs it"
        )
    lacking = sorted(set(CONTROLLERS.values()) - found)
    without = f", but not {', '.join(lacking)}" if lacking else ""
    return Finding("cgroup", "ok", f"limits can be kept: {', '.join(sorted(found))}{without}")
