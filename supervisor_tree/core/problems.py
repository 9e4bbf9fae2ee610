"""All that is wrong with a specification, each problem with its place.

This is the one judge of specifications that come from a program or over the control socket;
a file is read by `config`, by the same rules for single values.  `checks` answers OTP's first
error for what has come as far as a supervisor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any, NamedTuple, TypeAlias

from supervisor_tree.core import listening, values
from supervisor_tree.core.listening import ListenSocket
from supervisor_tree.core.secrets import redact_rule
from supervisor_tree.core.specs import (
    Acl,
    AutoShutdown,
    Backoff,
    Build,
    ChildSpec,
    Condition,
    Limits,
    Logs,
    Mailbox,
    Need,
    OnFull,
    OnLimit,
    Readiness,
    Ready,
    Reload,
    Restart,
    StartMode,
    Strategy,
    SupervisorSpec,
    Watchdog,
)

__all__ = [
    "DEEPEST",
    "PID_FILE_OF_MANY",
    "Problem",
    "problems_of_child",
    "problems_of_tree",
]

PID_FILE_OF_MANY = "has no place in a template, whose children would share it"
DEEPEST = 50  # supervisors below the root, one in the other
_KINDS = ("agent", "command", "supervisor")
_NOT_FOR = {
    "agent": (),
    "command": ("acl", "args", "intercepts", "mailbox", "type", "warm"),
    "supervisor": (
        *("acl", "args", "build", "capabilities", "cwd", "env", "env_file", "group", "intercepts"),
        *("limits", "logs", "mailbox", "no_new_privs", "pid_file", "readiness", "ready", "reload"),
        *("sockets", "start_timeout", "stop_signal", "type", "umask", "user", "warm", "watchdog"),
    ),
}
_GROUP = (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)


class Problem(NamedTuple):
    """`path` of the child or supervisor, `key` in its specification, and what it must be."""

    path: str
    key: str
    message: str

    def __str__(self) -> str:
        return f"{' '.join(filter(None, self[:2]))}: {self.message}"


_Check: TypeAlias = "Callable[[str, str, Any, int], Iterator[Problem]]"


def problems_of_tree(spec: Any, path: str = "/") -> list[Problem]:
    """What is wrong with the SupervisorSpec of a whole tree.  Accepts anything, raises nothing."""
    return list(_supervisor(path, "", spec, 0))


def problems_of_child(
    spec: Any, supervisor: str, auto_shutdown: AutoShutdown | str | None = None
) -> list[Problem]:
    """What is wrong with a ChildSpec, or the same as a mapping, for the supervisor of that path.

    `auto_shutdown` is the supervisor's; None: it is not known, and nothing follows from it.
    """
    return list(_child(supervisor, "", spec, 0, auto_shutdown))


# --- the walk ------------------------------------------------------------------------------


def _given(kind: type[Any], value: Any) -> dict[str, Any] | None:
    """The keys and values of a part, from an object or plain data; None if it is neither."""
    if isinstance(value, kind):
        return {each.name: getattr(value, each.name) for each in fields(kind)}
    return dict(value) if isinstance(value, Mapping) else None


def _part(kind: type[Any], rules: Mapping[str, _Check]) -> _Check:
    """Every key is known, every required one is there, every value is what it must be."""
    known = {each.name: each for each in fields(kind)}
    required = [
        name
        for name, each in known.items()
        if each.default is MISSING and each.default_factory is MISSING
    ]
    optional = {name for name, each in known.items() if each.default is None}
    named = f"{'an' if kind is Acl else 'a'} {kind.__name__}"

    def check(path: str, key: str, value: Any, depth: int) -> Iterator[Problem]:
        data = _given(kind, value)
        if data is None:
            yield Problem(path, key, f"must be {named}, not {values.shown(value)}")
            return
        prefix = f"{key}." if key else ""
        for name in required:
            if name not in data:
                yield Problem(path, f"{prefix}{name}", "is missing")
        for name, item in data.items():
            if name not in known:
                told = name if values.text(name) is None and name.isprintable() else repr(name)
                known_here = ", ".join(known)
                yield Problem(path, f"{prefix}{told}", f"unknown key; known are {known_here}")
            elif item is not None or name not in optional:
                yield from rules[name](path, f"{prefix}{name}", item, depth)

    return check


def _one(rule: values.Rule) -> _Check:
    def check(path: str, key: str, value: Any, depth: int) -> Iterator[Problem]:
        error = rule(value)
        if error is not None:
            yield Problem(path, key, error)

    return check


def _list(each: _Check, *, least: int = 0, what: str = "a list") -> _Check:
    def check(path: str, key: str, value: Any, depth: int) -> Iterator[Problem]:
        if not isinstance(value, list | tuple):
            yield Problem(path, key, f"must be {what}, not {values.shown(value)}")
            return
        if len(value) < least:
            yield Problem(path, key, "must not be empty")
        for index, item in enumerate(value):
            yield from each(path, f"{key}[{index}]", item, depth)

    return check


def _mapping(rule_of_key: values.Rule, rule: values.Rule) -> _Check:
    def check(path: str, key: str, value: Any, depth: int) -> Iterator[Problem]:
        if not isinstance(value, Mapping):
            yield Problem(path, key, f"must be a mapping, not {values.shown(value)}")
            return
        for name, item in value.items():
            where = f"{key}[{values.shown(name)}]"
            error = rule_of_key(name) or rule(item)
            if error is not None:
                yield Problem(path, where, error)

    return check


def _env_file(path: str, key: str, value: Any, depth: int) -> Iterator[Problem]:
    several = isinstance(value, list | tuple)
    yield from (_list(_one(values.path_text)) if several else _one(values.path_text))(
        path, key, value, depth
    )


def _time_limit(path: str, key: str, value: Any, depth: int) -> Iterator[Problem]:
    """None is for ever."""
    if value is not None:
        yield from _one(values.period)(path, key, value, depth)


def _agent(value: Any) -> str | None:
    """A name, a payload, or an object that `agents.payload` looks at: never plain data."""
    if isinstance(value, str):
        return values.agent_name(value)
    if isinstance(value, bool | int | float | list | tuple | Mapping):
        return f"must be module:name, a class or a callable, not {values.shown(value)}"
    return None


def _needed(value: Any) -> str | None:
    """The id of a sibling, or an absolute path."""
    if isinstance(value, str) and value.startswith("/"):
        steps = value[1:].split("/")
        sound = all(values.child_id(step) is None for step in steps)
        return None if sound else f"must be the path of a child, not {values.shown(value)}"
    return values.child_id(value)


# --- one child, one supervisor ---------------------------------------------------------------


def _child(
    above: str, key: str, value: Any, depth: int, auto_shutdown: AutoShutdown | str | None
) -> Iterator[Problem]:
    data = _given(ChildSpec, value)
    path, where = above, key
    if data is not None and values.child_id(data.get("id")) is None:
        path, where = f"{above.rstrip('/')}/{data['id']}", ""
    yield from _CHILD(path, where, value, depth)
    if data is None:
        return
    prefix = f"{where}." if where else ""
    yield from (
        Problem(path, f"{prefix}{name}", message)
        for name, message in _combinations(data, auto_shutdown)
    )


def _combinations(
    data: Mapping[str, Any], auto_shutdown: AutoShutdown | str | None
) -> Iterator[tuple[str, str]]:
    kinds = [kind for kind in _KINDS if data.get(kind) is not None]
    if not kinds:
        yield "agent", "is missing: a child has one of agent, command or supervisor"
    for kind in kinds[1:]:
        yield kind, f"cannot stand beside {kinds[0]}: a child has one of agent, command, supervisor"
    if len(kinds) == 1:
        for name in _NOT_FOR[kinds[0]]:
            said, default = data.get(name), _DEFAULTS[name]
            if said and said != default:
                yield name, f"has no meaning for a child with {kinds[0]}; leave it out"
    backoff = _given(Backoff, data.get("backoff")) or {}
    longest = backoff.get("max", Backoff().max)
    initial = backoff.get("initial", Backoff().initial)
    numbers = values.seconds(initial) is None and values.seconds(longest) is None
    if numbers and initial > longest:
        yield "backoff.initial", f"must not be more than max, which is {longest:g}"
    yield from _sockets(data.get("sockets"))
    if data.get("intercepts"):
        if data.get("type") == "robot":
            yield "intercepts", "has no meaning for a robot, which takes no messages; leave it out"
        on_full = (_given(Mailbox, data.get("mailbox")) or {}).get("on_full")
        if on_full == OnFull.DROP_OLDEST:
            yield "mailbox.on_full", "must be reject: what an interceptor holds is not its own"
    if data.get("significant") is True:
        if data.get("restart", Restart.PERMANENT) == Restart.PERMANENT:
            yield "significant", "must be false for a permanent child"
        elif auto_shutdown == AutoShutdown.NEVER:
            yield "significant", "must be false while auto_shutdown of its supervisor is never"


def _sockets(given: Any) -> Iterator[tuple[str, str]]:
    if isinstance(given, list | tuple):
        names = [(_given(ListenSocket, each) or {}).get("name") for each in given]
        for index, message in listening.clashes(names):
            yield f"sockets[{index}].name", message


def _nested(path: str, key: str, value: Any, depth: int) -> Iterator[Problem]:
    yield from _supervisor(path, key, value, depth + 1)


def _supervisor(path: str, key: str, value: Any, depth: int) -> Iterator[Problem]:
    if depth > DEEPEST:
        yield Problem(path, key, f"supervisors are nested deeper than {DEEPEST}")
        return
    yield from _SUPERVISOR(path, key, value, depth)
    data = _given(SupervisorSpec, value)
    if data is None:
        return
    prefix = f"{key}." if key else ""
    strategy = data.get("strategy", Strategy.ONE_FOR_ONE)
    flag = data.get("auto_shutdown", AutoShutdown.NEVER)
    children, template = data.get("children", ()), data.get("child")
    if strategy in _GROUP and data.get("start") == StartMode.CONCURRENT:
        message = f"must be sequential under {strategy}, where the order has a meaning"
        yield Problem(path, f"{prefix}start", message)
    if strategy == Strategy.SIMPLE_ONE_FOR_ONE:
        if children:
            message = "has no place under simple_one_for_one; give the template in child"
            yield Problem(path, f"{prefix}children", message)
        if template is None:
            message = "is missing: simple_one_for_one needs the template of its children"
            yield Problem(path, f"{prefix}child", message)
    elif template is not None:
        message = "is for simple_one_for_one; otherwise give children"
        yield Problem(path, f"{prefix}child", message)
    if template is not None:
        yield from _child(path, f"{prefix}child", template, depth, flag)
        if (_given(ChildSpec, template) or {}).get("pid_file") is not None:
            yield Problem(path, f"{prefix}child.pid_file", PID_FILE_OF_MANY)
    seen: set[str] = set()
    for index, child in enumerate(children if isinstance(children, list | tuple) else ()):
        where = f"{prefix}children[{index}]"
        yield from _child(path, where, child, depth, flag)
        name = (_given(ChildSpec, child) or {}).get("id")
        if isinstance(name, str) and name in seen:
            message = f"must be unique among its siblings, not {values.shown(name)} again"
            yield Problem(path, f"{where}.id", message)
        elif isinstance(name, str):
            seen.add(name)


def _anything(path: str, key: str, value: Any, depth: int) -> Iterator[Problem]:
    """Looked at elsewhere."""
    return iter(())


_SIZE = _one(values.whole(0))
_TEXT, _ACCOUNT = _one(values.text), _one(values.account)

_BACKOFF = _part(
    Backoff,
    {
        "initial": _one(values.seconds),
        "factor": _one(values.number(1, 1000)),
        "max": _one(values.seconds),
        "jitter": _one(values.number(0, 1)),
        "reset_after": _one(values.seconds),
    },
)
_NEED = _part(Need, {"child": _one(_needed), "condition": _one(values.word_of(Condition))})
_LIMITS = _part(
    Limits,
    {
        "nofile": _one(values.whole(8)),
        "address_space": _one(values.whole(1)),
        "core": _SIZE,
        "nproc": _one(values.whole(1)),
        "memory_max": _one(values.whole(1)),
        "pids_max": _one(values.whole(1)),
        "cpu_max": _one(values.number(0.01, 10_000)),
        "nice": _one(values.whole(-20, 19)),
        "oom_score_adj": _one(values.whole(-1000, 1000)),
    },
)
_LOGS = _part(
    Logs,
    {
        "rotation": _one(values.whole(1)),
        "retention": _one(values.whole(0, 100_000)),
        "max_age": _time_limit,
        "redact": _one(redact_rule),
        "total_bytes": _one(values.whole(1)),
    },
)
_SOCKET = _part(
    ListenSocket,
    {
        "name": _one(listening.socket_name),
        "listen": _one(listening.listen),
        "backlog": _one(values.whole(1, 65535)),
        "mode": _one(values.whole(0, 0o777)),
    },
)
_PATHS, _TOPICS = _list(_one(values.path_pattern)), _list(_one(values.topic_pattern))
_ACL = _part(
    Acl,
    {"may_call": _PATHS, "may_cast": _PATHS, "may_publish": _TOPICS, "may_subscribe": _TOPICS},
)
_READY = _part(
    Ready,
    {
        "tcp": _one(values.tcp_target),
        "log": _one(values.regular_expression),
        "delay": _one(values.seconds),
    },
)
_WATCHDOG = _part(Watchdog, dict.fromkeys(("idle", "busy"), _one(values.period)))
_MAILBOX = _part(
    Mailbox,
    {"limit": _one(values.whole(1)), "on_full": _one(values.word_of(OnFull))},
)
_FILES, _SIGNAL, _FLAG = _list(_one(values.path_text)), _one(values.signal_name), _one(values.flag)
_RELOAD = _part(Reload, {"files": _FILES, "signal": _SIGNAL, "executable": _FLAG})
_COMMAND = _list(_TEXT, least=1, what="a list of words such as ['sleep', '60']")
_BUILD = _part(Build, {"command": _COMMAND, "cwd": _one(values.path_text), "timeout": _time_limit})
_CHILD = _part(
    ChildSpec,
    {
        "id": _one(values.child_id),
        "agent": _one(_agent),
        "command": _COMMAND,
        "supervisor": _nested,
        "args": _mapping(values.text, values.plain_data),
        "restart": _one(values.word_of(Restart)),
        "shutdown": _one(values.shutdown),
        "significant": _FLAG,
        "enabled": _FLAG,
        "backoff": _BACKOFF,
        "on_limit": _one(values.word_of(OnLimit)),
        "needs": _list(_NEED),
        "readiness": _one(values.word_of(Readiness)),
        "start_timeout": _time_limit,
        "ready": _READY,
        "warm": _one(values.whole(0, 1000)),
        "watchdog": _WATCHDOG,
        "type": _one(values.word_of(("agent", "robot"))),
        "description": _TEXT,
        "capabilities": _list(_TEXT),
        "env": _mapping(values.env_key, values.text),
        "env_file": _env_file,
        "cwd": _one(values.path_text),
        "pid_file": _one(values.path_text),
        "user": _ACCOUNT,
        "group": _ACCOUNT,
        "umask": _one(values.whole(0, 0o777)),
        "no_new_privs": _one(values.flag),
        "stop_signal": _SIGNAL,
        "limits": _LIMITS,
        "logs": _LOGS,
        "reload": _RELOAD,
        "sockets": _list(_SOCKET),
        "build": _BUILD,
        "acl": _ACL,
        "mailbox": _MAILBOX,
        "intercepts": _PATHS,
    },
)
_SUPERVISOR = _part(
    SupervisorSpec,
    {
        "strategy": _one(values.word_of(Strategy)),
        "intensity": _one(values.whole(0, 1_000_000)),
        "period": _one(values.period),
        "auto_shutdown": _one(values.word_of(AutoShutdown)),
        "start": _one(values.word_of(StartMode)),
        "children": _list(_anything),
        "child": _anything,
    },
)
_DEFAULTS = _given(ChildSpec, ChildSpec(id="")) or {}
