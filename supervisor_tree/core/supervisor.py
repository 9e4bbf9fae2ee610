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

from supervisor_tree.core import life, restarts, strategy
from supervisor_tree.core.actions import Report, ReportContext, Why
from supervisor_tree.core.checks import check_supervisor, template_of
from supervisor_tree.core.child import ALIVE, Child, ChildState
from supervisor_tree.core.exits import KILLED, SHUTDOWN, ExitKind, ExitReason, Term
from supervisor_tree.core.intensity import RestartWindow
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.needs import first_missing
from supervisor_tree.core.specs import (
    ChildSpec,
    Restart,
    StartMode,
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

_STARTABLE = frozenset({ChildState.STOPPED, ChildState.BACKOFF})


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
        return self.spec.start is StartMode.CONCURRENT and self.spec.strategy in (
            Strategy.ONE_FOR_ONE,
            Strategy.SIMPLE_ONE_FOR_ONE,
        )

    def post(self, lane: Lane, message: Message) -> None:
        """Put a message at the end of a mailbox."""
        lane.mailbox.append(message)
        self.tree.wake(lane)

    def add_child(self, child_id: str, spec: ChildSpec, args: Any = None) -> Child:
        """A new entry at the end of the list, not started."""
        path = f"{self.path.rstrip('/')}/{child_id}"
        lane = Lane(self) if self.concurrent else self.lane
        child = Child(child_id, path, spec, self, lane, args, since=self.tree.now)
        child.generation = self.tree.last_generation(path)
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
                self._take(lane, lane.mailbox.popleft())
            elif not self._resume(lane):
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
                self._boot(lane)
            case ParentStop():
                self.end(message.reason, Why.STOPPED)
            case _:
                self.tree.answer(self, lane, message)

    def _advance(self, lane: Lane, work: Work) -> bool:
        """One step of the work in hand; False while its effect is in flight."""
        if work.starting is not None or (work.awaiting and not (work.together and work.stops)):
            return False
        if work.stops:
            self._stop_next(work)
        elif work.starts:
            self._start_next(lane, work)
        elif work.blocked:
            # Children that need each other in a ring: nobody can be the first, so all are.
            work.stops.extend(work.blocked)
            work.blocked.clear()
        else:
            lane.work = None
            self._finish(work)
        return True

    def _finish(self, work: Work) -> None:
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

    def _boot(self, lane: Lane) -> None:
        error = check_supervisor(self.spec)
        if error is not None:
            self.why = Why.BOOT
            self._gone(ExitReason(kind=ExitKind.ABNORMAL, term=error))
            return
        if not self.simple:
            for spec in self.spec.children:
                self.add_child(spec.id, spec)
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

    # --- starting ---------------------------------------------------------------------

    def _start_next(self, lane: Lane, work: Work) -> None:
        child = work.starts[0]
        if self._is_passed_over(work, child):
            work.starts.popleft()
            if child.state in _STARTABLE and self.tree.is_held(child):
                child.wanted = False
                life.cancel_timer(self, child)
                if child.state is ChildState.BACKOFF:
                    self.tree.move(child, ChildState.STOPPED, "held")
            self.settled(work)
        elif self._waits(lane, child):
            if child.state is not ChildState.STOPPED:
                self.tree.move(child, ChildState.STOPPED, f"waiting for {child.waiting_for}")
            lane.work = None
            lane.deferred.append(work)
            self.settled(work)
        else:
            work.starts.popleft()
            life.begin_start(self, child, work, self.tree.now)

    def _is_passed_over(self, work: Work, child: Child) -> bool:
        """It is up already, is held, waits for a restart of its own, or is gone."""
        by_rule = work.purpose in (Purpose.BOOT, Purpose.RESTART)
        return (
            child.state not in _STARTABLE
            or (work.purpose is Purpose.BOOT and child.state is ChildState.BACKOFF)
            or (by_rule and self.tree.is_held(child))
            or self.children.get(child.id) is not child
        )

    def _waits(self, lane: Lane, child: Child) -> bool:
        """Whether something that the child needs is missing; if so the lane is told of it."""
        missing = first_missing(self.tree, child)
        if missing is None:
            return False
        path, need = missing
        child.waiting_for = f"{need.child} {need.condition.value}"
        self.tree.watch(path, lane)
        return True

    def _resume(self, lane: Lane) -> bool:
        """Take up a work that waited for what a child needs, if that is there now."""
        for work in lane.deferred:
            child = work.starts[0]
            if self._is_passed_over(work, child) or not self._waits(lane, child):
                lane.deferred.remove(work)
                lane.work = work
                return True
        return False

    def forget_deferred(self, child: Child) -> None:
        """An order about a child ends its waiting for what it needs."""
        for work in list(child.lane.deferred):
            if child in work.starts:
                work.starts.remove(child)
                if work.request is not None and work.subject is child:
                    self.tree.reply(work.request, ("error", "aborted"))
                    work.request = None
                if not work.starts:
                    child.lane.deferred.remove(work)
                    self._finish(work)
        child.waiting_for = None

    # --- stopping ---------------------------------------------------------------------

    def _stop_next(self, work: Work) -> None:
        if not work.together:
            self._stop_one(work, work.stops.popleft())
            return
        stops, work.stops = work.stops, deque()
        # Looked at before the first is stopped: whoever is freed by that comes again.
        for child in [child for child in stops if child not in work.blocked]:
            self._stop_one(work, child)

    def _stop_one(self, work: Work, child: Child) -> None:
        state = child.state
        if state is ChildState.RUNNING and child.exit is not None:
            # OTP: already dead; the queued exit is taken as the answer.
            reason = child.exit
            child.bury()
            self._stopped(work, child, reason)
            return
        if state in ALIVE:
            child.starter = None
            child.stopper = work
            work.awaiting += 1
            if work.purpose is Purpose.KILL:
                if state is not ChildState.KILLING:
                    life.kill(self, child)
            elif state not in (ChildState.STOPPING, ChildState.KILLING):
                life.stop(self, child, self.tree.now)
            return
        life.cancel_timer(self, child)
        if state is ChildState.BACKOFF and work.purpose in (Purpose.RESTART, Purpose.CLEAR):
            self.tree.move(child, ChildState.STOPPED, "restarted with its group")
        elif state is ChildState.BACKOFF:
            self.down(child, "restart called off")
        elif (
            work.purpose in (Purpose.RESTART, Purpose.CLEAR)
            and child.spec.restart is Restart.TEMPORARY
        ):
            self.down(child, "forgotten")
        self._unblock(work, child)

    def stopped(self, child: Child, reason: ExitReason) -> None:
        """The end of a child that a work waits for."""
        work = child.stopper
        assert work is not None, child
        child.stopper = None
        work.awaiting -= 1
        self._stopped(work, child, reason)
        self.tree.wake(work.lane)

    def _stopped(self, work: Work, child: Child, reason: ExitReason) -> None:
        spec = child.spec
        if work.purpose is not Purpose.KILL and strategy.is_shutdown_error(
            spec.shutdown_or_default, spec.restart, reason
        ):
            if self.simple and work.purpose is Purpose.END:
                # OTP: once per reason, when all are down.
                work.errors.setdefault(reason.term, (child, reason))
            else:
                self.report(ReportContext.SHUTDOWN_ERROR, child, reason.term)
        keep = work.purpose in (Purpose.HOLD, Purpose.RENEW)
        if work.purpose in (Purpose.HOLD, Purpose.TERMINATE, Purpose.END, Purpose.KILL):
            child.wanted = False
        self.down(child, "stopped", forget=None if not keep else False)
        self._unblock(work, child)

    def _unblock(self, work: Work, child: Child) -> None:
        """Under a concurrent supervisor what a child needs is stopped after it."""
        if not work.blocked:
            return
        for need in child.spec.needs:
            other = self.children.get(need.child)
            if other is not None and other in work.blocked:
                work.blocked[other] -= 1
                if work.blocked[other] == 0:
                    del work.blocked[other]
                    work.stops.append(other)

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
        if self.phase in (Phase.ENDING, Phase.GONE):
            return
        if self.tree.abort_starts:
            self.end(reason, Why.STOPPED)
        else:
            self.post(self.lane, ParentStop(reason))

    def kill_all(self) -> None:
        """The supervisor is killed: all below it are, and it is gone when they are gone."""
        if self.phase is not Phase.GONE:
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
                    other = self.children.get(need.child)
                    if other is not None:
                        work.blocked[other] = work.blocked.get(other, 0) + 1
        self._close(work)

    def _close(self, work: Work) -> None:
        self.phase = Phase.ENDING
        self.since = self.tree.now
        for lane in self.lanes():
            for pending in (lane.work, *lane.deferred):
                if pending is not None and pending.request is not None:
                    self.tree.reply(pending.request, ("exit", self._term(work)))
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
