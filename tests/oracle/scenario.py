"""Scenarios (plain data, see README.md) in the words of the core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from supervisor_tree.core.exits import KILLED, NORMAL, SHUTDOWN, ExitKind, ExitReason
from supervisor_tree.core.specs import (
    AutoShutdown,
    ChildSpec,
    Kind,
    Restart,
    Strategy,
    SupervisorSpec,
)

__all__ = ["OracleSpec", "child_spec", "exit_reason", "plain", "supervisor_spec", "term_of"]

Overrides = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleSpec(ChildSpec):
    """A child specification that knows the scenario's node it was made from.

    OTP takes a child's type as it is declared, whatever the child really is.
    """

    node: Mapping[str, Any] = field(default_factory=dict)
    declared: str = "worker"

    @property
    def kind(self) -> Kind:
        return Kind.SUPERVISOR if self.declared == "supervisor" else Kind.AGENT


def supervisor_spec(sup: Mapping[str, Any], path: str, overrides: Overrides) -> SupervisorSpec:
    """What `init` returns at `path`; an accepted upgrade holds for later lives, too."""
    sup = overrides.get(path, sup)
    return SupervisorSpec(
        strategy=_word(Strategy, sup.get("strategy", "one_for_one")),
        intensity=sup.get("intensity", 1),
        period=sup.get("period", 5),
        auto_shutdown=_word(AutoShutdown, sup.get("auto_shutdown", "never")),
        children=tuple(
            child_spec(node, f"{path}/{node.get('id')}", overrides)
            for node in sup.get("children", ())
        ),
    )


def child_spec(node: Mapping[str, Any], path: str, overrides: Overrides) -> OracleSpec:
    """One NODE."""
    declared = node.get("type", "worker")
    nested = node.get("sup")
    shutdown = node.get("shutdown", "infinity" if declared == "supervisor" else 5000)
    if isinstance(shutdown, int) and shutdown >= 0:
        shutdown = shutdown / 1000
    starts: dict[str, Any] = {"agent": "oracle:worker"}
    if node.get("no_start"):
        starts = {}
    elif nested is not None:
        starts = {"supervisor": supervisor_spec(nested, path, overrides)}
    return OracleSpec(
        id=node.get("id"),  # type: ignore[arg-type]
        restart=_word(Restart, node.get("restart", "permanent")),
        shutdown=shutdown,
        significant=node.get("significant", False),
        type=declared if declared not in ("worker", "supervisor") else "agent",
        start_timeout=None,
        node=node,
        declared=declared,
        **starts,
    )


def _word(kind: type[StrEnum], value: Any) -> Any:
    return kind(value) if value in list(kind) else value


def exit_reason(reason: Any) -> ExitReason:
    """With which a worker ends."""
    match reason:
        case "normal":
            return NORMAL
        case "shutdown":
            return SHUTDOWN
        case "kill" | "killed":
            return KILLED
        case ["shutdown", what]:
            return ExitReason(kind=ExitKind.SHUTDOWN, term=("shutdown", what))
        case _:
            return ExitReason(kind=ExitKind.ABNORMAL, term=term_of(reason))


def term_of(value: Any) -> Any:
    """JSON as a term: lists as tuples."""
    return tuple(term_of(item) for item in value) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """A term as JSON: tuples as lists, words as strings."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
