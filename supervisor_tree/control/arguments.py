"""The arguments of requests: read strictly, refused with the place and what was expected.

Nothing here changes anything, so that a request is refused before any of it is carried out.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from supervisor_tree.control.rows import TreeView
from supervisor_tree.core import values
from supervisor_tree.core.child import ChildRow
from supervisor_tree.core.exits import ExitReason
from supervisor_tree.core.problems import (
    problems_of_child,
)
from supervisor_tree.core.specdata import spec_from_data
from supervisor_tree.core.specs import ChildSpec, Restart, Strategy, SupervisorSpec
from supervisor_tree.core.unmet import problems_of_cycle
from supervisor_tree.errors import NoSuchChild, SupervisorTreeError, TryAgain, UsageError

__all__ = [
    "NewChild",
    "new_child",
    "no_such_child",
    "read_id",
    "read_number",
    "read_path",
    "read_paths",
    "read_signal",
    "refuse_infrastructure",
    "refuse_instance",
]


class NewChild(NamedTuple):
    """What `start_child` is to start: a specification, or an instance of a template."""

    spec: ChildSpec | None
    name: str | None
    args: dict[str, Any] | None


def read_path(value: Any, what: str = "a path") -> str:
    """A path as the tree writes it; the leading slash may be left out."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{what} is a string such as /chat/bot, not {values.shown(value)}")
    return "/" + value.strip("/")


def read_paths(args: Mapping[str, Any], default: list[str] | None = None) -> list[str]:
    """`paths`, each once."""
    paths = args.get("paths") or default
    if not isinstance(paths, list) or not paths:
        raise UsageError("name at least one path, such as /chat/bot")
    return list(dict.fromkeys(read_path(path) for path in paths))


