"""What has to change so that one tree becomes another: the plan of `plan` and `apply`.

Pure: two specifications and what is known of the files around them give a list of changes in the
order in which they are carried out.  Within a supervisor what goes is stopped first, in reverse
order, so that its ports are free; then comes the rest, in start order, and what is below a child
stands at the child's place.

A child is started anew only for what makes its process (`agent`, `env`, `user`, ...).  Whatever
the rules alone look at (`restart`, `backoff`, ...), and what is read from the table of members
(`acl`, ...), is put in force in place.  A key that is not named in `IN_PLACE` counts as the former.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, TypeAlias

from supervisor_tree.core.specs import ChildSpec, Strategy, SupervisorSpec

__all__ = [
    "ASKED",
    "IN_PLACE",
    "Change",
    "ChangeAction",
    "Contents",
    "Drift",
    "Instances",
    "child_path",
    "diff",
    "drift_between",
    "same_shape",
]

# What lies beside a specification, by the child's path: names ("code", "env_file /x",
# "file /y", "executable") and the digests of the content.
Contents: TypeAlias = Mapping[str, Mapping[str, str]]

# Names of what has another content now, by the child's path.
Drift: TypeAlias = Mapping[str, tuple[str, ...]]

Instances: TypeAlias = Callable[[str], Mapping[str, ChildSpec]]

# A name in a Drift for a child that is started anew because somebody has asked for that.
ASKED = "asked for"

# In force without a new life: from now on, or, marked below, from the next life.
IN_PLACE = frozenset(
    {
        *("restart", "shutdown", "significant", "backoff", "on_limit", "needs", "start_timeout"),
        *("readiness", "ready", "stop_signal", "logs", "warm", "reload"),
        *("description", "capabilities", "acl", "mailbox", "intercepts"),
    }
)
_FROM_NEXT_LIFE = frozenset({"readiness", "ready", "stop_signal", "logs", "warm"})
_FLAGS = ("strategy", "intensity", "period", "auto_shutdown", "start")
_SECONDS = frozenset({"period", "shutdown", "start_timeout"})
_PLAIN = (str, int, float, bool)
# Values of these may be secrets, or too long for a line.
_UNSHOWN = frozenset({"args", "command", "description", "env"})
_MAPPINGS = ("args", "env")


class ChangeAction(StrEnum):
    """What is done about one child; the words of `plan`."""

    CREATE = "create"
    RESTART = "restart"
    SIGNAL = "signal"
    MOVE = "move"
    STOP = "stop"
    UPDATE = "update"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One child, what is done about it, and why.

    `old` and `spec` are its specifications, None where it is not there; `supervisor` is the path
    above.  `stays`: it is down, and nothing but its specification changes.
    """

    path: str
    supervisor: str
    action: ChangeAction
    why: tuple[str, ...]
    old: ChildSpec | None = None
    spec: ChildSpec | None = None
    stays: bool = False


def child_path(supervisor: str, child_id: str) -> str:
    """The path of a child."""
    return f"{supervisor.rstrip('/')}/{child_id}"


def same_shape(old: SupervisorSpec, new: SupervisorSpec) -> bool:
    """Whether a supervisor can become the other one while its children run."""
    return (_is_simple(old), old.concurrent) == (_is_simple(new), new.concurrent)


def drift_between(was: Contents, now: Contents) -> Drift:
    """What has another content now.  What could not be read then or now has not changed."""
    found: dict[str, tuple[str, ...]] = {}
    for path, contents in now.items():
        before = was.get(path, {})
        names = [name for name, digest in contents.items() if before.get(name, digest) != digest]
        if names:
            found[path] = tuple(names)
    return found


def diff(
    old: SupervisorSpec,
    new: SupervisorSpec,
    drift: Drift,
    instances: Instances = lambda path: {},
    path: str = "/",
) -> Iterator[Change]:
    """The changes from `old` to `new`, both the specification of the supervisor at `path`.

    `instances(path)` gives those that a simple_one_for_one supervisor has now, by name; `drift`
    has what is common to them under the name `*`.  Of a top-level supervisor whose shape changes
    nothing but that is told: it cannot be done.
    """
    why = _flag_changes(old, new)
    if path == "/" and why:
        action = ChangeAction.UPDATE if same_shape(old, new) else ChangeAction.RESTART
        yield Change(path="/", supervisor="/", action=action, why=tuple(why))
    if same_shape(old, new):
        inner = _of_template if _is_simple(new) else _of_children
        yield from inner(old, new, drift, instances, path)


def _of_children(
    old: SupervisorSpec,
    new: SupervisorSpec,
    drift: Drift,
    instances: Instances,
    path: str,
) -> Iterator[Change]:
    before = {child.id: child for child in old.children}
    after = {child.id: child for child in new.children}
    for child in reversed(old.children):
        kept = after.get(child.id)
        if kept is None or (child.enabled and not kept.enabled):
            why = "removed" if kept is None else "disabled"
            yield _change(path, ChangeAction.STOP, [why], child, kept)
    moved = _moved([child.id for child in old.children], list(after))
    for child in new.children:
        was = before.get(child.id)
        if was is None:
            yield _change(path, ChangeAction.CREATE, ["new"], None, child)
        elif was.enabled == child.enabled:
            below = child_path(path, child.id)
            change = _of_child(was, child, drift.get(below, ()), path, moved=child.id in moved)
            if change is not None:
                yield change
            anew = change is not None and change.action is ChangeAction.RESTART
            if was.supervisor is not None and child.supervisor is not None and not anew:
                yield from diff(was.supervisor, child.supervisor, drift, instances, below)
        elif child.enabled:
            yield _change(path, ChangeAction.CREATE, ["enabled"], was, child)


