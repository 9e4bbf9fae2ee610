"""`apply`: what `diff` has found, carried out on a tree that runs.

First the new flags and specifications are put in force everywhere at once, which touches no
process: the rules go by them from then on.  Then one change after the other is made, in the
order of the plan; under a concurrent supervisor those of its children together.  Each is a
request as an operator would make it, answered by the rules of `answers`, and its outcome is kept.

Who is held down stays down, and who waits for what it needs is not waited for.  There is one
application at a time; while it lasts, everybody may go on giving orders about the same children.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from supervisor_tree.core import starts
from supervisor_tree.core.actions import ReloadChild
from supervisor_tree.core.checks import check_supervisor
from supervisor_tree.core.child import Child, ChildState
from supervisor_tree.core.diff import Change, ChangeAction, Drift, diff, same_shape
from supervisor_tree.core.exits import Term
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec
from supervisor_tree.core.stimuli import (
    ApplyRequested,
    RestartRequested,
    TerminateChildRequested,
)
from supervisor_tree.core.upgrade import put_in_force
from supervisor_tree.core.work import Purpose, Work

if TYPE_CHECKING:
    from supervisor_tree.core.supervisor import Supervisor
    from supervisor_tree.core.tree import Tree

__all__ = ["Application", "Outcome", "Result", "in_force", "plan"]

_BIRTHS = (ChangeAction.CREATE, ChangeAction.RESTART)
_AT_REST = (ChildState.STOPPED, ChildState.PARKED)


class Result(StrEnum):
    """What has become of one change."""

    DONE = "done"
    WAITING = "waiting"  # in force; it starts when what it needs, or its supervisor, is there
    FAILED = "failed"  # in force; the restart rules go on
    ROLLED_BACK = "rolled_back"  # its new life has failed, its old specification is in force again
    LOST = "lost"  # it was to be rolled back, but its old self has not started either


@dataclass(frozen=True, slots=True)
class Outcome:
    """One change and what has become of it; `reason` of what has failed."""

    change: Change
    result: Result
    reason: Term = None


def plan(tree: Tree, spec: SupervisorSpec, drift: Drift) -> list[Change]:
    """What `apply` would do now with the user's tree, which must be there."""
    found = diff(in_force(tree, spec), spec, drift, lambda path: _instances(tree, path))
    return [seen for change in found if (seen := _as_it_stands(tree, change)) is not None]


def in_force(tree: Tree, new: SupervisorSpec) -> SupervisorSpec:
    """What the user's tree, which must be there, goes by now, as far as `new` may be about it."""
    return _in_force(tree.supervisors["/"], new)


def _in_force(sup: Supervisor, new: SupervisorSpec | None) -> SupervisorSpec:
    """What a supervisor goes by now.

    Children that were added by start_child are not the file's, unless `new` names them as well.
    """
    if sup.simple:
        return sup.spec
    listed = {child.id for child in sup.spec.children}
    below = {child.id: child.supervisor for child in new.children} if new is not None else {}
    named = below.keys() - listed
    added = [child.spec for child in sup.children.values() if child.id in named]

    def whole(spec: ChildSpec) -> ChildSpec:
        child = sup.children.get(spec.id)
        if child is None or child.inner is None or child.inner.ending:
            return spec
        return replace(spec, supervisor=_in_force(child.inner, below.get(spec.id)))

    return replace(sup.spec, children=tuple(map(whole, (*sup.spec.children, *added))))


def _instances(tree: Tree, path: str) -> Mapping[str, ChildSpec]:
    sup = tree.supervisors.get(path)
    return {} if sup is None else {child.id: child.spec for child in sup.children.values()}


