"""Who may say what to whom on the bus: what one central policy comes to for one path.

The first rule whose `agents` has the path gives what an agent does not say itself, key by key.
What neither says is allowed.  Clients from outside the tree are the host's own user: a rule is
about them only if its pattern names the host's own part of the tree, as `/_/clients/>` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from supervisor_tree.core.patterns import path_matches
from supervisor_tree.core.specs import Acl

__all__ = ["PolicyRule", "resolve", "rule_from_data"]

_HOSTS_OWN = "/_/"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """`agents` is a pattern over paths."""

    agents: str
    acl: Acl = field(default_factory=Acl)


def resolve(policy: Iterable[PolicyRule], path: str, own: Acl) -> Acl:
    """What the agent at `path` may do, which says `own` itself."""
    common = next((rule.acl for rule in policy if _is_about(rule.agents, path)), None)
    if common is None:
        return own
    said = {each.name: getattr(own, each.name) for each in fields(Acl)}
    return replace(common, **{key: value for key, value in said.items() if value is not None})


def rule_from_data(data: Mapping[str, Any]) -> PolicyRule:
    """A rule from what `dataclasses.asdict` and msgpack have made of it."""
    acl = {key: None if value is None else tuple(value) for key, value in data["acl"].items()}
    return PolicyRule(agents=data["agents"], acl=Acl(**acl))


def _is_about(agents: str, path: str) -> bool:
    if path.startswith(_HOSTS_OWN) and not agents.startswith(_HOSTS_OWN):
        return False
    return path_matches(agents, path)