def _of_template(
    old: SupervisorSpec,
    new: SupervisorSpec,
    drift: Drift,
    instances: Instances,
    path: str,
) -> Iterator[Change]:
    """Instances are as their template says; those that are there are started anew."""
    was, template = _template(old), _template(new)
    common = drift.get(child_path(path, "*"), ())
    change = _of_child(was, template, (), path, moved=False)
    if change is not None:
        why = tuple(f"template: {reason}" for reason in change.why)
        yield replace(change, path=path, action=ChangeAction.UPDATE, why=why)
    for name, spec in instances(path).items():
        names = (*common, *drift.get(child_path(path, name), ()))
        change = _of_child(spec, template, names, path, moved=False)
        if change is not None and change.action is not ChangeAction.UPDATE:
            yield replace(change, path=child_path(path, name))


def _of_child(
    old: ChildSpec, new: ChildSpec, drifted: tuple[str, ...], supervisor: str, *, moved: bool
) -> Change | None:
    """The one change of a child that is on both sides, if there is any.

    What is below a supervisor is looked at by `diff`.
    """
    anew, in_place = _key_changes(old, new)
    reloads = new.reload is not None and new.reload.signal is not None
    signals: list[str] = []
    for each in drifted:
        words = each if each == ASKED else f"{each} changed"
        (signals if reloads and each.startswith("file ") else anew).append(words)
    place = ["another place among its siblings"] if moved else []
    for action, why in (
        (ChangeAction.RESTART, anew),
        (ChangeAction.SIGNAL, signals),
        (ChangeAction.UPDATE, in_place),
        (ChangeAction.MOVE, place),
    ):
        if why:
            said = list(dict.fromkeys((*anew, *signals, *in_place, *place)))
            return _change(supervisor, action, said, old, new)
    return None


def _key_changes(old: ChildSpec, new: ChildSpec) -> tuple[list[str], list[str]]:
    """What differs between two specifications: (needs a new life, does not)."""
    anew: list[str] = []
    in_place: list[str] = []
    if old == new:
        return anew, in_place
    for each in fields(ChildSpec):
        before, after = getattr(old, each.name), getattr(new, each.name)
        if before == after or each.name in ("id", "enabled"):
            continue
        if each.name == "supervisor" and before is not None and after is not None:
            flags = _flag_changes(before, after)
            (in_place if same_shape(before, after) else anew).extend(flags)
        elif each.name in _MAPPINGS:
            anew.extend(_entries(each.name, before, after))
        else:
            words = _words(each.name, before, after)
            (in_place if each.name in IN_PLACE else anew).append(words)
    return anew, in_place


def _flag_changes(old: SupervisorSpec, new: SupervisorSpec) -> list[str]:
    return [
        _words(name, getattr(old, name), getattr(new, name))
        for name in _FLAGS
        if getattr(old, name) != getattr(new, name)
    ]


def _entries(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Names alone: a value may be a secret."""
    for name in dict.fromkeys((*old, *new)):
        if name not in new:
            yield f"{key} {name} removed"
        elif name not in old:
            yield f"{key} {name} added"
        elif old[name] != new[name]:
            yield f"{key} {name} changed"


def _words(name: str, old: Any, new: Any) -> str:
    later = ", from its next life" if name in _FROM_NEXT_LIFE else ""
    plain = all(value is None or isinstance(value, _PLAIN) for value in (old, new))
    if not plain or name in _UNSHOWN:
        return f"{name} changed{later}"
    return f"{name} {_shown(name, old)} -> {_shown(name, new)}{later}"


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "(default)"
    unit = " s" if name in _SECONDS and not isinstance(value, str) else ""
    return f"{value:g}{unit}" if isinstance(value, float) else f"{value}{unit}"


def _change(
    supervisor: str,
    action: ChangeAction,
    why: list[str],
    old: ChildSpec | None,
    spec: ChildSpec | None,
) -> Change:
    child = old or spec
    assert child is not None, supervisor
    return Change(
        path=child_path(supervisor, child.id),
        supervisor=supervisor,
        action=action,
        why=tuple(why),
        old=old,
        spec=spec,
    )


def _moved(old: list[str], new: list[str]) -> set[str]:
    """Those that have changed their place: all but a longest run that has kept its order."""
    places = {name: place for place, name in enumerate(new)}
    kept = [places[name] for name in old if name in places]
    # The longest increasing subsequence, by patience sorting.
    tops: list[int] = []
    piles: list[int] = []  # of each place, the top of the pile below when it was laid down
    for place in kept:
        pile = bisect_left(tops, place)
        piles.append(tops[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [place]
    below = dict(zip(kept, piles, strict=True))
    in_order: set[int] = set()
    place = tops[-1] if tops else -1
    while place >= 0:
        in_order.add(place)
        place = below[place]
    return {new[place] for place in kept if place not in in_order}


def _is_simple(spec: SupervisorSpec) -> bool:
    return spec.strategy is Strategy.SIMPLE_ONE_FOR_ONE


def _template(spec: SupervisorSpec) -> ChildSpec:
    """Checked before it comes here: one is there."""
    return spec.child if spec.child is not None else spec.children[0]
