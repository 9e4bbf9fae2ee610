"""What `plan` and `apply` are asked to put in force: read as strictly as a file is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supervisor_tree.control.arguments import read_path
from supervisor_tree.core import values
from supervisor_tree.core.origin import Origin, origin_from_data
from supervisor_tree.core.problems import problems_of_tree
from supervisor_tree.core.specdata import supervisor_from_data
from supervisor_tree.core.specs import SupervisorSpec
from supervisor_tree.core.unmet import problems_of_needs
from supervisor_tree.errors import UsageError

__all__ = ["Proposal", "read_proposal"]

_EVERYTHING = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A whole tree, and what it was made of.

    problems
        what is wrong with included files, or because of them: `{file, line, column, key, message}`.
    reload
        ids or paths of the only children that are meant, which are started anew even if nothing
        about them has changed; None means all, and only what has changed.  `*` is all of them.
    """

    spec: SupervisorSpec
    origin: Origin
    problems: tuple[Mapping[str, Any], ...] = ()
    reload: tuple[str, ...] | None = None
    rollback: bool = False


def read_proposal(args: Mapping[str, Any]) -> Proposal:
    """The arguments of `plan` and `apply`.  Raises UsageError with all that is wrong."""
    data = args.get("spec")
    if not isinstance(data, dict):
        raise UsageError(f"spec is the specification of the whole tree, not {values.shown(data)}")
    problems = problems_of_tree(data)
    if not problems:
        spec = supervisor_from_data(data)
        problems = problems_of_needs(spec)
    if problems:
        raise UsageError("\n".join(map(str, problems)))
    try:
        origin = origin_from_data(args.get("origin", {}))
    except ValueError as error:
        raise UsageError(str(error)) from None
    rollback = args.get("rollback", False)
    if values.flag(rollback) is not None:
        raise UsageError(f"rollback {values.flag(rollback)}")
    told = args.get("problems", [])
    if not isinstance(told, list) or not all(isinstance(problem, dict) for problem in told):
        raise UsageError(f"problems is a list of mappings, not {values.shown(told)}")
    return Proposal(
        spec=spec,
        origin=origin,
        problems=tuple(told),
        reload=_read_reload(args.get("reload")),
        rollback=rollback,
    )


def _read_reload(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise UsageError(f"reload is a list of ids or paths, or *, not {values.shown(value)}")
    for name in value:
        if name != _EVERYTHING:
            read_path(name, "what is to be reloaded")
    return (_EVERYTHING,) if _EVERYTHING in value else tuple(value)
