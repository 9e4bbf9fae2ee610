"""What a supervisor and its children are told to be: the words of YAML, Python and JSON.

One vocabulary serves all three: the keys of a YAML file, the keyword arguments here and
the fields that `get_childspec` shows are the same.  Names and defaults are OTP's
(supervisor manual, `sup_flags()` and `child_spec()`) wherever OTP has the idea;
everything else is off unless asked for.  Times are seconds, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from supervisor_tree.core.listening import ListenSocket
from supervisor_tree.core.patterns import path_matches_any, topic_matches, topic_pattern_within

__all__ = [
    "Acl",
    "AutoShutdown",
    "Backoff",
    "Build",
    "ChildSpec",
    "Condition",
    "Kind",
    "Limits",
    "Logs",
    "Mailbox",
    "Need",
    "OnFull",
    "OnLimit",
    "Readiness",
    "Ready",
    "Reload",
    "Restart",
    "Shutdown",
    "StartMode",
    "Strategy",
    "SupervisorSpec",
    "Watchdog",
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


class OnFull(StrEnum):
    """What a full mailbox does with one more message."""

    REJECT = "reject"  # casts wait with their senders, calls are answered MailboxFull
    DROP_OLDEST = "drop_oldest"  # the message that has waited longest is dropped and counted


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
class Ready:
    """What shows that a child is ready, besides its own word.  All that is named must hold.

    tcp
        a port of this machine, or HOST:PORT with an address or `localhost`, takes connections.
    log
        a line of its output matches this regular expression, anywhere in it.
    delay
        its process exists for so long.
    """

    tcp: int | str | None = None
    log: str | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """How long a child that is ready may give no sign of life; None: for ever.

    `idle` between two beats, `busy` within one piece of work that it has announced.
    """

    idle: float | None = None
    busy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one child's processes.  None leaves the host's own limit in force.

    `nofile`, `core`, `nproc` are counts or bytes as in setrlimit(2); `address_space`
    (YAML `as`) is bytes; `oom_score_adj` is -1000..1000.

    `memory_max` (bytes), `pids_max` (processes and threads) and `cpu_max` (cores, 0.5 is half
    of one) count for all processes of the child together, by a cgroup of its own.
    """

    nofile: int | None = None
    address_space: int | None = None
    core: int | None = None
    nproc: int | None = None
    memory_max: int | None = None
    pids_max: int | None = None
    cpu_max: float | None = None
    nice: int | None = None
    oom_score_adj: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """What is kept of a log: a new file begins at `rotation` bytes, `retention` old ones stay.

    A file whose last line is `max_age` seconds old is deleted (None: never), and a new one
    begins at half that age; all log files of a host together have at most `total_bytes`.
    """

    rotation: int = 20_000_000
    retention: int = 10
    max_age: float | None = 30 * 86400.0
    total_bytes: int = 1_000_000_000
    redact: tuple[str, ...] = ()  # regular expressions of what is kept out of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Acl:
    """What an agent may do: patterns over the paths of receivers, and over topics.

    None: nothing is said, so everything is allowed; an empty tuple allows nothing.
    """

    may_call: tuple[str, ...] | None = None
    may_cast: tuple[str, ...] | None = None
    may_publish: tuple[str, ...] | None = None
    may_subscribe: tuple[str, ...] | None = None

    def allows_call(self, path: str) -> bool:
        """True if the agent may call the one at `path`."""
        return self.may_call is None or path_matches_any(self.may_call, path)

    def allows_cast(self, path: str) -> bool:
        """True if the agent may cast to the one at `path`."""
        return self.may_cast is None or path_matches_any(self.may_cast, path)

    def allows_publish(self, topic: str) -> bool:
        """True if the agent may publish on `topic`."""
        allowed = self.may_publish
        return allowed is None or any(topic_matches(pattern, topic) for pattern in allowed)

    def allows_subscribe(self, pattern: str) -> bool:
        """True if `pattern` asks for no more than the agent may see."""
        allowed = self.may_subscribe
        return allowed is None or any(topic_pattern_within(pattern, room) for room in allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """How many messages may wait for an agent, and what becomes of one more."""

    limit: int = 10_000
    on_full: OnFull = OnFull.REJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What a child depends on beside its specification, looked at by `plan` and `apply`.

    Where the content of one of `files` has changed, the child is sent `signal`, or is started
    anew if there is none.  With `executable` it is started anew, too, where the program that its
    `command` would run now is another one than at its start.
    """

    files: tuple[str, ...] = ()
    signal: str | None = None
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A command that makes what a child runs: `cwd` None is the child's; `timeout` in seconds."""

    command: tuple[str, ...]
    cwd: str | None = None
    timeout: float | None = 600.0


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
    ready: Ready = Ready()  # what else is asked for
    start_timeout: float | None = 60.0  # seconds until ready; None waits for ever, as OTP does
    watchdog: Watchdog | None = None
    warm: int = 0  # spares kept forked ahead

    # how its process is made
    type: Literal["agent", "robot"] = "agent"
    description: str = ""
    capabilities: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_file: str | tuple[str, ...] | None = None  # of several, the later ones win
    cwd: str | None = None
    pid_file: str | None = None  # holds the number of its process while there is one
    user: str | None = None
    group: str | None = None
    umask: int | None = None
    no_new_privs: bool = False
    stop_signal: str = "SIGTERM"
    limits: Limits = field(default_factory=Limits)
    logs: Logs | None = None
    reload: Reload | None = None
    sockets: tuple[ListenSocket, ...] = ()  # that outlive its lives
    build: Build | None = None  # run on demand, never by itself

    # how it is on the bus
    acl: Acl = Acl()
    mailbox: Mailbox = Mailbox()
    intercepts: tuple[str, ...] = ()  # patterns of the paths whose messages it is given first

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
