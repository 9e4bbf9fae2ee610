"""A little language for trees and what happens to them, and how decisions are written down.

A transcript is a list of blocks.  Above `----` is what happens, below what the core decides:

    tree one_for_one intensity=1 period=5      boots a tree; its children follow, indented
      a restart=transient backoff=1,2,30       id and fields of its ChildSpec
      s: rest_for_one                          a nested supervisor
        x
    ----
    start /a #1
    ...

    at 2.5                                     moves the clock; timers that are due fire
    exit /a boom                               normal, shutdown, killed or any other word

Processes do what they should at once, unless told otherwise by `does=`: `hang` (never
ready), `fail`, `picky` (fails with a user), `ignore` (the start is declined), `stubborn` (ends
only when killed), `rude` (answers a stop with status 1), `deaf` (SIGABRT does not end it), several
joined by `+`.  `does PATH WORD` changes it later.

`ready PATH`, `failed PATH`, `exit PATH REASON`, `extend PATH SECONDS`, `beat PATH`,
`busy PATH LABEL`, `idle PATH`, `watchdog PATH SECONDS` and `trigger PATH` speak for a process,
`spawned PATH` for the launcher, `oversize PATH` for whoever measures memory; `late PATH SECONDS`:
nobody looks for so long, then the child's timer fires.  Requests:
start_child SUP ID [FIELDS]; terminate_child, restart_child, delete_child, get_childspec SUP ID;
which_children, count_children SUP;
upgrade SUP with a tree below; apply with the whole tree below, `rollback`, `code=N` and
`changed=PATH:NAME,...` (of a name, + stands for a space); stop, start, restart, kill,
reset_failed, disable, enable PATH; shutdown.  `tree ... down=/a,/b up=/c` boots with what a
former life of the host has remembered.
`rows` shows the picture that readers get, `story PATH` a child's history, `explain PATH` why it
is as it is.  `together` puts all indented lines into the mailboxes before the first is handled.
`otp` after `tree` turns off the breaking off of starts; with `gated` the starts of supervisors
are asked for, too, and with `parked` the children of the tree wait for an operator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from supervisor_tree.core.actions import (
    Action,
    CancelTimer,
    HoldChanged,
    Publish,
    ReloadChild,
    Reply,
    Report,
    SetTimer,
    SignalChild,
    StartChild,
    StopSignal,
    TreeEnded,
)
from supervisor_tree.core.applying import Outcome
from supervisor_tree.core.exits import KILLED, NORMAL, SHUTDOWN, ExitKind, ExitReason
from supervisor_tree.core.explanation import Level, explain
from supervisor_tree.core.specs import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    Condition,
    Need,
    OnLimit,
    Reload,
    Restart,
    StartMode,
    Strategy,
    SupervisorSpec,
    Watchdog,
)
from supervisor_tree.core.stimuli import (
    ApplyRequested,
    BootRequested,
    ChildBeat,
    ChildBusy,
    ChildExited,
    ChildReady,
    ChildSpawned,
    ChildStartFailed,
    ChildStartIgnored,
    CountChildrenRequested,
    DeleteChildRequested,
    GetChildspecRequested,
    HoldRequested,
    KillRequested,
    MemoryExceeded,
    ReleaseRequested,
    ResetFailedRequested,
    RestartChildRequested,
    RestartRequested,
    ShutdownRequested,
    StartChildRequested,
    StartTimeoutExtended,
    Stimulus,
    TerminateChildRequested,
    TimerFired,
    TimerKey,
    UpgradeRequested,
    WatchdogChanged,
    WatchdogTriggered,
    WhichChildrenRequested,
)
from supervisor_tree.core.tree import Tree

__all__ = ["Stage"]

_REASONS = {"normal": NORMAL, "shutdown": SHUTDOWN, "killed": KILLED}
_BY_ID: dict[str, Callable[[int, str, str], Stimulus]] = {
    "terminate_child": TerminateChildRequested,
    "restart_child": RestartChildRequested,
    "delete_child": DeleteChildRequested,
    "get_childspec": GetChildspecRequested,
}
_OF_SUPERVISOR: dict[str, Callable[[int, str], Stimulus]] = {
    "which_children": WhichChildrenRequested,
    "count_children": CountChildrenRequested,
}
_BY_PATH: dict[str, Callable[[int, str], Stimulus]] = {
    "stop": HoldRequested,
    "start": ReleaseRequested,
    "restart": RestartRequested,
    "kill": KillRequested,
    "reset_failed": ResetFailedRequested,
    "disable": partial(HoldRequested, amend=True),
    "enable": partial(ReleaseRequested, amend=True),
}
_SAID = frozenset(
    (
        *("exit", "ready", "failed", "spawned", "extend", "oversize"),
        *("beat", "busy", "idle", "watchdog", "trigger"),
    )
)
_LIMIT = 10_000


class Stage:
    """One tree on a virtual clock with processes that obey."""

    def __init__(self, **options: Any) -> None:
        self.tree = Tree(jitter=lambda: 0.5, **options)
        self.now = 0.0
        self.does: dict[str, set[str]] = {}
        self.timers: dict[TimerKey, float] = {}
        self.alive: dict[tuple[str, int], ChildSpec] = {}
        self.request = 0
        self.lines: list[str] = []
        self._todo: deque[Stimulus] = deque()

    def play(self, block: list[str]) -> list[str]:
        """Carry out one block; what was decided, as lines."""
        self.lines = []
        lines = deque(block)
        while lines:
            line = lines.popleft()
            below: list[str] = []
            while lines and lines[0].startswith("  "):
                below.append(lines.popleft()[2:])
            self._command(line.split(), below)
        return self.lines

    # --- what happens ----------------------------------------------------------------------

    def _command(self, words: list[str], below: list[str]) -> None:
        verb, rest = words[0], words[1:]
        match verb:
            case "at":
                self._advance(float(rest[0]))
            case "does":
                self.does[rest[0]] = set(rest[1].split("+"))
            case "rows":
                self.lines.extend(self._rows())
            case "story":
                for time, before, after, cause in self.tree.story(rest[0]):
                    self.lines.append(f"{time:g} {before} -> {after}: {cause}")
            case "explain":
                self.lines.extend(self._explained(rest[0]))
            case "late":
                key = self.tree.children[rest[0]].timer
                assert key is not None, rest
                del self.timers[key]
                self.now += float(rest[1])
                self._feed([TimerFired(key)])
            case "together":
                self._feed([self._stimulus(line.split(), []) for line in below])
            case _:
                self._feed([self._stimulus(words, below)])

    def _stimulus(self, words: list[str], below: list[str]) -> Stimulus:
        verb, rest = words[0], words[1:]
        if verb in _SAID:
            return self._said(verb, rest)
        if verb == "tree":
            top = self._supervisor(rest, below, "/")
            return BootRequested("/", top, dict(_remembered(rest)), "parked" in rest)
        if verb == "shutdown":
            return ShutdownRequested("/")
        self.request += 1
        number = self.request
        if verb in _BY_ID:
            return _BY_ID[verb](number, rest[0], rest[1])
        if verb in _OF_SUPERVISOR:
            return _OF_SUPERVISOR[verb](number, rest[0])
        if verb in _BY_PATH:
            return _BY_PATH[verb](number, rest[0])
        if verb == "apply":
            return self._apply(number, rest, below)
        if verb == "upgrade":
            spec = self._supervisor(rest[1:], below, rest[0]) if rest[1:] else None
            return UpgradeRequested(number, rest[0], spec)
        assert verb == "start_child", words
        parent = self.tree.spec(rest[0])
        nested = parent.supervisor if isinstance(parent, ChildSpec) else parent
        if nested is not None and nested.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
            return StartChildRequested(number, rest[0], name=rest[1], args={"n": number})
        return StartChildRequested(number, rest[0], self._child(rest[1:], [], rest[0]))

    def _apply(self, number: int, words: list[str], below: list[str]) -> ApplyRequested:
        order = ApplyRequested(number, SupervisorSpec(), rollback="rollback" in words)
        words = [word for word in words if word != "rollback"]
        while "=" in words[0]:
            key, _, value = words.pop(0).partition("=")
            if key == "code":
                order = replace(order, code=int(value))
            else:
                drift: dict[str, tuple[str, ...]] = {}
                for each in value.split(","):
                    path, _, name = each.partition(":")
                    drift[path] = (*drift.get(path, ()), name.replace("+", " "))
                order = replace(order, drift=drift)
        return replace(order, spec=self._supervisor(words, below, "/"))

    def _said(self, verb: str, rest: list[str]) -> Stimulus:
        row = self.tree.row(rest[0])
        generation = row.generation if row is not None else 1
        life = (rest[0], generation)
        match verb:
            case "exit":
                return ChildExited(*life, self._ended(life, rest[1]))
            case "ready":
                return ChildReady(*life)
            case "spawned":
                return ChildSpawned(*life, 99)
            case "failed":
                return ChildStartFailed(*life, rest[1])
            case "extend":
                return StartTimeoutExtended(*life, float(rest[1]))
            case "beat":
                return ChildBeat(*life)
            case "busy":
                return ChildBusy(*life, " ".join(rest[1:]))
            case "idle":
                return ChildBusy(*life, None)
            case "watchdog":
                return WatchdogChanged(*life, float(rest[1]) or None)
            case "oversize":
                return MemoryExceeded(*life)
        return WatchdogTriggered(*life)

    def _ended(self, life: tuple[str, int], word: str) -> ExitReason:
        self.alive.pop(life, None)
        if word in _REASONS:
            return _REASONS[word]
        return ExitReason(kind=ExitKind.ABNORMAL, term=word, code=1)

    def _advance(self, until: float) -> None:
        for _ in range(_LIMIT):
            due = [(at, key.path, key) for key, at in self.timers.items() if at <= until]
            if not due:
                break
            at, _, key = min(due)
            del self.timers[key]
            self.now = at
            self.lines.append(f"({at:g} {key.name} {key.path})")
            self._feed([TimerFired(key)])
        self.now = until

    def _feed(self, stimuli: list[Stimulus]) -> None:
        self._perform(self.tree.handle_all(stimuli, self.now))
        for _ in range(_LIMIT):
            if not self._todo:
                self.tree.validate()
                return
            self._perform(self.tree.handle(self._todo.popleft(), self.now))
        raise AssertionError("the tree does not come to rest")

    # --- what is decided --------------------------------------------------------------------

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            line = self._line(action)
            if line:
                self.lines.append(line)
            match action:
                case StartChild():
                    self._begin(action)
                case SignalChild():
                    self._signal(action)
                case SetTimer(key, at):
                    self.timers[key] = at
                case CancelTimer(key):
                    self.timers.pop(key, None)

    def _begin(self, action: StartChild) -> None:
        life = (action.path, action.generation)
        does = self.does.get(action.path, set())
        if "fail" in does or ("picky" in does and action.spec.user is not None):
            self._todo.append(ChildStartFailed(*life, "no_luck"))
        elif "ignore" in does:
            self._todo.append(ChildStartIgnored(*life))
        elif "unborn" in does:
            pass
        elif action.spec.supervisor is not None:
            self._todo.append(ChildSpawned(*life, 99))
        else:
            self.alive[life] = action.spec
            self._todo.append(ChildSpawned(*life, 100 + len(self.alive)))
            if "hang" not in does:
                self._todo.append(ChildReady(*life))

    def _signal(self, action: SignalChild) -> None:
        life = (action.path, action.generation)
        does = self.does.get(action.path, set())
        if life not in self.alive or "undead" in does:
            return
        if action.signal is StopSignal.KILL:
            self._todo.append(ChildExited(*life, self._ended(life, "killed")))
        elif action.signal is StopSignal.ABORT:
            if "deaf" not in does:
                self._todo.append(ChildExited(*life, self._ended(life, "aborted")))
        elif "stubborn" not in does:
            word = "rude" if "rude" in does else "shutdown"
            self._todo.append(ChildExited(*life, self._ended(life, word)))

    def _line(self, action: Action) -> str:
        match action:
            case StartChild(path, generation, code=code):
                return f"start {path} #{generation}" + (f" code {code}" if code else "")
            case ReloadChild(path, generation, signal):
                return f"reload {path} #{generation} {signal}"
            case Reply(request, ("ok", (Outcome(), *_) as outcomes)):
                lines = (f"\n  {_outcome(outcome)}" for outcome in outcomes)
                return f"reply {request}: applied{''.join(lines)}"
            case SignalChild(path, generation, signal):
                return f"signal {path} #{generation} {signal.value}"
            case SetTimer(key, at):
                return f"timer {key.name} {key.path} at {at:g}"
            case CancelTimer():
                return ""
            case HoldChanged(path, down, request):
                word = {True: "down", False: "up", None: "as specified"}[down]
                return f"remember {path} {word}, by {request}"
            case Reply(request, result):
                return f"reply {request}: {_shown(result)}"
            case Report(supervisor, _, context, child_id, reason):
                return f"report {supervisor}: {context.value} {child_id} {_shown(reason)}"
            case TreeEnded(path, reason, cause, why):
                by = f" by {cause}" if cause else ""
                return f"ended {path}: {_shown(reason.term)}, {why.value}{by}"
            case Publish(event):
                detail = dict(event.detail)
                if "reason" in detail:
                    reason = detail["reason"]
                    detail["reason"] = "out_of_memory" if reason["oom"] else reason["term"]
                told = "".join(f" {k}={_shown(v)}" for k, v in detail.items())
                return f"  {event.event.value} {event.path}{told}"

    def _rows(self) -> Iterator[str]:
        for row in self.tree.rows():
            extra = [f"#{row.generation}", f"wanted {row.wanted}"]
            if row.restarts:
                extra.append(f"restarts {row.restarts}")
            if row.kept_down_by:
                extra.append(f"kept down by {row.kept_down_by}")
            if row.waiting_for:
                extra.append(f"waiting for {row.waiting_for}")
            if row.next_start_at is not None:
                extra.append(f"next start at {row.next_start_at:g}")
            if row.error is not None:
                extra.append(f"error {_shown(row.error)}")
            yield f"{row.path} {row.state.value} {', '.join(extra)}"

    def _explained(self, path: str) -> Iterator[str]:
        found = explain(self.tree, path, self.now)
        if found is None:
            yield "nobody"
            return
        about = "".join(f" {word}" for word in (found.about, found.by) if word)
        due = "" if found.due_at is None else f", due at {found.due_at:g}"
        yield f"{found.why.value}{about}{due}"
        if found.delays:
            waits = " ".join(f"{least:g}..{most:g}" for _, least, most in found.delays)
            yield f"delays from number {found.delays[0].attempt}: {waits}"
        if found.limit is not None:
            yield f"limit {_level(found.limit)}"
        for level in found.above:
            yield f"above {_level(level)}"
        if found.give_up is not None:
            failures, earliest, latest = found.give_up
            until = "never" if latest is None else f"{latest:g}"
            yield f"gives up at failure {failures}, at {earliest:g}..{until}"
        if found.own is not None:
            yield f"own {_level(found.own)}"
        if found.waits_for:
            yield f"not ready: {' '.join(found.waits_for)}"

    # --- specifications --------------------------------------------------------------------

    def _supervisor(self, words: list[str], below: list[str], path: str) -> SupervisorSpec:
        spec = SupervisorSpec(strategy=Strategy(words[0]))
        for word in words[1:]:
            key, _, value = word.partition("=")
            match key:
                case "intensity":
                    spec = replace(spec, intensity=int(value))
                case "period":
                    spec = replace(spec, period=float(value))
                case "auto_shutdown":
                    spec = replace(spec, auto_shutdown=AutoShutdown(value))
                case "start":
                    spec = replace(spec, start=StartMode(value))
        children = []
        lines = deque(below)
        while lines:
            words = lines.popleft().split()
            inner: list[str] = []
            while lines and lines[0].startswith("  "):
                inner.append(lines.popleft()[2:])
            children.append(self._child(words, inner, path))
        return replace(spec, children=tuple(children))

    def _child(self, words: list[str], below: list[str], above: str) -> ChildSpec:
        child_id = words[0].rstrip(":")
        path = f"{above.rstrip('/')}/{child_id}"
        fields: dict[str, Any] = {"agent": "stage:agent"}
        options = words[1:]
        if words[0].endswith(":"):
            flags = [w for w in options if w.partition("=")[0] in _FLAGS or "=" not in w]
            options = [w for w in options if w not in flags]
            fields = {"supervisor": self._supervisor(flags, below, path)}
        for word in options:
            key, _, value = word.partition("=")
            if key == "does":
                self.does[path] = set(value.split("+"))
            else:
                fields[key] = _FIELDS[key](value)
        if "start_timeout" not in fields:
            fields["start_timeout"] = None
        return ChildSpec(id=child_id, **fields)


_FLAGS = ("intensity", "period", "auto_shutdown", "start")


def _remembered(words: list[str]) -> Iterator[tuple[str, bool]]:
    for word in words:
        key, _, value = word.partition("=")
        if key in ("down", "up"):
            yield from ((path, key == "down") for path in value.split(","))


def _shutdown(value: str) -> Any:
    return value if value in ("brutal_kill", "infinity") else float(value)


def _backoff(value: str) -> Backoff:
    initial, factor, most, *more = (float(part) for part in value.split(","))
    jitter, reset_after = (*more, 0.0, 30.0)[:2] if len(more) < 2 else more
    return Backoff(initial=initial, factor=factor, max=most, jitter=jitter, reset_after=reset_after)


def _needs(value: str) -> tuple[Need, ...]:
    pairs = (part.partition(":") for part in value.split(","))
    return tuple(Need(child=child, condition=Condition(word)) for child, _, word in pairs)


def _watchdog(value: str) -> Watchdog:
    idle, _, busy = value.partition(",")
    return Watchdog(idle=float(idle) if idle else None, busy=float(busy) if busy else None)


_FIELDS: dict[str, Callable[[str], Any]] = {
    "restart": Restart,
    "shutdown": _shutdown,
    "significant": lambda value: value == "yes",
    "enabled": lambda value: value == "yes",
    "backoff": _backoff,
    "on_limit": OnLimit,
    "needs": _needs,
    "start_timeout": float,
    "watchdog": _watchdog,
    "user": str,
    "reload": lambda value: Reload(files=("/f",), signal=value or None),
}


def _level(level: Level) -> str:
    more = "" if level.more_at is None else f", more at {level.more_at:g}"
    counted = f"{level.counted}/{level.intensity}, {level.left} left"
    return f"{level.path} {counted}{more}, then {level.then.value}"


def _outcome(outcome: Outcome) -> str:
    change = outcome.change
    reason = "" if outcome.reason is None else f" {_shown(outcome.reason)}"
    return f"{change.action} {change.path} ({'; '.join(change.why)}): {outcome.result}{reason}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "{" + ", ".join(_shown(item) for item in value) + "}"
    if isinstance(value, ChildSpec):
        return f"spec of {value.id}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
