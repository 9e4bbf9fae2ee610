"""The kinds of values in a configuration: what is accepted, what is said about the rest.

Each kind is a type for the models of `document`, made of a function that returns the value
as the core wants it or raises ValueError with a text for an operator, and of what JSON
Schema has to say about it.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from supervisor_tree.config.units import parse_duration, parse_size, shown
from supervisor_tree.core.specs import Shutdown

__all__ = [
    "ID_PATTERN",
    "AgentTarget",
    "ChildId",
    "ChildPath",
    "Duration",
    "EnvKey",
    "EnvValue",
    "Flag",
    "Kind",
    "Listen",
    "ModuleName",
    "OsAccount",
    "PathText",
    "Period",
    "PositiveSize",
    "ShutdownTime",
    "SignalName",
    "Size",
    "StartTimeout",
    "Text",
    "Umask",
    "Word",
    "ratio",
    "whole_number",
    "words",
]

# The host sets these in a child's environment; nobody else may.
OWNED_VARIABLES = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
OWNED_PREFIXES = ("SUPERVISOR_TREE_", "LISTEN_")

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_MODULE_PATTERN = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_ID = re.compile(ID_PATTERN, re.ASCII)
_PATH = re.compile(rf"/|(/{ID_PATTERN})+", re.ASCII)
_MODULE = re.compile(_MODULE_PATTERN)
_TARGET = re.compile(rf"{_MODULE_PATTERN}:{_MODULE_PATTERN}")
_LISTEN = re.compile(r"(?:[^\s:\[\]/]+|\[[0-9a-fA-F:.%]+\]):([0-9]{1,5})")
_OCTAL = re.compile(r"(0o)?[0-7]{1,4}", re.ASCII)
_UNCATCHABLE = {"SIGKILL", "SIGSTOP"}
_LONGEST_ID = 200


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


def _child_id(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = _number_text(value)
    if not isinstance(value, str):
        raise ValueError(f"must be a name such as greeter or bot-1, not {shown(value)}")
    if value == "_":
        raise ValueError("must not be _, which is the name of the host's own processes")
    if not _ID.fullmatch(value):
        raise ValueError(
            "must begin with a letter or a digit and go on with letters, digits, '.', '_' or '-', "
            f"not {shown(value)}"
        )
    if len(value) > _LONGEST_ID:
        raise ValueError(f"must have at most {_LONGEST_ID} characters, not {len(value)}")
    return value


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


def _env_key(value: Any) -> str:
    if not isinstance(value, str) or not value or "=" in value or "\0" in value:
        raise ValueError(f"must be the name of a variable, without '=', not {shown(value)}")
    if value in OWNED_VARIABLES or value.startswith(OWNED_PREFIXES):
        raise ValueError("belongs to the host, which sets it for every child; leave it out")
    return value


def _env_value(value: Any) -> str:
    if value is None:
        raise ValueError('must be text; write "" for an empty value')
    if isinstance(value, bool):
        raise ValueError("must be text: write it in quotes, 'true' or '1'")
    return _word(value)


def _signal_name(value: Any) -> str:
    if isinstance(value, str):
        name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
        if name in _UNCATCHABLE:
            raise ValueError(
                f"must be a signal that a child can act on, not {name}; "
                "to kill at once, write shutdown: brutal_kill"
            )
        if name in signal.Signals.__members__:
            return name
    raise ValueError(f"must be the name of a signal such as SIGTERM, not {shown(value)}")


def _shutdown(value: Any) -> Any:
    if value in ("brutal_kill", "infinity"):
        return value
    try:
        return parse_duration(value, infinity=True)
    except ValueError as error:
        raise ValueError(str(error).replace("(or", "(or brutal_kill or")) from None


def _start_timeout(value: Any) -> float:
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


def _account(value: Any) -> str:
    text = _word(value)
    if not text or ":" in text or any(letter.isspace() for letter in text):
        raise ValueError(f"must be a name or a numeric id, not {shown(value)}")
    return text


def _listen(value: Any) -> str:
    found = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[1]) > 65535:
        raise ValueError(f"must be HOST:PORT such as 127.0.0.1:8420, not {shown(value)}")
    return str(value)


def _path_text(value: Any) -> str:
    text = _text(str(value) if hasattr(value, "__fspath__") else value)
    if not text:
        raise ValueError('must be a path, not ""')
    return text


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


_WRITTEN_DURATION = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h)$"}
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
ChildId: TypeAlias = Annotated[str, Kind(_child_id, _matching(_ID) | {"maxLength": _LONGEST_ID})]
ChildPath: TypeAlias = Annotated[str, Kind(_child_path, _matching(_PATH))]
AgentTarget: TypeAlias = Annotated[Any, Kind(_agent_target, _matching(_TARGET), True)]
ModuleName: TypeAlias = Annotated[str, Kind(_module_name, _matching(_MODULE))]
EnvKey: TypeAlias = Annotated[str, Kind(_env_key, _TEXT)]
EnvValue: TypeAlias = Annotated[str, Kind(_env_value, _TEXT_OR_NUMBER)]
SignalName: TypeAlias = Annotated[str, Kind(_signal_name, _TEXT)]
Duration: TypeAlias = Annotated[float, Kind(parse_duration, _DURATION)]
Period: TypeAlias = Annotated[float, Kind(_period, _DURATION)]
StartTimeout: TypeAlias = Annotated[
    float, Kind(_start_timeout, _number_or(_WRITTEN_DURATION, {"const": "infinity"}))
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
PathText: TypeAlias = Annotated[str, Kind(_path_text, _TEXT)]
