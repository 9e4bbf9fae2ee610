"""What runs under `/_`: the host's own children, supervised beside the user's tree.

They are ordinary children of an ordinary supervisor.  Their restarts are not limited,
only delayed, because a host without its logger still has a tree to keep alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from supervisor_tree.core.specs import (
    Backoff,
    ChildSpec,
    Kind,
    Logs,
    Readiness,
    StartMode,
    SupervisorSpec,
)

__all__ = ["LOGGER", "agent_modules", "infrastructure", "specs_below"]

LOGGER = "/_/logger"


def infrastructure(run_dir: Path, log_dir: Path, logs: Logs) -> SupervisorSpec:
    """The specification of `/_`."""
    logger = ChildSpec(
        id="logger",
        agent="supervisor_tree.runtime.logger:main",
        type="robot",
        readiness=Readiness.NOTIFY,
        shutdown=10.0,
        backoff=Backoff(initial=0.01, max=5.0, reset_after=10.0),
        args={
            "run_dir": str(run_dir),
            "log_dir": str(log_dir),
            "total_bytes": logs.total_bytes,
        },
    )
    return SupervisorSpec(
        start=StartMode.CONCURRENT, intensity=1_000_000, period=1.0, children=(logger,)
    )


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
