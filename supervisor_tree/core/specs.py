"""What a supervisor and its children are told to be: the words of YAML, Python and JSON.

One vocabulary serves all three: the keys of a YAML file, the keyword arguments here and
the fields that `get_childspec` shows are the same.  Names and defaults are OTP's
(supervisor manual, `sup_flags()` and `child_spec()`) wherever OTP has the idea;
everything else is off unless asked for.  Times are seconds, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any, Literal, TypeAlias

__all__ = [
    "AutoShutdown",
    "Backoff",
    "ChildSpec",
    "Condition",
    "Kind",
    "Limits",
    "Logs",
    "Need",
    "OnLimit",
    "Readiness",
    "Restart",
    "Shutdown",
    "StartMode",
    "Strategy",
    "SupervisorSpec",
    "spec_from_data",
    "supervisor_from_data",
    "to_data",
]

# How long a child may take to stop: seconds, or one of OTP's two words.
Shutdown: TypeAlias = float | Literal["brutal_kill", "infinity"]


class Strategy(StrEnum):
    """Who is restarted when one child ends (OTP `strategy()`)."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"
    SIMPLE_ONE_FOR_ONE = "simple_one_for_one"


class Restart(StrEnum):
    """When a child is restarted (OTP `restart()`)."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class AutoShutdown(StrEnum):
    """When the end of significant children ends the supervisor (OTP `auto_shutdown()`)."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class StartMode(StrEnum):
    """Whether a supervisor starts its children one after the other (OTP) or all at once."""

    SEQUENTIAL = "sequential"
    CONCURRENT = "concurrent"


class OnLimit(StrEnum):
    """What exceeding the restart intensity does: OTP's escalation, or only the child gives up."""

    ESCALATE = "escalate"
    PARK = "park"


class Condition(StrEnum):
    """What a child that needs another one waits for."""

    STARTED = "started"
    READY = "ready"
    COMPLETED = "completed"


class Readiness(StrEnum):
    """How a child says that its start has succeeded."""

    NOTIFY = "notify"  # READY=1 on NOTIFY_SOCKET; the default of agents and robots
    NONE = "none"  # its process exists; the default of programs


class Kind(StrEnum):
    """What a child is, as `status` shows it."""

    SUPERVISOR = "supervisor"
    AGENT = "agent"
    ROBOT = "robot"
    PROGRAM = "program"


