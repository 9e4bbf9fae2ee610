"""What the host runs on and under: a service manager, a container, a place of PID 1.

Only what a process is told or can see without asking anybody; a guess is not a fact.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from supervisor_tree.runtime.inherited import Inherited

__all__ = ["PlatformFacts", "container_of"]

# Files that engines leave in each container, and what to call it then.
_TRACES = {"/run/.containerenv": "podman", "/.dockerenv": "docker"}


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """`service_manager` is systemd or None; `notify` and `watchdog_s` say what it listens to.

    `container` names the kind, None where there is no sign of one; `init` is PID 1; `sockets`
    are the names of those that the host was given.
    """

    service_manager: str | None
    notify: bool
    watchdog_s: float | None
    sockets: tuple[str, ...]
    container: str | None
    init: bool

    @classmethod
    def gather(cls, environ: Mapping[str, str], inherited: Inherited, pid: int) -> PlatformFacts:
        """Of the process `pid`, which is this one and was started with `environ`."""
        return cls(
            service_manager="systemd" if _by_systemd(environ, inherited, pid) else None,
            notify=inherited.watched,
            watchdog_s=inherited.watchdog_s,
            sockets=tuple(inherited.sockets),
            container=container_of(environ, pid),
            init=pid == 1,
        )


def _by_systemd(environ: Mapping[str, str], inherited: Inherited, pid: int) -> bool:
    """systemd.exec(5).  INVOCATION_ID is inherited by whatever a service starts: no sign."""
    return inherited.watched or environ.get("SYSTEMD_EXEC_PID") == str(pid)


def container_of(environ: Mapping[str, str], pid: int) -> str | None:
    """The kind of container: by its engine's own word, or by what shows it."""
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if environ.get("container"):  # https://systemd.io/CONTAINER_INTERFACE
        return environ["container"]
    for path, name in _TRACES.items():
        if os.path.exists(path):
            return name
    return "a PID namespace" if pid == 1 else None