def read_id(args: Mapping[str, Any]) -> str:
    """`id`: the name of a child among its siblings, as OTP has it; no path and no pid."""
    value = args.get("id")
    error = values.child_id(value)
    if error is not None:
        hint = "; a path goes in two: its supervisor, and the id" if _is_path(value) else ""
        raise UsageError(f"id {error}{hint}")
    return str(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "/" in value


def read_number(args: Mapping[str, Any], key: str, default: float | None) -> float | None:
    """A number that is not negative."""
    value = args.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise UsageError(f"{key} is a number that is not negative, not {values.shown(value)}")
    return value


def read_signal(value: Any) -> int:
    """`TERM`, `SIGTERM`, `15` or 15."""
    try:
        if isinstance(value, str) and not value.isdigit():
            name = value.upper()
            return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"].value
        return signal.Signals(int(value)).value
    except (KeyError, ValueError, TypeError, OverflowError):
        told = values.shown(value)
        raise UsageError(f"no signal is called {told}; try HUP, USR1 or TERM") from None


# --- start_child ------------------------------------------------------------------------------


def new_child(supervisor: str, args: Mapping[str, Any], tree: TreeView) -> NewChild:
    """The arguments of `start_child`, as strictly as a file is read.  All problems at once."""
    data, name, given = args.get("spec"), args.get("name"), args.get("args")
    flags = _flags(supervisor, tree)
    if flags is None:
        return NewChild(None, None, None)  # whose answer is OTP's noproc
    failure = f"cannot start a child of {supervisor}"
    if flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        if data is not None:
            raise UsageError(f"{failure} from a spec: it has a template; give name and args")
        return NewChild(None, _instance_name(failure, name), _instance_args(failure, given))
    if name is not None or given is not None:
        raise UsageError(
            f"{failure} with name or args, which are for simple_one_for_one; give them in spec"
        )
    if data is None:
        raise UsageError(f"{failure}: spec is missing")
    return NewChild(_sound_spec(supervisor, data, flags), None, None)


def _flags(path: str, tree: TreeView) -> SupervisorSpec | None:
    """The specification of the supervisor at `path`, if there is one."""
    spec = tree.spec(path)
    return spec.supervisor if isinstance(spec, ChildSpec) else spec


def _instance_name(failure: str, name: Any) -> str:
    error = "is missing" if name is None else values.child_id(name)
    if error is not None:
        raise UsageError(f"{failure}: name {error}")
    return str(name)


def _instance_args(failure: str, given: Any) -> dict[str, Any] | None:
    if given is None or isinstance(given, dict):
        return given
    raise UsageError(f"{failure}: args must be a mapping, not {values.shown(given)}")


def _sound_spec(supervisor: str, data: Any, flags: SupervisorSpec) -> ChildSpec:
    if not isinstance(data, dict):
        raise UsageError(f"a child specification is a mapping, not {values.shown(data)}")
    problems = problems_of_child(data, supervisor, flags.auto_shutdown)
    if not problems:
        spec = spec_from_data(data)
        problems = problems_of_cycle(replace(flags, children=(spec,)), supervisor)
        if not problems:
            return spec
    raise UsageError("\n".join(map(str, problems)))


# --- paths ------------------------------------------------------------------------------------


def refuse_infrastructure(verb: str, path: str) -> None:
    """The children of `/_` are the host's own: they may be renewed, not taken away or added to."""
    if path == "/_" or path.startswith("/_/"):
        raise UsageError(
            f"cannot {verb.replace('_', '-')} {path}: what is below /_ is the host's own and runs "
            "as long as the host; `restart` and `kill` are allowed"
        )


def refuse_instance(verb: str, path: str, tree: TreeView) -> None:
    """An instance of a template has no specification of its own that could say anything."""
    flags = _flags(path.rpartition("/")[0] or "/", tree)
    if flags is not None and flags.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        raise UsageError(
            f"cannot {verb} {path}: it was made from a template by start_child; "
            "`stop` and `start` are remembered as well"
        )


def no_such_child(path: str, tree: TreeView) -> SupervisorTreeError:
    """TryAgain while a supervisor above is between two lives, NoSuchChild else."""
    above = path.rpartition("/")[0] or "/"
    while tree.row(above) is None and above != "/":
        above = above.rpartition("/")[0] or "/"
    if _is_named(path.removeprefix(above).strip("/").split("/"), _flags(above, tree)):
        if _comes_back(above, tree):
            return TryAgain(f"{path} is not there while its supervisor {above} starts; try again")
        row = tree.row(above)
        if row is None or row.state.value != "running":
            return NoSuchChild(
                f"{path} is not there, because its supervisor {above} does not run{_remedy(row)}"
            )
    if tree.story(path):
        return NoSuchChild(
            f"{path} is not there any more: it has ended or was deleted, and is not started "
            f"again; `events {path}` and `logs {path}` tell of it"
        )
    return NoSuchChild(f"no child has the path {path}; `status` lists them all")


def _remedy(row: ChildRow | None) -> str:
    """What brings a supervisor up that does not come by itself."""
    if row is None or row.path in ("/", "/_"):
        return ""
    verb = "reset-failed" if row.state.value == "parked" else "start"
    return f"; `{verb} {row.path}` starts it and all below it"


def _is_named(steps: list[str], spec: SupervisorSpec | None) -> bool:
    """Whether the specification of a supervisor has a child at the end of `steps`."""
    for index, step in enumerate(steps):
        if spec is None or spec.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
            return False
        child = next((child for child in spec.children if child.id == step), None)
        if child is None or index == len(steps) - 1:
            return child is not None
        spec = child.supervisor
    return False


def _comes_back(path: str, tree: TreeView) -> bool:
    """A supervisor that is wanted up and not, now, will be; unless it has ended for good."""
    row, spec = tree.row(path), tree.spec(path)
    if row is None or row.wanted == "down" or row.state.value in ("parked", "running"):
        return False
    permanent = not isinstance(spec, ChildSpec) or spec.restart is Restart.PERMANENT
    return row.state.value != "stopped" or permanent or not _is_clean(row.last_exit)


def _is_clean(reason: ExitReason | None) -> bool:
    return reason is not None and reason.clean