def _as_it_stands(tree: Tree, change: Change) -> Change | None:
    """A change of what does not run now is one of its specification alone."""
    child = tree.children.get(change.path)
    sup = tree.supervisors.get(change.supervisor)
    spec = change.spec
    if change.path == change.supervisor or change.action in (
        ChangeAction.UPDATE,
        ChangeAction.MOVE,
    ):
        return change
    if sup is None or sup.ending:
        return _only_said(change, "its supervisor does not run")
    if spec is None or change.action is ChangeAction.STOP:
        # One that has done its work is listed no more, and nothing of it is left.
        return change if child is not None else None
    if tree.held.get(change.path, not spec.enabled):
        return _only_said(change, "held down" if spec.enabled else "disabled")
    if change.action is ChangeAction.SIGNAL and child is not None:
        if child.state is ChildState.STARTING:
            return replace(change, action=ChangeAction.RESTART)
        if child.state is not ChildState.RUNNING:
            return _only_said(change, "it does not run")
    return change


def _only_said(change: Change, why: str) -> Change:
    keeps = change.action in (ChangeAction.CREATE, ChangeAction.STOP)
    action = change.action if keeps else ChangeAction.UPDATE
    return replace(change, action=action, why=(*change.why, why), stays=True)


@dataclass(slots=True, eq=False)
class _Group:
    """The changes of one supervisor; those below its children are groups at their places."""

    together: bool
    above: _Group | None = None
    items: deque[_Group | _Attempt] = field(default_factory=deque)
    open: int = 0  # begun, and not over


@dataclass(slots=True, eq=False)
class _Attempt:
    """One change on its way to its outcome."""

    change: Change
    group: _Group
    failure: Term = None  # why the old specification has been put back
    outcome: Outcome | None = None


