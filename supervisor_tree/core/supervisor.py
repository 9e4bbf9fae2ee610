"""A supervisor: OTP's supervisor.erl without its blocking.

It takes one message at a time and suspends at exactly two effects, the start of a child and
the stop of some (`work.Work`).  Whatever completes the effect in flight goes straight to
it (`life.py`); everything else waits in the mailbox.  So the order of all it does is OTP's,
and nobody outside ever waits for it.

Rule numbers in comments ("OTP 6.4") are those of docs/explanation/otp-rules.md.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from supervisor_tree.core import life, strategy
from supervisor_tree.core.actions import Report, ReportContext, Why
from supervisor_tree.core.backoff import delay_s, next_attempt
from supervisor_tree.core.checks import check_supervisor, template_of
from supervisor_tree.core.child import ALIVE, Child, ChildState
from supervisor_tree.core.exits import KILLED, SHUTDOWN, ExitKind, ExitReason, Term
from supervisor_tree.core.intensity import RestartWindow
from supervisor_tree.core.lifecycle import EventName
from supervisor_tree.core.needs import first_missing
from supervisor_tree.core.specs import (
    AutoShutdown,
    ChildSpec,
    OnLimit,
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
_LIVE_OR_RESTARTING = ALIVE | {ChildState.BACKOFF}


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
                self._exited(lane, message)
            case Retry():
                child = self.children.get(message.id)
                if child is not None and child.state is ChildState.BACKOFF and child.timer is None:
                    self._restart(lane, child)
            case BackoffElapsed():
                self._backoff_elapsed(lane, message)
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

    def _settled(self, work: Work) -> None:
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
        by_rule = work.purpose in (Purpose.BOOT, Purpose.RESTART)
        if (
            child.state not in _STARTABLE
            or (work.purpose is Purpose.BOOT and child.state is ChildState.BACKOFF)
            or (by_rule and self.tree.is_held(child))
            or self.children.get(child.id) is not child
        ):
            work.starts.popleft()
            if by_rule and child.state is ChildState.STOPPED:
                child.wanted = False
            self._settled(work)
            return
        missing = first_missing(self.tree, child)
        if missing is not None:
            path, need = missing
            child.waiting_for = f"{need.child} {need.condition.value}"
            self.tree.watch(path, lane)
            lane.work = None
            lane.deferred.append(work)
            self._settled(work)
            return
        work.starts.popleft()
        life.begin_start(self, child, work, self.tree.now)

    def _resume(self, lane: Lane) -> bool:
        """Take up a work that waited for what a child needs, if that is there now."""
        for work in lane.deferred:
            child = work.starts[0]
            missing = first_missing(self.tree, child)
            if missing is None or child.state is not ChildState.STOPPED:
                lane.deferred.remove(work)
                lane.work = work
                return True
            self.tree.watch(missing[0], lane)
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

    def start_succeeded(self, work: Work, child: Child, info: Term) -> None:
        """OTP: {ok, Pid} or {ok, Pid, Info}."""
        self._settled(work)
        if work.request is not None:
            extra = () if info is None else (info,)
            self.tree.reply(work.request, ("ok", child.handle, *extra))
            work.request = None

    def start_ignored(self, work: Work, child: Child) -> None:
        """OTP: `ignore`.  The child becomes undefined; there is no retry (OTP 4.2, 6.9, 10.1)."""
        self._settled(work)
        child.wanted = False
        # OTP keeps what an order has started, also a temporary child that an upgrade had added.
        kept = work.purpose is Purpose.REVIVE and not self.simple
        self._down(child, "start ignored", forget=False if kept else None)
        if work.request is not None:
            self.tree.reply(work.request, ("ok", None))
            work.request = None

    def start_aborted(self, work: Work, child: Child) -> None:
        """An order about this child has broken off its start: the child is undefined."""
        self._settled(work)
        self._down(child, "start broken off", forget=work.purpose is Purpose.ADD)
        if work.request is not None:
            self.tree.reply(work.request, ("error", "aborted"))
            work.request = None

    def start_failed(self, work: Work, child: Child, reason: Term) -> None:
        """OTP: {error, Reason}."""
        child.error = reason
        if work.request is not None:
            answer: Any = reason
            if work.purpose is Purpose.ADD and not self.simple:
                answer = (reason, "child")
            self.tree.reply(work.request, ("error", answer))
            work.request = None
        if work.purpose is Purpose.ADD:
            self._down(child, "start failed", forget=True)
            return
        if work.purpose is Purpose.REVIVE:
            child.wanted = False
            self._down(child, "start failed", forget=False)
            return
        if work.purpose is Purpose.RENEW and child.spec.restart is Restart.TEMPORARY:
            self._down(child, "start failed")
            return
        self._report(ReportContext.START_ERROR, child, reason)
        if work.purpose is Purpose.BOOT and not self.concurrent:
            self._down(child, "start failed")
            self._roll_back(child, reason)
            return
        # OTP 7.1: not a loop but a message to oneself, so that requests come in between.
        self._settled(work)
        work.starts.clear()
        self.tree.move(child, ChildState.BACKOFF, "start failed")
        self.post(child.lane, Retry(child.id))

    def _roll_back(self, child: Child, reason: Term) -> None:
        """OTP 4.3: stop what has been started; no retry, no counting."""
        term = ("shutdown", ("failed_to_start_child", child.id, reason))
        self.end(ExitReason(kind=ExitKind.SHUTDOWN, term=term), Why.BOOT, child)

    # --- exits and restarts -------------------------------------------------------------

    def _exited(self, lane: Lane, notice: ExitNotice) -> None:
        child = notice.child
        reason = child.exit
        if reason is None or child.generation != notice.generation:
            return
        self._bury(child)
        if strategy.is_reported(child.spec.restart, reason):
            self._report(ReportContext.CHILD_TERMINATED, child, reason.term)
        if strategy.must_restart(child.spec.restart, reason):
            self.tree.move(child, ChildState.STOPPED, "exited")
            self._restart(lane, child)
            return
        child.wanted = False
        self._down(child, "ended")
        self._consider_auto_shutdown(child)

    def _bury(self, child: Child) -> None:
        child.exit = child.pid = child.inner = None

    def _restart(self, lane: Lane, child: Child) -> None:
        """Count first, then carry out (OTP 6.1)."""
        window = self.window
        if child.spec.on_limit is OnLimit.PARK:
            if child.window is None:
                child.window = RestartWindow()
            window = child.window
        spec = self.spec
        within = window.record(self.tree.now, intensity=spec.intensity, period=spec.period)
        detail: dict[str, Any] = {
            "child": child.id,
            "restarts": len(window),
            "intensity": spec.intensity,
            "period": spec.period,
        }
        if not within:
            self._limit_reached(child, detail)
            return
        self.tree.publish_own(EventName.SUPERVISOR_RESTARTING, self, detail)
        wait_s = self._delay_s(child)
        if wait_s > 0:
            self._back_off(lane, child, wait_s)
        else:
            self._carry_out(lane, child)

    def _limit_reached(self, child: Child, detail: dict[str, Any]) -> None:
        self.tree.publish_own(EventName.INTENSITY_REACHED, self, detail)
        if child.spec.on_limit is OnLimit.PARK:
            self.tree.move(child, ChildState.PARKED, "too many restarts")
            self.tree.publish(EventName.CHILD_PARKED, child, detail)
            return
        self._report(ReportContext.SHUTDOWN, child, "reached_max_restart_intensity")
        child.wanted = False
        self._down(child, "too many restarts")
        self.end(SHUTDOWN, Why.INTENSITY, child)

    def _delay_s(self, child: Child) -> float:
        backoff = child.spec.backoff
        if backoff is None:
            return 0.0
        if child.started_at is not None:
            child.attempt = next_attempt(backoff, child.attempt, self.tree.now - child.started_at)
        jitter = self.tree.jitter() if backoff.jitter else 0.0
        wait_s = delay_s(backoff, child.attempt, jitter)
        child.attempt += 1
        return wait_s

    def _back_off(self, lane: Lane, child: Child, wait_s: float) -> None:
        """Wait; a group waits for its largest delay, and a failure meanwhile joins it."""
        deadline = self.tree.now + wait_s
        members = strategy.group(self.spec.strategy, self.children.values(), child)
        self.tree.move(child, ChildState.BACKOFF, f"restart in {wait_s:.3g} s")
        detail = {"delay_s": wait_s, "attempt": child.attempt, "error": child.error}
        self.tree.publish(EventName.CHILD_BACKOFF, child, detail)
        if self.spec.strategy in (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE):
            waiting = [
                c for c in self.children.values() if c.timer and c.state is ChildState.BACKOFF
            ]
            deadline = max([deadline, *(c.deadline for c in waiting)])
            for other in waiting:
                life.set_timer(self, other, "backoff", deadline)
            siblings = [c for c in reversed(members) if c is not child and c not in waiting]
            for sibling in siblings:
                sibling.waiting_for = f"restart of {child.id}"
            lane.work = Work(Purpose.CLEAR, lane, stops=deque(siblings))
        life.set_timer(self, child, "backoff", deadline)

    def _backoff_elapsed(self, lane: Lane, message: BackoffElapsed) -> None:
        child = message.child
        if child.timer is None or child.generation != message.generation:
            return
        if child.state is ChildState.BACKOFF and self.tree.now >= child.deadline:
            waiting = (c for c in self.children.values() if c.timer and c.state is child.state)
            grouped = self.spec.strategy in (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)
            self._carry_out(lane, next(waiting) if grouped else child)

    def _carry_out(self, lane: Lane, child: Child) -> None:
        """Stop the group in stop order, then start it in start order (OTP 6.5-6.7)."""
        members = strategy.group(self.spec.strategy, self.children.values(), child)
        work = Work(Purpose.RESTART, lane, subject=child)
        if len(members) == 1:
            work.starts.append(child)
        else:
            work.stops.extend(m for m in reversed(members) if m is not child)
            work.starts.extend(m for m in members if m.spec.restart is not Restart.TEMPORARY)
        lane.work = work

    def _consider_auto_shutdown(self, child: Child) -> None:
        """OTP 8: a significant child has ended by itself and is not restarted."""
        mode = self.spec.auto_shutdown
        if mode is AutoShutdown.NEVER or not child.spec.significant:
            return
        if mode is AutoShutdown.ALL_SIGNIFICANT and any(
            (self.simple or c.spec.significant) and c.state in _LIVE_OR_RESTARTING
            for c in self.children.values()
        ):
            return
        self.end(SHUTDOWN, Why.SIGNIFICANT, child)

    # --- stopping ---------------------------------------------------------------------

    def _stop_next(self, work: Work) -> None:
        if not work.together:
            self._stop_one(work, work.stops.popleft())
            return
        stops, work.stops = work.stops, deque()
        for child in stops:
            if child not in work.blocked:
                self._stop_one(work, child)

    def _stop_one(self, work: Work, child: Child) -> None:
        state = child.state
        if state is ChildState.RUNNING and child.exit is not None:
            # OTP 9.4: already dead; the queued exit is taken as the answer.
            reason = child.exit
            self._bury(child)
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
        if state is ChildState.BACKOFF:
            self._down(child, "restart called off")
        elif (
            work.purpose in (Purpose.RESTART, Purpose.CLEAR)
            and child.spec.restart is Restart.TEMPORARY
        ):
            self._down(child, "forgotten")
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
                # OTP 9.5: once per reason, when all are down.
                work.errors.setdefault(reason.term, (child, reason))
            else:
                self._report(ReportContext.SHUTDOWN_ERROR, child, reason.term)
        keep = work.purpose in (Purpose.HOLD, Purpose.RENEW)
        if work.purpose in (Purpose.HOLD, Purpose.TERMINATE, Purpose.END, Purpose.KILL):
            child.wanted = False
        self._down(child, "stopped", forget=None if not keep else False)
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

    def _down(self, child: Child, cause: str, *, forget: bool | None = None) -> None:
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

    # --- the end ----------------------------------------------------------------------

    def parent_stop(self, reason: ExitReason) -> None:
        """The parent's exit signal: an ordinary message as to order (OTP 1.3).

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

    def _report(self, context: ReportContext, child: Child, reason: Term) -> None:
        self.tree.emit(Report(self.path, self.generation, context, child.id, reason))

    def _report_errors(self, work: Work) -> None:
        for child, reason in work.errors.values():
            self._report(ReportContext.SHUTDOWN_ERROR, child, reason.term)

    def template(self) -> ChildSpec | None:
        """The one specification of a simple_one_for_one supervisor."""
        return template_of(self.spec) if self.simple else None
