"""The kinds of values in a configuration: what is accepted, what is said about the rest.

Each kind is a type for the models of `document`, made of a function that returns the value
as the core wants it or raises ValueError with a text for an operator, and of what JSON
Schema has to say about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from supervisor_tree.config.units import parse_duration, parse_size
from supervisor_tree.core import listening, values
from supervisor_tree.core.secrets import redact_rule
from supervisor_tree.core.specs import Shutdown
from supervisor_tree.core.values import LONGEST_ID, shown

__all__ = [
    "ID_PATTERN",
    "AgentTarget",
    "ChildId",
    "ChildPath",
    "CurveKey",
    "Duration",
    "EnvKey",
    "EnvValue",
    "Flag",
    "HttpUrl",
    "Kind",
    "Listen",
    "ListenAddress",
    "ModuleName",
    "OsAccount",
    "PathPattern",
    "PathText",
    "Period",
    "PositiveSize",
    "RedactPatterns",
    "RegularExpression",
    "ShutdownTime",
    "SignalName",
    "Size",
    "SocketName",
    "SourceInterval",
    "TcpAddress",
    "TcpTarget",
    "Text",
    "TimeLimit",
    "TopicPattern",
    "Umask",
    "Word",
    "ratio",
    "whole_number",
    "words",
]

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_MODULE_PATTERN = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_ID = re.compile(ID_PATTERN, re.ASCII)
_PATH = re.compile(rf"/|(/{ID_PATTERN})+", re.ASCII)
_MODULE = re.compile(_MODULE_PATTERN)
_TARGET = re.compile(rf"{_MODULE_PATTERN}:{_MODULE_PATTERN}")
_LISTEN = re.compile(r"(?:[^\s:\[\]/]+|\[[0-9a-fA-F:.%]+\]):([0-9]{1,5})")
_TCP = re.compile(rf"tcp://{_LISTEN.pattern}")
_CURVE_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}", re.ASCII)
_OCTAL = re.compile(r"(0o)?[0-7]{1,4}", re.ASCII)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words_of = {"yes": True, "on": True, "no": False, "off": False}
    if isinstance(value, str) and value.lower() in words_of:
        return words_of[value.lower()]
    raise ValueError(f"must be true or false, not {shown(value)}")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _without_nul(value)
    raise ValueError(f"must be text, not {shown(value)}")


def _word(value: Any) -> str:
    """Text, or a number that an embedding program gives where the command line has a word."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = _number_text(value)
    return _text(value)


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    return value