_KINDS = {kind.value: kind for kind in Kind}  # to ask an enum costs several times as much


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delay before restart number n: `initial * factor**n`, at most `max`, plus jitter.

    `jitter` is the share of the delay added at random at most (0.2: up to 20 %);
    `reset_after` is how long a life must last for n to fall back to 0.
    """

    initial: float = 0.1
    factor: float = 2.0
    max: float = 30.0
    jitter: float = 0.2
    reset_after: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """`child`: id of a sibling, or an absolute path, that must be in `condition` first."""

    child: str
    condition: Condition = Condition.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one child's processes.  None leaves the host's own limit in force.

    `nofile`, `core`, `nproc` are counts or bytes as in setrlimit(2); `address_space`
    (YAML `as`) and `memory_max` are bytes; `oom_score_adj` is -1000..1000.
    """

    nofile: int | None = None
    address_space: int | None = None
    core: int | None = None
    nproc: int | None = None
    memory_max: int | None = None
    pids_max: int | None = None
    nice: int | None = None
    oom_score_adj: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Rotation of a log file: `rotation` and `total_bytes` in bytes, `retention` in files."""

    rotation: int = 20_000_000
    retention: int = 10
    total_bytes: int = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """What a supervisor must know to start, stop and restart one child.

    Exactly one of `agent`, `command`, `supervisor` says what is started:

    agent
        "module:name" of an Agent class or a plain callable; an embedding program may
        pass the object itself.  `args` are its keyword arguments.
    command
        argument list of any program.
    supervisor
        a nested supervisor.
    """

    id: str
    agent: Any = None
    command: tuple[str, ...] | None = None
    supervisor: SupervisorSpec | None = None
    args: Mapping[str, Any] = field(default_factory=dict)

    # OTP's child_spec()
    restart: Restart = Restart.PERMANENT
    shutdown: Shutdown | None = None  # None: 5 s, for a supervisor "infinity"
    significant: bool = False

    # our extensions, off unless asked for
    enabled: bool = True
    backoff: Backoff | None = None
    on_limit: OnLimit = OnLimit.ESCALATE
    needs: tuple[Need, ...] = ()
    readiness: Readiness | None = None  # None: notify for agents and robots, none for programs
    start_timeout: float | None = 60.0  # seconds until ready; None waits for ever, as OTP does
    warm: int = 0  # spares kept forked ahead

    # how its process is made
    type: Literal["agent", "robot"] = "agent"
    description: str = ""
    capabilities: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_file: str | tuple[str, ...] | None = None  # of several, the later ones win
    cwd: str | None = None
    user: str | None = None
    group: str | None = None
    umask: int | None = None
    stop_signal: str = "SIGTERM"
    limits: Limits = field(default_factory=Limits)
    logs: Logs | None = None

    @property
    def env_files(self) -> tuple[str, ...]:
        """The files of KEY=VALUE lines, in the order in which they are read."""
        if self.env_file is None:
            return ()
        return (self.env_file,) if isinstance(self.env_file, str) else self.env_file

    @property
    def kind(self) -> Kind:
        """What `status` calls it."""
        if self.supervisor is not None:
            return Kind.SUPERVISOR
        if self.command is not None:
            return Kind.PROGRAM
        return _KINDS[self.type]

    @property
    def shutdown_or_default(self) -> Shutdown:
        """OTP's defaults: 5 s for a worker, infinity for a supervisor."""
        if self.shutdown is not None:
            return self.shutdown
        return "infinity" if self.supervisor is not None else 5.0

    @property
    def readiness_or_default(self) -> Readiness:
        """An agent says when it is ready; a robot is when it is found; a program when it runs."""
        if self.readiness is not None:
            return self.readiness
        return Readiness.NONE if self.kind is Kind.PROGRAM else Readiness.NOTIFY


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSpec:
    """OTP's supervisor flags and child specifications.

    Defaults: strategy one_for_one, intensity 3 in a period of 5 s (Elixir's choice; OTP's
    own is 1 in 5), no automatic shutdown, sequential start.  `children` is in start order.
    Under simple_one_for_one, `child` is the one template and `children` is empty.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 3
    period: float = 5.0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    start: StartMode = StartMode.SEQUENTIAL
    children: tuple[ChildSpec, ...] = ()
    child: ChildSpec | None = None

    @property
    def concurrent(self) -> bool:
        """Each child is started on its own; a group restart needs an order, so it has one."""
        alone = (Strategy.ONE_FOR_ONE, Strategy.SIMPLE_ONE_FOR_ONE)
        return self.start is StartMode.CONCURRENT and self.strategy in alone


# --- as plain data ---------------------------------------------------------------------


def to_data(spec: ChildSpec | SupervisorSpec) -> dict[str, Any]:
    """As what msgpack and JSON can carry: field names as keys, defaults left out.

    Equal specifications give equal data, so that a hash of it names the content.
    `agent` must already be a name or bytes.
    """
    return _plain_fields(spec)


def spec_from_data(data: Mapping[str, Any]) -> ChildSpec:
    """The inverse of `to_data`.

    Raises ValueError for a key that is unknown or missing and for a value of the wrong shape;
    a wrong word (restart: sometimes) is kept, so that the supervisor can answer OTP's error.
    """
    spec: ChildSpec = _read(ChildSpec, data)
    return spec


def supervisor_from_data(data: Mapping[str, Any]) -> SupervisorSpec:
    """The inverse of `to_data`; raises as `spec_from_data` does."""
    spec: SupervisorSpec = _read(SupervisorSpec, data)
    return spec


def _plain_fields(value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for each in fields(value):
        item = getattr(value, each.name)
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if item != default:
            data[each.name] = _plain(item)
    return data


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _read(kind: type[Any], data: Mapping[str, Any]) -> Any:
    name = "supervisor" if kind is SupervisorSpec else "child"
    if not isinstance(data, Mapping):
        raise ValueError(f"cannot read {name} specification: a map is expected, not {data!r}")
    known = {each.name for each in fields(kind)}
    for key in data:
        if key not in known:
            raise ValueError(f"cannot read {name} specification: unknown key {key!r}")
    readers = _READERS.get(kind, {})
    try:
        return kind(
            **{
                key: readers[key](value) if key in readers and value is not None else value
                for key, value in data.items()
            }
        )
    except TypeError as error:
        raise ValueError(f"cannot read {name} specification: {error}") from None


def _word(kind: type[StrEnum]) -> Callable[[Any], Any]:
    words = {word.value: word for word in kind}
    return lambda value: words.get(value, value) if isinstance(value, str) else value


def _part(kind: type[Any]) -> Callable[[Any], Any]:
    return lambda value: _read(kind, value)


def _parts(kind: type[Any]) -> Callable[[Any], Any]:
    return lambda value: tuple(_read(kind, item) for item in value)


_READERS: dict[type[Any], dict[str, Callable[[Any], Any]]] = {
    Need: {"condition": _word(Condition)},
    SupervisorSpec: {
        "strategy": _word(Strategy),
        "auto_shutdown": _word(AutoShutdown),
        "start": _word(StartMode),
        "children": _parts(ChildSpec),
        "child": _part(ChildSpec),
    },
    ChildSpec: {
        "command": tuple,
        "env_file": lambda value: value if isinstance(value, str) else tuple(value),
        "supervisor": _part(SupervisorSpec),
        "restart": _word(Restart),
        "on_limit": _word(OnLimit),
        "readiness": _word(Readiness),
        "backoff": _part(Backoff),
        "needs": _parts(Need),
        "capabilities": tuple,
        "limits": _part(Limits),
        "logs": _part(Logs),
    },
}
