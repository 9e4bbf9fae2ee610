"""The tree of an embedding program, checked and made fit to be sent to its root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from supervisor_tree.agents.payload import TargetError, dump_target
from supervisor_tree.core.problems import problems_of_child, problems_of_tree
from supervisor_tree.core.specdata import supervisor_from_data, to_data
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec
from supervisor_tree.core.unmet import problems_of_needs
from supervisor_tree.core.values import shown
from supervisor_tree.errors import ConfigError, ConfigProblem, UsageError

__all__ = ["portable", "sound_child", "sound_tree"]


def sound_tree(spec: SupervisorSpec) -> SupervisorSpec:
    """The tree as it is sent.  Raises ConfigError with all that is wrong with it."""
    problems = problems_of_tree(spec)
    if not problems:
        spec = supervisor_from_data(to_data(portable(spec)))  # words given as text are words now
        problems = problems_of_needs(spec)
        if not problems:
            return spec
    raise ConfigError(
        [ConfigProblem("", 0, 0, f"{path} {key}".strip(), text) for path, key, text in problems]
    )


def sound_child(spec: Any, supervisor: str) -> dict[str, Any]:
    """A child as it is sent; what depends on its supervisor is for the root to see."""
    if not isinstance(spec, ChildSpec):
        hint = "; write ChildSpec(**spec)" if isinstance(spec, Mapping) else ""
        raise UsageError(f"spec must be a ChildSpec, not {shown(spec)}{hint}")
    problems = problems_of_child(spec, supervisor)
    if problems:
        raise UsageError("\n".join(map(str, problems)))
    return to_data(_portable_child(spec))


def portable(spec: SupervisorSpec) -> SupervisorSpec:
    """The same tree with agents that were given as objects turned into names or payloads."""
    return replace(
        spec,
        children=tuple(_portable_child(child) for child in spec.children),
        child=None if spec.child is None else _portable_child(spec.child),
    )


def _portable_child(spec: ChildSpec) -> ChildSpec:
    if spec.supervisor is not None:
        return replace(spec, supervisor=portable(spec.supervisor))
    if spec.agent is not None and not isinstance(spec.agent, (str, bytes)):
        try:
            return replace(spec, agent=dump_target(spec.agent))
        except TargetError as error:
            raise TargetError(f"{spec.id} agent: {error}") from error
    return spec
