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
    from supervisor_tree.bus.directory import Down
    from supervisor_tree.bus.dispatcher import Intercepted
    from supervisor_tree.bus.inbasket import Published
    from supervisor_tree.bus.subscriptions import Gap
    from supervisor_tree.core.listening import ListenSocket
    from supervisor_tree.core.specs import (
        Acl,
        AutoShutdown,
        Backoff,
        ChildSpec,
        Condition,
        Limits,
        Logs,
        Mailbox,
        Need,
        OnFull,
        OnLimit,
        Readiness,
        Ready,
        Restart,
        StartMode,
        Strategy,
        SupervisorSpec,
        Watchdog,
    )
    from supervisor_tree.embed import run
    from supervisor_tree.errors import (
        AgentDown,
        AlreadyRunning,
        CallTimeout,
        ConfigError,
        ConfigProblem,
        Draining,
        MailboxFull,
        NoHost,
        NoProcess,
        NoSuchChild,
        NotAllowed,
        NotPermitted,
        OperationFailed,
        Rejected,
        RemoteError,
        SupervisorTreeError,
        TimedOut,
        TryAgain,
        UsageError,
    )

__all__ = [
    "Acl",
    "Agent",
    "AgentDown",
    "AlreadyRunning",
    "AutoShutdown",
    "Backoff",
    "Build",
    "CallTimeout",
    "ChildSpec",
    "Condition",
    "ConfigError",
    "ConfigProblem",
    "Context",
    "Down",
    "Draining",
    "Gap",
    "Ignore",
    "Intercepted",
    "Limits",
    "ListenSocket",
    "Logs",
    "Mailbox",
    "MailboxFull",
    "Need",
    "NoHost",
    "NoProcess",
    "NoSuchChild",
    "NotAllowed",
    "NotPermitted",
    "OnFull",
    "OnLimit",
    "OperationFailed",
    "Published",
    "Readiness",
    "Ready",
    "Rejected",
    "RemoteError",
    "Restart",
    "StartMode",
    "Strategy",
    "SupervisorSpec",
    "SupervisorTreeError",
    "TimedOut",
    "TryAgain",
    "UsageError",
    "Watchdog",
    "run",
]

_HOMES = {
    "supervisor_tree.agents.agent": ("Agent", "Ignore"),
    "supervisor_tree.agents.context": ("Context",),
    "supervisor_tree.bus.directory": ("Down",),
    "supervisor_tree.bus.dispatcher": ("Intercepted",),
    "supervisor_tree.bus.inbasket": ("Published",),
    "supervisor_tree.bus.subscriptions": ("Gap",),
    "supervisor_tree.core.listening": ("ListenSocket",),
    "supervisor_tree.core.specs": (
        "Acl",
        "AutoShutdown",
        "Backoff",
        "Build",
        "ChildSpec",
        "Condition",
        "Limits",
        "Logs",
        "Mailbox",
        "Need",
        "OnFull",
        "OnLimit",
        "Readiness",
        "Ready",
        "Restart",
        "StartMode",
        "Strategy",
        "SupervisorSpec",
        "Watchdog",
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