class Application:
    """One apply, from its plan to its answer."""

    def __init__(self, tree: Tree, order: ApplyRequested) -> None:
        self._tree = tree
        self._order = order
        self._changes = plan(tree, order.spec, order.drift)
        self._attempts: list[_Attempt] = []  # in the order of the plan
        self._under_way: dict[str, _Attempt] = {}
        self._answers: deque[tuple[str, tuple[Term, ...]]] = deque()
        self._former: dict[str, tuple[int, int]] = {}  # number and code of the life before
        self._begun = False
        tree.code = max(tree.code, order.code)
        self._put_in_force(tree.supervisors["/"], order.spec)
        self._top = self._grouped()

    @staticmethod
    def refusal(tree: Tree, order: ApplyRequested) -> Term:
        """Why it cannot be begun, and nothing of it is done; None if it can."""
        top = tree.supervisors.get("/")
        if top is None or top.ending:
            return "noproc"
        if tree.application is not None:
            return "busy"
        error = _first_error(order.spec)
        if error is None and not same_shape(top.spec, order.spec):
            return ("invalid_strategy", order.spec.strategy.value)
        return error

    # --- the specification ---------------------------------------------------------------

    def _put_in_force(self, top: Supervisor, spec: SupervisorSpec) -> None:
        """All below a supervisor that goes on running."""
        born = {change.path for change in self._changes if change.action in _BIRTHS}
        ends = {change.path for change in self._changes if change.action is ChangeAction.STOP}
        for change in self._changes:
            if change.stays:
                self._tree.renew_code(change.path)
        todo = [(top, spec)]
        while todo:
            sup, spec = todo.pop()
            prefix = sup.path.rstrip("/")
            listed, new = {c.id for c in sup.spec.children}, {c.id for c in spec.children}
            done = {i for i in listed - sup.children.keys() if f"{prefix}/{i}" not in born}
            put_in_force(sup, spec, absent=done)
            for child in sup.children.values():
                if child.id in listed - new:  # no rule starts again what is about to go
                    child.spec = replace(child.spec, enabled=False)
                elif child.path in born:
                    self._run_new_code(child)
                elif child.path not in ends and child.inner is not None and not child.inner.ending:
                    assert child.spec.supervisor is not None, child
                    todo.append((child.inner, child.spec.supervisor))

    def _run_new_code(self, child: Child) -> None:
        """From its next life on; of a supervisor, all below it."""
        self._former[child.path] = (child.generation, child.code)
        below = self._tree.children.values() if child.inner is not None else ()
        for each in (child, *(c for c in below if c.path.startswith(f"{child.path}/"))):
            self._tree.renew_code(each.path)

    # --- one after the other ---------------------------------------------------------------

    def _grouped(self) -> _Group:
        """Who is stopped goes before the others of the same supervisor."""
        top = _Group(together=False)
        rest: dict[str, _Group] = {}
        stops: dict[str, _Group] = {}

        def enter(path: str, above: _Group) -> None:
            sup = self._tree.supervisors.get(path)
            together = sup is not None and sup.concurrent
            whole = top if above is top else _Group(False, above)
            stops[path], rest[path] = _Group(together, whole), _Group(together, whole)
            whole.items.extend((stops[path], rest[path]))
            if whole is not top:
                above.items.append(whole)

        enter("/", top)
        for change in self._changes:
            steps = change.supervisor.strip("/").split("/")
            for depth in range(1, len(steps) + 1):
                path = "/" + "/".join(steps[:depth])
                if path not in rest:
                    enter(path, rest[path.rpartition("/")[0] or "/"])
            group = (stops if change.action is ChangeAction.STOP else rest)[change.supervisor]
            self._attempts.append(_Attempt(change, group))
            group.items.append(self._attempts[-1])
        return top

    def go_on(self) -> bool:
        """Take what has been answered, and begin what comes next; False if there is nothing."""
        if not self._begun:
            self._begun = True
            if self._run(self._top):
                self._finish()
            return True
        if not self._answers:
            return False
        path, result = self._answers.popleft()
        attempt = self._under_way[path]
        attempt.outcome = self._judge(attempt, result)
        if attempt.outcome is not None:
            del self._under_way[path]
            self._ended(attempt.group)
        return True

    def _run(self, group: _Group) -> bool:
        """Begin what can be begun; True if all of it is over."""
        while group.items and (group.together or not group.open):
            item = group.items.popleft()
            over = self._run(item) if isinstance(item, _Group) else self._begin(item)
            group.open += not over
        return not group.items and not group.open

    def _ended(self, group: _Group | None) -> None:
        """Something of a group is over."""
        while group is not None:
            group.open -= 1
            if not self._run(group):
                return
            group = group.above
        self._finish()

    def _finish(self) -> None:
        self._tree.application = None
        outcomes = tuple(attempt.outcome for attempt in self._attempts)
        self._tree.reply(self._order.request, ("ok", outcomes))

    # --- one change --------------------------------------------------------------------------

    def _begin(self, attempt: _Attempt) -> bool:
        """True if it is over at once."""
        change = attempt.change
        result = self._at_once(change)
        if result is not None:
            attempt.outcome = Outcome(change, result)
            return True
        self._under_way[change.path] = attempt
        if change.action is ChangeAction.STOP:
            self._terminate(change)
        else:
            self._restart(change, trial=self._order.rollback)
        return False

    def _at_once(self, change: Change) -> Result | None:
        """What has become of a change for which nothing has to be waited for."""
        births = change.action in _BIRTHS
        child = self._tree.children.get(change.path)
        if change.stays:
            return Result.DONE
        if births and child is not None:
            return self._by_rule(child)
        if change.action is ChangeAction.STOP:
            return None
        if change.action is ChangeAction.SIGNAL and child is not None:
            self._signal(child)
        return Result.WAITING if births else Result.DONE

    def _by_rule(self, child: Child) -> Result | None:
        """Whether the rules have given it a new life meanwhile, or are about to."""
        if child.generation != self._former[child.path][0]:
            done = {ChildState.RUNNING: Result.DONE, ChildState.STARTING: Result.WAITING}
            return done.get(child.state)
        work = child.lane.work
        due = child.state is ChildState.STOPPED and work is not None and child in work.starts
        return Result.WAITING if due else None

    def _signal(self, child: Child) -> None:
        """One that is down meanwhile reads its files anyway when it starts."""
        reload = child.spec.reload
        if child.state is ChildState.RUNNING and reload is not None and reload.signal is not None:
            self._tree.emit(ReloadChild(child.path, child.generation, reload.signal))

    def _terminate(self, change: Change) -> None:
        number = self._tree.part(change.path, self)
        name = change.path.rpartition("/")[2]
        self._tree.arrive(TerminateChildRequested(number, change.supervisor, name))

    def _restart(self, change: Change, *, trial: bool) -> None:
        number = self._tree.part(change.path, self)
        self._tree.arrive(RestartRequested(number, change.path, trial))

    def take(self, tree: Tree, path: str, result: tuple[Term, ...]) -> None:
        """A request of ours has its answer; looked at when the lanes have come to rest."""
        self._answers.append((path, result))

    def deferred(self, work: Work) -> None:
        """A start waits for what the child needs: that is not waited for here."""
        if work.request is not None and self._tree.parts.get(work.request, ("", None))[1] is self:
            self._tree.reply(work.request, ("ok", "waiting"))
            work.request = None
            work.purpose = Purpose.RENEW

    # --- outcomes ----------------------------------------------------------------------------

    def _judge(self, attempt: _Attempt, result: tuple[Term, ...]) -> Outcome | None:
        """None while more has to be done."""
        change = attempt.change
        if change.action is ChangeAction.STOP:
            return self._stopped(change)
        if result == ("ok", "waiting"):
            return Outcome(change, Result.WAITING)
        if attempt.failure is not None:
            known = Result.ROLLED_BACK if result[0] == "ok" else Result.LOST
            return Outcome(change, known, attempt.failure)
        if result[0] == "ok":
            return Outcome(change, Result.DONE)
        attempt.failure = result[1]
        child = self._tree.children.get(change.path)
        if not self._order.rollback or child is None or child.state is not ChildState.STOPPED:
            return Outcome(change, Result.FAILED, result[1])
        return self._roll_back(change, child, result[1])

    def _stopped(self, change: Change) -> Outcome:
        """One that is in the file no more is struck off; a supervisor may have ended meanwhile."""
        child = self._tree.children.get(change.path)
        if child is not None and change.spec is None:
            if child.state not in _AT_REST:
                return Outcome(change, Result.FAILED, "running")
            starts.forget_deferred(child.owner, child)
            child.owner.forget(child)
        sup = self._tree.supervisors.get(change.supervisor)
        if child is None and change.spec is not None and sup is not None and not sup.ending:
            # A temporary child is forgotten when it stops; one that is disabled is listed.
            unlisted = {each.id for each in sup.spec.children} - sup.children.keys()
            put_in_force(sup, sup.spec, absent=unlisted - {change.spec.id})
        return Outcome(change, Result.DONE)

    def _roll_back(self, change: Change, child: Child, reason: Term) -> Outcome | None:
        """Put the old specification back; start what was up by it."""
        self._put_back(child, change.old)
        child.code = self._former[child.path][1]
        if change.old is None:
            child.owner.forget(child)
        elif change.old.enabled:
            self._restart(change, trial=False)
            return None
        return Outcome(change, Result.ROLLED_BACK, reason)

    def _put_back(self, child: Child, old: ChildSpec | None) -> None:
        sup, new = child.owner, child.spec
        back = () if old is None else (old,)
        listed = (back if spec is new else (spec,) for spec in sup.spec.children)
        spec = replace(sup.spec, children=tuple(each for part in listed for each in part))
        self._tree.remember_spec(sup, spec)
        sup.spec = spec
        if old is not None:
            child.spec = old


def _first_error(spec: SupervisorSpec) -> Term:
    """OTP's, of the first supervisor that has one."""
    todo = [spec]
    while todo:
        each = todo.pop()
        error = check_supervisor(each)
        if error is not None:
            return error
        todo.extend(child.supervisor for child in each.children if child.supervisor is not None)
    return None
