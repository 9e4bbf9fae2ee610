"""What runs under `/_`: the host's own children, supervised beside the user's tree.

They are ordinary children of an ordinary supervisor.  Their restarts are not limited,
only delayed, because a host without its logger still has a tree to keep alive.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from supervisor_tree.core.hosts import Links
from supervisor_tree.core.specs import (
    Backoff,
    ChildSpec,
    Kind,
    Logs,
    Readiness,
    StartMode,
    SupervisorSpec,
)
from supervisor_tree.files import write_whole
from supervisor_tree.runtime.settings import HostSettings

__all__ = [
    "IN_FORCE",
    "LOGGER",
    "agent_modules",
    "has_foreign_users",
    "infrastructure",
    "specs_below",
]

IN_FORCE = "in force"  # how the status of `/_/source` begins while all is well
LOGGER = "/_/logger"


def infrastructure(
    settings: HostSettings, tree: SupervisorSpec, started_at: float
) -> SupervisorSpec:
    """The specification of `/_` for a host of this tree that was started at this wall-clock time.

    Raises OSError if the state directory cannot be written.
    """
    logger = ChildSpec(
        id="logger",
        agent="supervisor_tree.runtime.logs.logger:main",
        type="robot",
        readiness=Readiness.NOTIFY,
        shutdown=10.0,
        backoff=Backoff(initial=0.01, max=5.0, reset_after=10.0),
        args={
            "run_dir": str(settings.run_dir),
            "log_dir": str(settings.log_dir),
            "total_bytes": settings.logs.total_bytes,
            "max_age": _longest_age(settings.logs, tree),
        },
    )
    exchange = ChildSpec(
        id="exchange",
        agent="supervisor_tree.bus.exchange:main",
        type="robot",
        shutdown=1.0,
        backoff=Backoff(initial=0.01, max=5.0, reset_after=10.0),
    )
    others = []
    if settings.links is not None:
        others.append(_gateway(settings.links, _next_era(settings.state_dir, started_at)))
    if settings.source is not None:
        others.append(_source(settings))
    return SupervisorSpec(
        start=StartMode.CONCURRENT,
        intensity=1_000_000,
        period=1.0,
        children=(logger, exchange, *others),
    )


def _longest_age(common: Logs, tree: SupervisorSpec) -> float | None:
    """Of any log of this host; None: one may get as old as it likes."""
    ages = [common.max_age]
    ages += [child.logs.max_age for child in specs_below(tree) if child.logs is not None]
    limits = [age for age in ages if age is not None]
    return max(limits) if len(limits) == len(ages) else None


def _gateway(links: Links, era: int) -> ChildSpec:
    """The child that keeps a host's ways to others; `era` tells the host's lives apart."""
    return ChildSpec(
        id="gateway",
        agent="supervisor_tree.runtime.gateway:GatewayAgent",
        shutdown=5.0,
        backoff=Backoff(initial=0.01, max=5.0, reset_after=10.0),
        args={"links": asdict(links), "era": era},
    )


def _source(settings: HostSettings) -> ChildSpec:
    """The child that looks at the URL which the tree comes from."""
    assert settings.source is not None
    return ChildSpec(
        id="source",
        agent="supervisor_tree.runtime.source:main",
        type="robot",
        shutdown=2.0,
        backoff=Backoff(initial=1.0, max=60.0, reset_after=60.0),
        args={
            "url": settings.source.url,
            "interval": settings.source.interval,
            "config": settings.config,
            "run_dir": str(settings.run_dir),
            "state_dir": str(settings.state_dir),
        },
    )


def _next_era(state_dir: Path, wall: float) -> int:
    """A number that grows with each life of the host, also when its clock is set back."""
    file = state_dir / "era"
    former = 0
    with contextlib.suppress(OSError, ValueError):
        former = int(file.read_text())
    era = max(int(wall), former + 1)
    write_whole(file, f"{era}\n".encode())
    return era


def specs_below(spec: SupervisorSpec) -> Iterator[ChildSpec]:
    """Every child specification of a tree, templates included."""
    for child in (*spec.children, *((spec.child,) if spec.child else ())):
        yield child
        if child.supervisor is not None:
            yield from specs_below(child.supervisor)


def agent_modules(spec: SupervisorSpec) -> tuple[str, ...]:
    """The modules that the agents of a tree live in, each once, in tree order."""
    modules: dict[str, None] = {}
    for child in specs_below(spec):
        if isinstance(child.agent, str) and child.kind is not Kind.PROGRAM:
            modules[child.agent.partition(":")[0]] = None
    return tuple(modules)


def has_foreign_users(spec: SupervisorSpec) -> bool:
    """Whether a child runs as a user of its own: it must then reach the notify socket."""
    return any(child.user is not None for child in specs_below(spec))
