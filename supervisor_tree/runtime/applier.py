"""Puts configurations in force on a running host, one at a time.  Implements `ApplyView`.

The core decides what changes and carries it out (`core.applying`); here is what belongs to the
host: what the present configuration was made of, fresh code for those that are started anew, the
host's own settings, and the account of it all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import count
from typing import Any, Protocol

from supervisor_tree.control.proposals import Proposal
from supervisor_tree.core.applying import Outcome, Result, in_force, plan
from supervisor_tree.core.diff import (
    ASKED,
    Change,
    ChangeAction,
    Contents,
    Drift,
    drift_between,
    same_shape,
)
from supervisor_tree.core.graft import amended, graft
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.origin import LeftOut, Origin, SourceFile, left_out_data
from supervisor_tree.core.policy import rule_from_data
from supervisor_tree.core.specs import SupervisorSpec
from supervisor_tree.core.stimuli import ApplyRequested
from supervisor_tree.core.unmet import problems_of_needs
from supervisor_tree.errors import OperationFailed, TryAgain, UsageError
from supervisor_tree.runtime.desk import Desk
from supervisor_tree.runtime.infrastructure import agent_modules, has_foreign_users
from supervisor_tree.runtime.meant import check_reached, path_of
from supervisor_tree.runtime.membership import Membership, specs_by_path
from supervisor_tree.runtime.notify import NotifySocket
from supervisor_tree.runtime.settings import SHARED_MODE, HostSettings
from supervisor_tree.runtime.undertakings import Undertakings

__all__ = ["Applier", "Applying", "Spawning"]

_PRELOAD_S = 15.0
_CODES_KEPT = 3  # each is a process with the modules of all agents in it
_BIRTHS = (ChangeAction.CREATE, ChangeAction.RESTART)
_KEPT_BACK = (Result.ROLLED_BACK, Result.LOST)
_ENDED = "the host was asked to stop before it was over; the next start reads the files anew"
_IN_PLACE = ("policy", "preload")  # keys of `host` that need no restart of it
_OF_CHILDREN = ("env_file",)  # and one that is their own in the specification


class Spawning(Protocol):
    """What makes processes, and can do so with code that is read anew."""

    def refresh(
        self, *, preload: Sequence[str] | None = None, modules: Sequence[str] | None = None
    ) -> None:
        """Raises OSError, and leaves all as it was, if no process can be started."""
        ...

    def retire(self, keep: Collection[int] = ()) -> None:
        """Give up all former code but that of these numbers."""
        ...

    @property
    def code(self) -> int:
        """The number of the newest code."""
        ...


class Applying(Protocol):
    """What is needed of the host.  Implemented by `host.Host`."""

    settings: HostSettings
    members: Membership
    notify: NotifySocket

    @property
    def launcher(self) -> Spawning: ...

    def publish(self, event: LifecycleEvent) -> None: ...


class Applier:
    """Of one host; `tell` takes lines for an operator."""

    def __init__(self, host: Applying, desk: Desk, tell: Callable[[str], None]) -> None:
        self.undertakings = Undertakings(desk.wall)
        self._host = host
        self._desk = desk
        self.say = desk.say
        self._tree = desk.tree
        self._tell = tell
        self._next: Callable[[], None] | None = None  # when the fresh code is there
        self._calls = count(1)

    # --- ApplyView ----------------------------------------------------------------------------

    @property
    def origin(self) -> Origin:
        """See ApplyView."""
        return self._host.settings.origin

    @property
    def sys_path(self) -> tuple[str, ...]:
        """See ApplyView."""
        return self._host.settings.sys_path

    def plan(self, proposal: Proposal) -> dict[str, Any]:
        """See ApplyView."""
        self._check_phase()
        spec, drift = self._target(proposal)
        changes = plan(self._tree, spec, drift)
        return {
            "changes": [_change_data(change) for change in changes],
            "host": self._host_changes(proposal),
            "problems": list(proposal.problems),
            "left_out": self._left_out(proposal.origin.left_out),
        }

    def begin(self, proposal: Proposal) -> int:
        """See ApplyView.  Raises TryAgain while another one is under way."""
        self._check_phase()
        if self.undertakings.under_way is not None:
            raise TryAgain(
                f"an apply is under way (operation {self.undertakings.under_way}); it can be "
                f"waited for: `wait --operation {self.undertakings.under_way}`"
            )
        spec, drift = self._target(proposal)
        changes = plan(self._tree, spec, drift)
        check_reached(changes, drift)
        problems = problems_of_needs(spec)
        if problems:
            raise UsageError("\n".join(map(str, problems)))
        self._check_shape(spec)
        host_changes = self._host_changes(proposal)
        number = self.undertakings.begin(
            kind="apply",
            file=proposal.origin.file,
            changes=[],
            host=host_changes,
            problems=list(proposal.problems),
            left_out=self._left_out(proposal.origin.left_out),
        )
        self._apply_policy(proposal, host_changes)
        was = in_force(self._tree, spec)
        self._next = partial(self._carry_out, number, proposal, spec, drift, was)
        if self._needs_fresh_code(changes, drift, proposal, host_changes):
            self._refresh(spec, proposal)
        else:
            self.preloaded()
        return number

    def preloaded(self) -> None:
        """A spawner has read its code."""
        following, self._next = self._next, None
        if following is not None:
            following()

    def give_up(self) -> None:
        """The host ends, and what is under way with it: whoever waits for that is told."""
        number = self.undertakings.under_way
        if number is not None:
            self.undertakings.end(number, ok=False, error=_ENDED)

    def operations(self) -> list[dict[str, Any]]:
        """See ApplyView."""
        return self.undertakings.all()

    def operation(self, number: int) -> dict[str, Any] | None:
        """See ApplyView."""
        return self.undertakings.get(number)

    def when_over(self, number: int, done: Callable[[], None]) -> None:
        """See ApplyView."""
        self.undertakings.when_over(number, done)

    def rejected(self, file: str, problems: list[str]) -> None:
        """See ApplyView."""
        detail = {"file": file, "problems": problems[:20], "count": len(problems)}
        self._host.publish(
            LifecycleEvent(event=EventName.CONFIG_REJECTED, path="/", kind="host", detail=detail)
        )

    def tell_left_out(self, before: Collection[LeftOut] = ()) -> None:
        """Tell of the included files that are left out now, but of none that was so `before`."""
        new = [each for each in self.origin.left_out if each not in before]
        for told in self._left_out(new):
            detail = {
                "file": told["file"],
                "child": told["path"],
                "goes_on": told["goes_on"],
                "problems": told["problems"],
                "count": len(told["problems"]),
            }
            name = EventName.CONFIG_REJECTED
            self._host.publish(LifecycleEvent(event=name, path="/", kind="host", detail=detail))

    def edited(self, files: Mapping[str, tuple[str, SourceFile]]) -> None:
        """See ApplyView."""
        sources = []
        for source in self.origin.sources:
            before, after = files.get(source.path, (None, source))
            sources.append(after if before == source.digest else source)
        origin = replace(self.origin, sources=tuple(sources))
        self._host.settings = replace(self._host.settings, origin=origin)

    def call_in(self, delay_s: float, callback: Callable[[], None]) -> None:
        """See ApplyView."""
        self._desk.call_in(("apply", next(self._calls)), delay_s, callback)

    def _left_out(self, files: Iterable[LeftOut]) -> list[dict[str, Any]]:
        return left_out_data(map(asdict, files), self.origin.included)

    # --- what is wanted -----------------------------------------------------------------------

    def _check_phase(self) -> None:
        if self._desk.phase == "stopping":
            raise TryAgain("the host is ending")
        if "/" not in self._tree.supervisors:
            raise TryAgain("the host has not begun to start its tree; try again")

    def _check_shape(self, spec: SupervisorSpec) -> None:
        """Lanes and templates cannot be exchanged under children that run."""
        top = self._tree.supervisors["/"].spec
        if not same_shape(top, spec):
            raise OperationFailed(
                f"cannot apply: the tree itself would go from {top.strategy}, {top.start} to "
                f"{spec.strategy}, {spec.start}, which needs a restart of the host; nothing was "
                "changed"
            )

    def _target(self, proposal: Proposal) -> tuple[SupervisorSpec, Drift]:
        """The tree as it is to be, and what has changed around it."""
        spec = proposal.spec
        now = in_force(self._tree, spec)
        drift = dict(drift_between(self.origin.contents, proposal.origin.contents))
        included = self.origin.included
        left_out = [each.file for each in proposal.origin.left_out]
        kept = [included[file] for file in left_out if file in included]
        # A supervisor first: what else is below it comes with it.
        spec = graft(spec, now, sorted(kept, key=lambda path: path.count("/")))
        if proposal.reload is None:
            return spec, drift
        paths = self._named(proposal.reload, now, spec)
        if proposal.reload != ("*",):
            spec = graft(now, spec, paths)
            drift = {path: names for path, names in drift.items() if _is_below(path, paths)}
        for path in paths:
            drift[path] = (*drift.get(path, ()), ASKED)
        return spec, drift

    def _named(self, names: tuple[str, ...], now: SupervisorSpec, new: SupervisorSpec) -> list[str]:
        """The paths of those that are to be reloaded.  Raises for a name that says nobody."""
        if names == ("*",):
            return [f"/{child.id}" for child in new.children]
        known = dict(specs_by_path(now)) | dict(specs_by_path(new))
        known |= {path: child.spec for path, child in self._tree.children.items()}
        return [path_of(name, known) for name in names]

    def _host_changes(self, proposal: Proposal) -> list[dict[str, Any]]:
        """Settings of the host itself; named by key, as their values may be long."""
        if proposal.reload is not None:
            return []
        old, new = self.origin.host, proposal.origin.host
        changed = _changed_keys(self.origin, proposal.origin)
        return [
            {
                "key": f"host.{key}",
                "action": "update" if key in _IN_PLACE else "restart_host",
                "why": _host_why(key, old.get(key), new[key]),
            }
            for key in changed
            if key not in _OF_CHILDREN
        ]

    # --- carried out --------------------------------------------------------------------------

    def _needs_fresh_code(
        self,
        changes: list[Change],
        drift: Drift,
        proposal: Proposal,
        host_changes: list[dict[str, Any]],
    ) -> bool:
        if proposal.reload is not None or any(c["key"] == "host.preload" for c in host_changes):
            return True
        return any(
            "code" in (*drift.get(c.path, ()), *drift.get(f"{c.supervisor}/*", ()))
            for c in changes
            if c.action in _BIRTHS or c.stays
        )

    def _refresh(self, spec: SupervisorSpec, proposal: Proposal) -> None:
        preload = proposal.origin.host.get("preload")
        try:
            self._host.launcher.refresh(preload=preload, modules=agent_modules(spec))
        except OSError as error:
            self._tell(f"no fresh code: cannot start another spawner: {error}")
            self.preloaded()
            return
        # Old lives go on meanwhile; whoever takes longer to import is not waited for.
        self._desk.call_in("preload", _PRELOAD_S, self.preloaded)

    def _carry_out(
        self,
        number: int,
        proposal: Proposal,
        spec: SupervisorSpec,
        drift: Drift,
        was: SupervisorSpec,
    ) -> None:
        """Put `spec` in force; what an operator has disabled since `was` stays so."""
        if self._desk.phase == "stopping":
            self.give_up()
            return
        spec = amended(spec, was, in_force(self._tree, spec))
        if has_foreign_users(spec):  # who must reach the notify socket
            os.chmod(self._host.settings.run_dir, SHARED_MODE)
            self._host.notify.open_to_everyone()
        code = self._host.launcher.code
        order = partial(
            ApplyRequested, spec=spec, drift=drift, rollback=proposal.rollback, code=code
        )
        self._desk.submit(order, partial(self._over, number, proposal))

    def _apply_policy(self, proposal: Proposal, host_changes: list[dict[str, Any]]) -> None:
        if any(change["key"] == "host.policy" for change in host_changes):
            rules = tuple(rule_from_data(rule) for rule in proposal.origin.host["policy"])
            self._host.settings = replace(self._host.settings, policy=rules)
            self._host.members.govern(rules)

    def _over(self, number: int, proposal: Proposal, result: tuple[Any, ...]) -> None:
        if result[0] != "ok":
            self.undertakings.end(number, ok=False, error=str(result[1]))
            self.rejected(proposal.origin.file or "", [str(result[1])])
            return
        outcomes: tuple[Outcome, ...] = result[1]
        for outcome in outcomes:
            self._host.members.touch(outcome.change.path)
        before = self.origin.left_out
        origin = self._now_in_force(proposal, outcomes)
        self._host.settings = replace(self._host.settings, origin=origin)
        self.tell_left_out(before)
        self._retire()
        failed = [o for o in outcomes if o.result in (Result.FAILED, *_KEPT_BACK)]
        ok = not failed and not proposal.problems
        changes = [_outcome_data(outcome) for outcome in outcomes]
        self.undertakings.end(number, ok=ok, changes=changes)
        counts: dict[str, int] = {}
        for outcome in outcomes:
            action = outcome.change.action.value
            counts[action] = counts.get(action, 0) + 1
        detail = {
            "operation": number,
            "ok": ok,
            "changes": counts,
            "failed": [outcome.change.path for outcome in failed],
        }
        self._host.publish(
            LifecycleEvent(event=EventName.CONFIG_APPLIED, path="/", kind="host", detail=detail)
        )

    def _retire(self) -> None:
        """Former code stays as long as somebody would start again with it, but not for ever."""
        children = self._tree.children.values()
        codes = {child.code for child in children if not child.path.startswith("/_/")}
        self._host.launcher.retire(sorted(codes)[-_CODES_KEPT:])

    def _now_in_force(self, proposal: Proposal, outcomes: tuple[Outcome, ...]) -> Origin:
        """When an apply is over.  What was put back, or left out, is still what it was before."""
        old, new = self.origin, proposal.origin
        back = [outcome.change.path for outcome in outcomes if outcome.result in _KEPT_BACK]
        if proposal.reload is not None and proposal.reload != ("*",):
            meant = [outcome.change.path for outcome in outcomes if outcome.change.path not in back]
            contents = _mixed(old.contents, new.contents, meant)
            known = {source.path: source for source in old.beside}
            read = {name.partition(" ")[2] for path in meant for name in contents.get(path, ())}
            known |= {source.path: source for source in new.beside if source.path in read}
            return replace(old, contents=contents, beside=tuple(known.values()))
        left_out = [each.file for each in new.left_out]
        kept = {file: old.included[file] for file in left_out if file in old.included}
        contents = _mixed(new.contents, old.contents, [*kept.values(), *back])
        before = {source.path: source for source in old.sources}
        stale = set(left_out) | (set(before) if back else set())
        needs_restart = [
            key for key in _changed_keys(old, new) if key not in (*_IN_PLACE, *_OF_CHILDREN)
        ]
        return replace(
            new,
            included={**new.included, **kept},
            host={**new.host, **{key: old.host.get(key) for key in needs_restart}},
            pending=tuple(needs_restart),
            contents=contents,
            sources=tuple(
                before.get(source.path, source) if source.path in stale else source
                for source in new.sources
            ),
        )


def _changed_keys(old: Origin, new: Origin) -> list[str]:
    """Settings of the host that are others now; none if one of them has said nothing of it."""
    if not old.host or not new.host:
        return []
    return [key for key in new.host if new.host[key] != old.host.get(key)]


def _mixed(contents: Contents, other: Contents, paths: list[str]) -> Contents:
    """`contents`, but those of `paths` and all below them as in the other."""
    mixed = {path: each for path, each in contents.items() if not _is_below(path, paths)}
    return mixed | {path: each for path, each in other.items() if _is_below(path, paths)}


def _is_below(path: str, paths: Iterable[str]) -> bool:
    return any(path == each or path.startswith(f"{each}/") for each in paths)


def _host_why(key: str, old: Any, new: Any) -> str:
    plain = all(value is None or isinstance(value, str | int | float) for value in (old, new))
    if plain:
        old, new = ("(default)" if value is None else value for value in (old, new))
        return f"{key} {old} -> {new}"
    return f"{key} changed"


def _change_data(change: Change) -> dict[str, Any]:
    return {"path": change.path, "action": change.action.value, "why": list(change.why)}


def _outcome_data(outcome: Outcome) -> dict[str, Any]:
    return {
        **_change_data(outcome.change),
        "result": outcome.result.value,
        "error": outcome.reason,
    }
