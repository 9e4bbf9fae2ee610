"""A supervisor: OTP's supervisor.erl without its blocking.

It takes one message at a time and suspends at exactly two effects, the start of a child and
the stop of some (`work.Work`).  Whatever completes the effect in flight goes straight to
it (`life.py`); everything else waits in the mailbox.  So the order of all it does is OTP's,
and nobody outside ever waits for it.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from supervisor_tree.core import restarts, starts, stops
from supervisor_tree.core.actions import Report, ReportContext, Why
from supervisor_tree.core.checks import check_supervisor, template_of
from supervisor_tree.core.child import SAFE_MODE, Child, ChildState
from supervisor_tree.core.exits import KILLED, SHUTDOWN, ExitKind, ExitReason, Term
from supervisor_tree.core.holds import is_held
from supervisor_tree.core.intensity import RestartWindow
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.needs import needed_path
from supervisor_tree.core.specs import (
    ChildSpec,
    Restart,
    Strategy,
    SupervisorSpec,
)
from supervisor_tree.core.stimuli import ChildReady
from supervisor_tree.core.work import (
    BackoffElapsed,
    Boot,
    ExitNotice,
    Lane,
    Message,
    ParentStop,
    Purpose,
    Retry,
    Work,
)

if TYPE_CHECKING:
    from supervisor_tree.core.tree import Tree

__all__ = ["Phase", "Supervisor"]


class Phase(Enum):
    """Where a supervisor is in its own life."""

    BOOTING = auto()
    ACTIVE = auto()
    ENDING = auto()
    GONE = auto()


class Supervisor:
    """One life of one supervisor.  `record` is its entry in the parent's list; None on top."""

    def __init__(
        self, tree: Tree, path: str, generation: int, spec: SupervisorSpec, record: Child | None
    ) -> None:
        self.tree = tree
        self.path = path
        self.generation = generation
        self.spec = spec
        self.record = record
        self.phase = Phase.BOOTING
        self.children: dict[str, Child] = {}  # in start order
        self.window = RestartWindow()
        self.lane = Lane(self)
        self.completed: set[str] = set()  # temporary children of the spec that ended cleanly
        self.since = tree.now
        self.started_at: float | None = None
        self.unsettled = 0  # concurrent boot: first starts without an outcome
        self.why = Why.STOPPED
        self.cause: str | None = None
        self.cause_exit: ExitReason | None = None

    @property
    def simple(self) -> bool:
        """All children are instances of one template."""
        return self.spec.strategy is Strategy.SIMPLE_ONE_FOR_ONE

    @property
    def concurrent(self) -> bool:
        """Each child has a lane of its own."""
        return self.spec.concurrent

    @property
    def ending(self) -> bool:
        """It stops its children and will be gone; nothing changes its reason but a kill."""
        return self.phase in (Phase.ENDING, Phase.GONE)

    def post(self, lane: Lane, message: Message) -> None:
        """Put a message at the end of a mailbox."""
        lane.mailbox.append(message)
        self.tree.wake(lane)

    def add_child(self, child_id: str, spec: ChildSpec, args: Any = None) -> Child:
        """A new entry at the end of the list, not started."""
        path = f"{self.path.rstrip('/')}/{child_id}"
        lane = Lane(self) if self.concurrent else self.lane
        child = Child(child_id, path, spec, self, lane, args, since=self.tree.now)
        child.generation, child.code = self.tree.last_life(path)
        self.children[child_id] = child
        self.tree.children[path] = child
        return child

    # --- the loop ---------------------------------------------------------------------

    def run(self, lane: Lane) -> None:
        """Go on with a lane until an effect is in flight or nothing is left to do."""
        while self.phase is not Phase.GONE:
            if self.phase is Phase.ENDING and lane is not self.lane:
                return
            if lane.work is not None:
                if not self._advance(lane, lane.work):
                    return
            elif lane.mailbox:
                self._take(lane, lane.mailbox.pop(0))
            elif not starts.resume(self, lane):
                return

    def _take(self, lane: Lane, message: Message) -> None:
        match message:
            case ExitNotice():
                restarts.exited(self, lane, message)
            case Retry():
                child = self.children.get(message.id)
                if child is not None and child.state is ChildState.BACKOFF and child.timer is None:
                    restarts.restart(self, lane, child)
            case BackoffElapsed():
                restarts.backoff_elapsed(self, lane, message)
            case Boot():
                self._boot(lane, parked=message.parked)
            case ParentStop():
                self.end(message.reason, Why.STOPPED)
            case _:
                self.tree.answer(self, lane, message)

    def _advance(self, lane: Lane, work: Work) -> bool:
        """One step of the work in hand; False while its effect is in flight."""
        if work.starting is not None or (work.awaiting and not (work.together and work.stops)):
            return False
        if work.stops:
            stops.stop_next(self, work)
        elif work.starts:
            starts.start_next(self, lane, work)
        elif work.blocked:
            # Children that need each other in a ring: nobody can be the first, so all are.
            work.stops.extend(work.blocked)
            work.blocked.clear()
        else:
            lane.work = None
            self.finish(work)
        return True

    def finish(self, work: Work) -> None:
        """All of a work is done: answer for it, and go on as its purpose says."""
        if work.request is not None:
            down = work.purpose in (Purpose.TERMINATE, Purpose.HOLD)
            subject = work.subject
            self.tree.reply(
                work.request, ("ok",) if down or subject is None else ("ok", subject.handle)
            )
        if work.purpose is Purpose.BOOT and not self.concurrent:
            self._booted()
        elif work.purpose in (Purpose.END, Purpose.KILL):
            self._report_errors(work)
            self._gone(work.reason or SHUTDOWN)

    # --- boot -------------------------------------------------------------------------

    def _boot(self, lane: Lane, *, parked: bool) -> None:
        error = check_supervisor(self.spec)
        if error is not None:
            self.why = Why.BOOT
            self._gone(ExitReason(kind=ExitKind.ABNORMAL, term=error))
            return
        if not self.simple:
            for spec in self.spec.children:
                self.add_child(spec.id, spec)
        if parked:
            self._park_all()
            return
        if not self.concurrent:
            lane.work = Work(Purpose.BOOT, lane, starts=deque(self.children.values()))
            return
        # Each start is its own; a supervisor is up when each first attempt has an outcome.
        self.unsettled = len(self.children)
        for child in self.children.values():
            child.lane.work = Work(Purpose.BOOT, child.lane, starts=deque([child]), subject=child)
            self.tree.wake(child.lane)
        if not self.children:
            self._booted()

    def _park_all(self) -> None:
        """Safe mode: the supervisor is up, and whom an operator does not hold waits for one."""
        for child in self.children.values():
            child.wanted = not is_held(self.tree, child)
            if child.wanted:
                self.tree.move(child, ChildState.PARKED, SAFE_MODE)
                self.tree.publish(EventName.CHILD_PARKED, child, {"safe_mode": True})
        self._booted()

    def settled(self, work: Work) -> None:
        """A child's first start has an outcome, or waits for what the child needs."""
        if self.concurrent and work.purpose is Purpose.BOOT and not work.settled:
            work.settled = True
            self.unsettled -= 1
            if self.unsettled == 0:
                self._booted()

    def _booted(self) -> None:
        if self.phase is Phase.BOOTING:
            self.phase = Phase.ACTIVE
            self.since = self.started_at = self.tree.now
            if self.record is not None:
                self.tree.arrive(ChildReady(self.path, self.generation))

    # --- lists ------------------------------------------------------------------------

    def stopped(self, child: Child, reason: ExitReason) -> None:
        """A child that a work waits for has ended."""
        stops.stopped(self, child, reason)

    def down(self, child: Child, cause: str, *, forget: bool | None = None) -> None:
        """The child has no process; temporary ones and instances of a template are forgotten."""
        child.inner = child.pid = None
        child.ready = False
        if child.state is not ChildState.STOPPED:
            self.tree.move(child, ChildState.STOPPED, cause)
        detail = {} if child.error is None else {"error": child.error}
        self.tree.publish(EventName.CHILD_STOPPED, child, detail)
        if forget is None:
            forget = self.simple or child.spec.restart is Restart.TEMPORARY
        if forget:
            self.forget(child)

    def forget(self, child: Child) -> None:
        """Strike the child off the list."""
        exit_reason = child.last_exit
        completed = exit_reason is not None and exit_reason.clean and not self.simple
        if completed and any(spec.id == child.id for spec in self.spec.children):
            self.completed.add(child.id)
        self.children.pop(child.id, None)
        self.tree.forget_child(child)
        for request in (*child.askers, *(order.request for order in child.breakers)):
            self.tree.reply(request, ("error", "aborted"))
        child.askers, child.breakers = [], []
        if child.lane is not self.lane and child.lane.mailbox:
            # Who still waits in the mailbox that goes with the child is answered all the same.
            self.lane.mailbox.extend(child.lane.mailbox)
            child.lane.mailbox.clear()
            self.tree.wake(self.lane)

    # --- the end ----------------------------------------------------------------------

    def parent_stop(self, reason: ExitReason) -> None:
        """The parent's exit signal: an ordinary message as to order (OTP).

        With `abort_starts` (our addition) it does not wait for what is in flight.
        """
        if self.ending:
            return
        if self.tree.abort_starts:
            self.end(reason, Why.STOPPED)
        else:
            self.post(self.lane, ParentStop(reason))

    def kill_all(self) -> None:
        """The supervisor is killed: all below it are, and it is gone when they are gone."""
        self.why, self.cause, self.cause_exit = Why.KILLED, None, None
        self._close(Work(Purpose.KILL, self.lane, together=True, reason=KILLED))

    def end(self, reason: ExitReason, why: Why, child: Child | None = None) -> None:
        """Stop all in stop order, then end with `reason`."""
        if child is not None:
            self.cause, self.cause_exit = self.tree.cause_of(child)
        self.why = why
        work = Work(Purpose.END, self.lane, together=self.simple or self.concurrent, reason=reason)
        if self.concurrent:
            for each in self.children.values():
                for need in each.spec.needs:
                    other = self.tree.children.get(needed_path(self.path, need))
                    if other is not None and other.owner is self:
                        work.blocked[other] = work.blocked.get(other, 0) + 1
        self._close(work)

    def _close(self, work: Work) -> None:
        self.phase = Phase.ENDING
        self.since = self.tree.now
        for lane in self.lanes():
            for pending in (lane.work, *lane.deferred):
                if pending is not None and pending.request is not None:
                    self.tree.reply(pending.request, ("exit", self._term(work)))
                    # A start that it had in flight may come to its end before the stop gets there.
                    pending.request = None
            lane.work = None
            lane.deferred.clear()
        work.stops = deque(reversed(self.children.values()))
        self.lane.work = work
        self.tree.wake(self.lane)

    def lanes(self) -> list[Lane]:
        """The supervisor's own, and the children's if they have their own."""
        if not self.concurrent:
            return [self.lane]
        return [self.lane, *(child.lane for child in self.children.values())]

    def _term(self, work: Work) -> Term:
        return None if work.reason is None else work.reason.term

    def _gone(self, reason: ExitReason) -> None:
        self.phase = Phase.GONE
        for child in self.children.values():
            orders = (*child.askers, *(order.request for order in child.breakers))
            for request in orders:
                self.tree.reply(request, ("exit", reason.term))
        for lane in self.lanes():
            for message in lane.mailbox:
                request = getattr(message, "request", None)
                if request is not None:
                    self.tree.reply(request, ("exit", reason.term))
            lane.mailbox.clear()
        for child in list(self.children.values()):
            self.tree.forget_child(child)
        self.tree.supervisor_gone(self, reason)

    # --- reports ----------------------------------------------------------------------

    def report(self, context: ReportContext, child: Child, reason: Term) -> None:
        self.tree.emit(Report(self.path, self.generation, context, child.id, reason))

    def _report_errors(self, work: Work) -> None:
        for child, reason in work.errors.values():
            self.report(ReportContext.SHUTDOWN_ERROR, child, reason.term)

    def template(self) -> ChildSpec | None:
        """The one specification of a simple_one_for_one supervisor."""
        return template_of(self.spec) if self.simple else None