def _number_text(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        raise ValueError("must be text, not a huge number")
    return str(value)


def _sound(value: Any, rule: values.Rule) -> Any:
    """The value, if the core's rule has nothing to say about it."""
    error = rule(value)
    if error is not None:
        raise ValueError(error)
    return value


def _child_id(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = _number_text(value)
    return _sound(value, values.child_id)


def _child_path(value: Any) -> str:
    if isinstance(value, str) and _PATH.fullmatch(value):
        return value
    raise ValueError(f"must be the path of a supervisor such as / or /chat, not {shown(value)}")


def _agent_target(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        if _TARGET.fullmatch(value):
            return value
        hint = ""
        if _MODULE.fullmatch(value) and "." in value:
            module, _, name = value.rpartition(".")
            hint = f"; did you mean '{module}:{name}'?"
        raise ValueError(
            f"must be module:name such as examples.greeter:Greeter, not {shown(value)}{hint}"
        )
    in_a_program = bool(info.context and info.context.get("library"))
    if in_a_program and (callable(value) or isinstance(value, bytes)):
        return value
    raise ValueError(f"must be module:name such as examples.greeter:Greeter, not {shown(value)}")


def _module_name(value: Any) -> str:
    if isinstance(value, str) and _MODULE.fullmatch(value):
        return value
    raise ValueError(f"must be the name of a module such as examples.greeter, not {shown(value)}")


def _env_key(value: Any) -> Any:
    return _sound(value, values.env_key)


def _env_value(value: Any) -> str:
    if value is None:
        raise ValueError('must be text; write "" for an empty value')
    if isinstance(value, bool):
        raise ValueError("must be text: write it in quotes, 'true' or '1'")
    return _word(value)


def _signal_name(value: Any) -> Any:
    """In capitals and with SIG, whichever way it is written."""
    if isinstance(value, str):
        value = f"SIG{value.upper().removeprefix('SIG')}"
    return _sound(value, values.signal_name)


def _shutdown(value: Any) -> Any:
    if value in ("brutal_kill", "infinity"):
        return value
    try:
        return parse_duration(value, infinity=True)
    except ValueError as error:
        raise ValueError(str(error).replace("(or", "(or brutal_kill or")) from None


def _time_limit(value: Any) -> float:
    """Seconds; `math.inf` for infinity."""
    seconds = parse_duration(value, infinity=True)
    if seconds == 0:
        raise ValueError("must be more than 0, or infinity")
    return seconds


def _period(value: Any) -> float:
    seconds = parse_duration(value)
    if seconds == 0:
        raise ValueError("must be more than 0")
    return seconds


def _positive_size(value: Any) -> int:
    size = parse_size(value)
    if size == 0:
        raise ValueError("must be more than 0")
    return size


def _umask(value: Any) -> int:
    """Octal as umask(1) and systemd's UMask= have it; a program may give the number."""
    if isinstance(value, str) and _OCTAL.fullmatch(value):
        number = int(value.removeprefix("0o"), 8)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        number = -1
    if not 0 <= number <= 0o777:
        raise ValueError(f"must be an octal number from 000 to 777 such as 022, not {shown(value)}")
    return number


def _path_pattern(value: Any) -> Any:
    return _sound(value, values.path_pattern)


def _topic_pattern(value: Any) -> Any:
    return _sound(value, values.topic_pattern)


def _account(value: Any) -> Any:
    return _sound(_word(value), values.account)


def _listen(value: Any) -> str:
    found = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[1]) > 65535:
        raise ValueError(f"must be HOST:PORT such as 127.0.0.1:8420, not {shown(value)}")
    return str(value)


def _tcp_address(value: Any) -> str:
    found = _TCP.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < int(found[1]) <= 65535:
        raise ValueError(f"must be tcp://HOST:PORT such as tcp://10.0.0.2:7400, not {shown(value)}")
    return str(value)


def _http_url(value: Any) -> str:
    """Without a password: what is configured is shown, and written to logs."""
    try:
        parts = urlsplit(value) if isinstance(value, str) and value.isprintable() else None
        sound = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
        sound = sound and parts is not None and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, sound = None, False
    if parts is None or not sound or " " in value or not value.isascii():
        raise ValueError(f"must be http://... or https://..., not {shown(value)}")
    if "@" in parts.netloc:
        raise ValueError("must not hold a name or password, which logs would show")
    return str(value)


def _source_interval(value: Any) -> float:
    seconds = parse_duration(value)
    if not 1 <= seconds <= 86400:
        raise ValueError(f"must be from 1s to 24h, not {shown(value)}")
    return seconds


def _tcp_target(value: Any) -> Any:
    """Text of digits is a port, too: that is how a variable's value comes."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
        value = int(value)
    return _sound(value, values.tcp_target)


def _regular_expression(value: Any) -> Any:
    return _sound(value, values.regular_expression)


def _curve_key(value: Any) -> str:
    if isinstance(value, str) and _CURVE_KEY.fullmatch(value):
        return value
    raise ValueError(
        "must be a public key of 40 characters, as `supervisor-tree keys` prints it, "
        f"not {shown(value)}"
    )


def _path_text(value: Any) -> str:
    text = _text(str(value) if hasattr(value, "__fspath__") else value)
    if not text:
        raise ValueError('must be a path, not ""')
    return text


def _redact(value: Any) -> list[str]:
    """One pattern may stand for a list of one."""
    patterns = [value] if isinstance(value, str) else value
    return list(_sound(patterns, redact_rule))


def _listen_address(value: Any) -> Any:
    return _sound(value, listening.listen)


def _socket_name(value: Any) -> Any:
    return _sound(value, listening.socket_name)


def words(hint: str) -> BeforeValidator:
    """Refuse text where a list of words belongs, and show how to write the list."""

    def check(value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"must be a list of words, {hint}, not {shown(value)}")
        if isinstance(value, list | tuple) and not value:
            raise ValueError("must not be empty")
        return list(value) if isinstance(value, tuple) else value

    return BeforeValidator(check)


@dataclass(frozen=True, eq=False)
class Kind:
    """What pydantic is told about a value: the function that reads it, and its JSON Schema."""

    read: Callable[..., Any]
    schema: Mapping[str, Any]
    with_context: bool = False

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        if self.with_context:
            return core_schema.with_info_plain_validator_function(self.read)
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return dict(self.schema)


def whole_number(least: int, most: int | None = None) -> Kind:
    """Integers from `least` to `most`."""
    limits = f"from {least} to {most}" if most is not None else f"of {least} or more"
    largest = 2**62 if most is None else most

    def read(value: Any) -> int:
        exact = isinstance(value, int) and not isinstance(value, bool)
        if not exact or not least <= value <= largest:
            raise ValueError(f"must be a whole number {limits}, not {shown(value)}")
        return int(value)

    schema: dict[str, Any] = {"type": "integer", "minimum": least}
    return Kind(read, schema if most is None else schema | {"maximum": most})


def ratio(least: float, most: float) -> Kind:
    """Numbers from `least` to `most`."""

    def read(value: Any) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not least <= value <= most:  # also false for nan
            raise ValueError(f"must be a number from {least:g} to {most:g}, not {shown(value)}")
        return float(value)

    return Kind(read, {"type": "number", "minimum": least, "maximum": most})


def _number_or(*others: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "number", "minimum": 0}, *others]}


_WRITTEN_DURATION = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)$"}
_WRITTEN_SIZE = {
    "type": "string",
    "pattern": r"^[0-9]+(\.[0-9]+)? ?([kKmMgGtT][iI]?)?[bB]$|^[0-9]+$",
}
_DURATION = _number_or(_WRITTEN_DURATION)
_TEXT = {"type": "string"}
_TEXT_OR_NUMBER = {"type": ["string", "number"]}


def _matching(pattern: re.Pattern[str]) -> dict[str, str]:
    return {"type": "string", "pattern": f"^({pattern.pattern})$"}


Flag: TypeAlias = Annotated[bool, Kind(_flag, {"type": "boolean"})]
Text: TypeAlias = Annotated[str, Kind(_text, _TEXT)]
Word: TypeAlias = Annotated[str, Kind(_word, _TEXT_OR_NUMBER)]
ChildId: TypeAlias = Annotated[str, Kind(_child_id, _matching(_ID) | {"maxLength": LONGEST_ID})]
ChildPath: TypeAlias = Annotated[str, Kind(_child_path, _matching(_PATH))]
AgentTarget: TypeAlias = Annotated[Any, Kind(_agent_target, _matching(_TARGET), True)]
ModuleName: TypeAlias = Annotated[str, Kind(_module_name, _matching(_MODULE))]
EnvKey: TypeAlias = Annotated[str, Kind(_env_key, _TEXT)]
EnvValue: TypeAlias = Annotated[str, Kind(_env_value, _TEXT_OR_NUMBER)]
SignalName: TypeAlias = Annotated[str, Kind(_signal_name, _TEXT)]
Duration: TypeAlias = Annotated[float, Kind(parse_duration, _DURATION)]
Period: TypeAlias = Annotated[float, Kind(_period, _DURATION)]
TimeLimit: TypeAlias = Annotated[
    float, Kind(_time_limit, _number_or(_WRITTEN_DURATION, {"const": "infinity"}))
]
ShutdownTime: TypeAlias = Annotated[
    Shutdown,
    Kind(_shutdown, _number_or(_WRITTEN_DURATION, {"enum": ["brutal_kill", "infinity"]})),
]
Size: TypeAlias = Annotated[int, Kind(parse_size, _number_or(_WRITTEN_SIZE))]
PositiveSize: TypeAlias = Annotated[int, Kind(_positive_size, _number_or(_WRITTEN_SIZE))]
Umask: TypeAlias = Annotated[int, Kind(_umask, {"type": ["string", "integer"]})]
OsAccount: TypeAlias = Annotated[str, Kind(_account, {"type": ["string", "integer"]})]
Listen: TypeAlias = Annotated[str, Kind(_listen, _matching(_LISTEN))]
TcpAddress: TypeAlias = Annotated[str, Kind(_tcp_address, _matching(_TCP))]
TcpTarget: TypeAlias = Annotated[int | str, Kind(_tcp_target, {"type": ["integer", "string"]})]
HttpUrl: TypeAlias = Annotated[str, Kind(_http_url, _TEXT | {"format": "uri"})]
SourceInterval: TypeAlias = Annotated[float, Kind(_source_interval, _DURATION)]
RegularExpression: TypeAlias = Annotated[
    str, Kind(_regular_expression, _TEXT | {"format": "regex"})
]
CurveKey: TypeAlias = Annotated[str, Kind(_curve_key, _matching(_CURVE_KEY))]
ListenAddress: TypeAlias = Annotated[str, Kind(_listen_address, _TEXT)]
SocketName: TypeAlias = Annotated[str, Kind(_socket_name, _TEXT)]
PathPattern: TypeAlias = Annotated[str, Kind(_path_pattern, _TEXT)]
TopicPattern: TypeAlias = Annotated[str, Kind(_topic_pattern, _TEXT)]
RedactPatterns: TypeAlias = Annotated[
    list[str],
    Kind(_redact, {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}),
]
PathText: TypeAlias = Annotated[str, Kind(_path_text, _TEXT)]
