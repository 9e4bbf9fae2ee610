"""Is a specification sound?  The answer is OTP's error term, or None.

The order of the checks is OTP's, so that the first error is the same one
(supervisor.erl, check_flags/1 and check_childspec/2).  Unlike OTP we are typed, but a
value of the wrong type can still come from an embedding program: it is answered, not raised.
"""

from __future__ import annotations

from typing import Any

from supervisor_tree.core.exits import Term
from supervisor_tree.core.specs import (
    AutoShutdown,
    ChildSpec,
    Restart,
    Strategy,
    SupervisorSpec,
)

__all__ = ["check_child", "check_flags", "check_supervisor", "template_of"]

_STRATEGIES = frozenset(Strategy)
_RESTARTS = frozenset(Restart)
_AUTO_SHUTDOWNS = frozenset(AutoShutdown)
_TYPES = frozenset({"agent", "robot"})


def check_supervisor(spec: SupervisorSpec) -> Term:
    """What is wrong with flags or children, as the exit reason of OTP's init: else None."""
    error = check_flags(spec)
    if error is not None:
        return ("supervisor_data", error)
    if spec.strategy == Strategy.SIMPLE_ONE_FOR_ONE:
        count = len(spec.children) + (spec.child is not None)
        if count != 1:
            return ("bad_start_spec", count)
        template = template_of(spec)
        error = check_child(template, spec.auto_shutdown) if template is not None else None
        return None if error is None else ("start_spec", error)
    if spec.child is not None:
        return ("bad_start_spec", 1)
    seen: set[str] = set()
    for child in spec.children:
        error = check_child(child, spec.auto_shutdown)
        if error is not None:
            return ("start_spec", error)
        if child.id in seen:
            return ("start_spec", ("duplicate_child_name", child.id))
        seen.add(child.id)
    return None


def template_of(spec: SupervisorSpec) -> ChildSpec | None:
    """The one child of a simple_one_for_one supervisor."""
    if spec.child is not None:
        return spec.child
    return spec.children[0] if spec.children else None


def check_flags(spec: SupervisorSpec) -> Term:
    """OTP's `{invalid_..., Value}` for the flags alone, or None."""
    if not _is_in(spec.strategy, _STRATEGIES):
        return ("invalid_strategy", _shown(spec.strategy))
    if not _is_count(spec.intensity):
        return ("invalid_intensity", _shown(spec.intensity))
    if not _is_seconds(spec.period) or spec.period <= 0:
        return ("invalid_period", _shown(spec.period))
    if not _is_in(spec.auto_shutdown, _AUTO_SHUTDOWNS):
        return ("invalid_auto_shutdown", _shown(spec.auto_shutdown))
    return None


def check_child(spec: ChildSpec, auto_shutdown: AutoShutdown) -> Term:
    """OTP's error for one child specification under this auto_shutdown, or None."""
    if not isinstance(spec.id, str) or not spec.id or "/" in spec.id:
        return "missing_id" if not spec.id else ("invalid_id", _shown(spec.id))
    starts = (spec.agent is not None) + (spec.command is not None) + (spec.supervisor is not None)
    if starts != 1:
        return "missing_start" if starts == 0 else ("invalid_mfa", spec.id)
    if not _is_in(spec.restart, _RESTARTS):
        return ("invalid_restart_type", _shown(spec.restart))
    if spec.significant is True and auto_shutdown == AutoShutdown.NEVER:
        return ("bad_combination", (("auto_shutdown", "never"), ("significant", True)))
    if spec.significant is True and spec.restart == Restart.PERMANENT:
        return ("bad_combination", (("restart", "permanent"), ("significant", True)))
    if not isinstance(spec.significant, bool):
        return ("invalid_significant", _shown(spec.significant))
    if not _is_in(spec.type, _TYPES):
        return ("invalid_child_type", _shown(spec.type))
    if not _is_shutdown(spec.shutdown):
        return ("invalid_shutdown", _shown(spec.shutdown))
    return None


def _is_in(value: Any, words: frozenset[Any]) -> bool:
    return isinstance(value, str) and value in words


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_shutdown(value: Any) -> bool:
    return value is None or value in ("brutal_kill", "infinity") or _is_seconds(value)


def _shown(value: Any) -> Term:
    """A value of any type inside an error term."""
    if value is None or isinstance(value, str | int | float | bool):
        return str(value) if isinstance(value, str) else value
    return repr(value)
