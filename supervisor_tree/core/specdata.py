"""Specifications as plain data: what msgpack and JSON carry, and what names their content.

The keys are the fields' names; what is as it is by default is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from typing import Any

from supervisor_tree.core.listening import ListenSocket
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

__all__ = ["logs_from_data", "spec_from_data", "supervisor_from_data", "to_data"]


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


def logs_from_data(data: Mapping[str, Any]) -> Logs:
    """Of all its fields, as plain data; raises as `spec_from_data` does."""
    logs: Logs = _read(Logs, data)
    return logs


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


def _words(value: Any) -> tuple[Any, ...]:
    """A list; text is no list of its letters."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"a list is expected, not {value!r:.40}")
    return tuple(value)


def _word(kind: type[StrEnum]) -> Callable[[Any], Any]:
    words = {word.value: word for word in kind}
    return lambda value: words.get(value, value) if isinstance(value, str) else value


def _part(kind: type[Any]) -> Callable[[Any], Any]:
    return lambda value: _read(kind, value)


def _parts(kind: type[Any]) -> Callable[[Any], Any]:
    return lambda value: tuple(_read(kind, item) for item in _words(value))


_READERS: dict[type[Any], dict[str, Callable[[Any], Any]]] = {
    Need: {"condition": _word(Condition)},
    Reload: {"files": _words},
    Acl: dict.fromkeys(("may_call", "may_cast", "may_publish", "may_subscribe"), _words),
    Logs: {"redact": _words},
    Build: {"command": _words},
    Mailbox: {"on_full": _word(OnFull)},
    SupervisorSpec: {
        "strategy": _word(Strategy),
        "auto_shutdown": _word(AutoShutdown),
        "start": _word(StartMode),
        "children": _parts(ChildSpec),
        "child": _part(ChildSpec),
    },
    ChildSpec: {
        "command": _words,
        "env_file": lambda value: value if isinstance(value, str) else _words(value),
        "supervisor": _part(SupervisorSpec),
        "restart": _word(Restart),
        "on_limit": _word(OnLimit),
        "readiness": _word(Readiness),
        "ready": _part(Ready),
        "watchdog": _part(Watchdog),
        "backoff": _part(Backoff),
        "needs": _parts(Need),
        "capabilities": _words,
        "limits": _part(Limits),
        "logs": _part(Logs),
        "reload": _part(Reload),
        "sockets": _parts(ListenSocket),
        "build": _part(Build),
        "acl": _part(Acl),
        "intercepts": _words,
        "mailbox": _part(Mailbox),
    },
}
