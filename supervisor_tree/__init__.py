"""Erlang/OTP supervision for operating-system processes.

The public names, each imported when it is first asked for (PEP 562): a command that only
asks a running host for its status must not pay for what starts one.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers know the name; typing's import is 2 ms

if TYPE_CHECKING:
    from supervisor_tree.agents.agent import Agent, Ignore
    from supervisor_tree.agents.context import Context
    from supervisor_tree.core.specs import (
        AutoShutdown,
        Backoff,
        ChildSpec,
        Condition,
        Limits,
        Logs,
        Need,
        OnLimit,
        Readiness,
        Restart,
        StartMode,
        Strategy,
        SupervisorSpec,
    )
    from supervisor_tree.embed import run
    from supervisor_tree.errors import (
        AlreadyRunning,
        ConfigError,
        ConfigProblem,
        NoHost,
        NoSuchChild,
        NotPermitted,
        OperationFailed,
        SupervisorTreeError,
        TimedOut,
        TryAgain,
        UsageError,
    )

__all__ = [
    "Agent",
    "AlreadyRunning",
    "AutoShutdown",
    "Backoff",
    "ChildSpec",
    "Condition",
    "ConfigError",
    "ConfigProblem",
    "Context",
    "Ignore",
    "Limits",
    "Logs",
    "Need",
    "NoHost",
    "NoSuchChild",
    "NotPermitted",
    "OnLimit",
    "OperationFailed",
    "Readiness",
    "Restart",
    "StartMode",
    "Strategy",
    "SupervisorSpec",
    "SupervisorTreeError",
    "TimedOut",
    "TryAgain",
    "UsageError",
    "run",
]

_HOMES = {
    "supervisor_tree.agents.agent": ("Agent", "Ignore"),
    "supervisor_tree.agents.context": ("Context",),
    "supervisor_tree.core.specs": (
        "AutoShutdown",
        "Backoff",
        "ChildSpec",
        "Condition",
        "Limits",
        "Logs",
        "Need",
        "OnLimit",
        "Readiness",
        "Restart",
        "StartMode",
        "Strategy",
        "SupervisorSpec",
    ),
    "supervisor_tree.embed": ("run",),
}


if not TYPE_CHECKING:  # a checker that saw it would take any misspelling for an object

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        homes = (home for home, names in _HOMES.items() if name in names)
        module = importlib.import_module(next(homes, "supervisor_tree.errors"))
        globals()[name] = found = getattr(module, name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
