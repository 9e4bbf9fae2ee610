"""One YAML file as plain data that knows where each piece of it stands.

PyYAML's C parser gives events; this module composes them itself, because the operator needs
what PyYAML's own composer does not give: line and column of every key and value, duplicate
keys as errors, bounded depth, and a bound for aliases that multiply each other.

Scalars are read by the core schema of YAML 1.2, not by PyYAML's 1.1: `no` is a word and not
false, `12:30` is a word and not 750, a date is a word.  What stands where text is wanted
(`id`, `env`, `command`, ...) is taken as it is written: `VERSION: 1.10` is "1.10".  Where
anything may stand (`args`), a word that YAML 1.1 and 1.2 read differently is refused, since
nobody can tell what its author meant.
"""

from __future__ import annotations

import os
import re
import select
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from supervisor_tree.core.problems import DEEPEST
from supervisor_tree.core.values import shown
from supervisor_tree.errors import ConfigError, ConfigProblem

__all__ = [
    "MAX_DEPTH",
    "Path",
    "Reading",
    "Source",
    "from_plain_data",
    "key_text",
    "parse",
    "read",
]

Path: TypeAlias = tuple[str | int, ...]
_Mark: TypeAlias = tuple[int, int]

MAX_BYTES = 8_000_000
MAX_SILENCE_S = 5.0  # of whoever writes into a pipe: `check <(generate)`
MAX_DEPTH = 4 * DEEPEST  # a supervisor in a supervisor is three levels further down
MAX_NODES = 200_000

_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})|0x[0-9a-fA-F]{1,16}", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.ASCII
)
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NOTHING = {"", "~", "null", "Null", "NULL"}
# Booleans, octal numbers, binary numbers and digit groups of YAML 1.1, all words in 1.2.
_AMBIGUOUS = re.compile(
    r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"
    r"|[-+]?0[0-9_]+|[-+]?0o[0-7]+|[-+]?0b[01_]+|[-+]?[0-9][0-9.]*_[0-9_.]*",
    re.ASCII,
)
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_STRING_TAGS = {"!", "tag:yaml.org,2002:str"}
_COLLECTION_TAGS = {None, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


class Reading(Enum):
    """How the scalars under a key are read."""

    TYPED = auto()  # numbers, true, false; anything else is text
    TEXT = auto()  # as written
    FREE = auto()  # typed, and ambiguous words are refused


@dataclass(slots=True)
class Source:
    """A file's data, the place of each path in it, and what is wrong with it so far."""

    file: str
    data: Any = None
    problems: list[ConfigProblem] = field(default_factory=list)
    marks: dict[Path, _Mark] = field(default_factory=dict)
    key_marks: dict[Path, _Mark] = field(default_factory=dict)
    aliases: dict[Path, Path] = field(default_factory=dict)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> ConfigProblem:
        """A problem with what stands at `path`, or with the nearest thing around it."""
        line, column = self._mark(path, at_key)
        return ConfigProblem(self.file, line, column, key_text(path), message)

    def line(self, path: Path) -> int:
        """The line of `path`, 0 for data that came from no file."""
        return self._mark(path, False)[0]

    def _mark(self, path: Path, at_key: bool) -> _Mark:
        path = self._written_at(path)
        if at_key and path in self.key_marks:
            return self.key_marks[path]
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (0, 0))

    def _written_at(self, path: Path) -> Path:
        """Follow aliases and merge keys to the place where the text stands."""
        for _ in range(MAX_DEPTH):
            for length in range(1, len(path) + 1):
                if (target := self.aliases.get(path[:length])) is not None:
                    path = target + path[length:]
                    break
            else:
                break
        return path


def key_text(path: Path) -> str:
    """`("tree", "children", 0, "id")` as `tree.children[0].id`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if part.isprintable() and len(part) <= 80 else shown(part)
            text += f".{word}" if text else word
    return text


def read(file: str, readings: Mapping[str, Reading]) -> Source:
    """Read and parse one file.  Raises ConfigError if no data can be had from it."""
    try:
        content = _content(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refusal(file or '""', 0, 0, f"cannot read: {reason}") from error
    return parse(content, file, readings)


def _content(file: str) -> bytes:
    """At most one byte more than is allowed.  Never waits for long, whatever the name stands for.

    Looked at before it is opened: to open a device may do something, such as wind a tape.
    """
    kind = os.stat(file).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
        raise ValueError(f"a file was expected, and this is {_KINDS[stat.S_IFMT(kind)]}")
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(fd, "rb", buffering=0) as stream:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return stream.read(MAX_BYTES + 1)
        return _from_pipe(fd)


def _from_pipe(fd: int) -> bytes:
    content = bytearray()
    pipe = select.poll()
    pipe.register(fd, select.POLLIN)
    while len(content) <= MAX_BYTES:
        # A pipe that nobody has opened for writing yet shows neither input nor an end, poll(2).
        if not pipe.poll(MAX_SILENCE_S * 1000):
            raise ValueError(f"nothing came out of this pipe for {MAX_SILENCE_S:g} s")
        part = os.read(fd, MAX_BYTES + 1 - len(content))
        if not part:
            break
        content += part
    return bytes(content)


def parse(content: bytes, file: str, readings: Mapping[str, Reading]) -> Source:
    """Parse the content of one file.  Raises ConfigError if no data can be had from it."""
    if len(content) > MAX_BYTES:
        raise _refusal(file, 0, 0, f"cannot read: larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(content, error.start)
        wrong = content[error.start]
        message = f"must be UTF-8 text, and byte 0x{wrong:02x} here is not"
        raise _refusal(file, line, column, message) from error
    try:
        return _Composer(file, text, readings).compose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _refusal(file, line, column, _syntax_message(error, text)) from error
    except yaml.reader.ReaderError as error:
        line, column = _place(text.encode(), error.position)
        message = f"cannot read as YAML: {error.reason}"
        raise _refusal(file, line, column, message) from error


def from_plain_data(data: Any, name: str) -> Source:
    """Data that an embedding program gives: it has keys, but no lines."""
    return Source(name, data)


def _refusal(file: str, line: int, column: int, message: str) -> ConfigError:
    return ConfigError([ConfigProblem(file, line, column, "", message)])


def _place(content: bytes, offset: int) -> _Mark:
    before = content[:offset]
    return before.count(b"\n") + 1, offset - (before.rfind(b"\n") + 1) + 1


def _syntax_message(error: yaml.MarkedYAMLError, text: str) -> str:
    message = f"cannot read as YAML: {error.problem or error.context or 'syntax error'}"
    mark = error.problem_mark
    at_tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
    if at_tab or "tab" in message or "\\t" in message:
        message += "; indent with spaces"
    if error.context and error.context_mark is not None and error.problem:
        message += f" ({error.context} of line {error.context_mark.line + 1})"
    return message


@dataclass(slots=True)
class _Anchor:
    path: Path
    data: Any = None
    nodes: int = 0
    open: bool = True


class _Composer:
    """Recursive over a bounded depth; every node, and every node an alias repeats, is counted."""

    def __init__(self, file: str, text: str, readings: Mapping[str, Reading]) -> None:
        self._source = Source(file)
        self._readings = readings
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._anchors: dict[str, _Anchor] = {}
        self._nodes = 0

    def compose(self) -> Source:
        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, StreamEndEvent):
            raise _refusal(self._source.file, 1, 1, "is empty; a configuration was expected")
        self._source.data = self._node(next(self._events), (), Reading.TYPED)
        next(self._events)  # the document's end
        event = next(self._events)
        if isinstance(event, DocumentStartEvent):
            raise self._stop((), event, "must hold one document, but another one begins here")
        return self._source

    def _node(self, event: Any, path: Path, reading: Reading) -> Any:
        self._count(1, path, event)
        self._source.marks[path] = _mark_of(event)
        if isinstance(event, AliasEvent):
            return self._alias(event, path)
        anchor = self._open_anchor(event, path)
        nodes_before = self._nodes
        data: Any
        if isinstance(event, ScalarEvent):
            data = self._scalar(event, path, reading)
        else:
            self._check_collection(event, path)
            compose = self._mapping if isinstance(event, MappingStartEvent) else self._sequence
            data = compose(path, reading)
        if anchor is not None:
            anchor.data, anchor.nodes, anchor.open = data, self._nodes - nodes_before, False
        return data

    def _sequence(self, path: Path, reading: Reading) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), reading))
        return items

    def _mapping(self, path: Path, reading: Reading) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        merges: list[Path] = []
        merged: list[dict[str, Any]] = []
        while not isinstance(event := next(self._events), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                raise self._stop(path, event, "a key must be a plain word")
            key, place = event.value, (*path, event.value)
            if key == "<<" and event.implicit[0]:
                value = self._node(next(self._events), place, reading)
                self._collect_merges(value, place, merges, merged)
                continue
            if key in pairs:
                first = self._source.key_marks[place][0]
                marks = self._source.marks[place]
                self._note(place, event, f"duplicate key, already given in line {first}")
                self._node(next(self._events), place, reading)
                self._source.marks[place] = marks
                continue
            self._source.key_marks[place] = _mark_of(event)
            pairs[key] = self._node(next(self._events), place, self._reading(key, reading))
        for source, base in zip(merges, merged, strict=True):
            self._merge(pairs, path, source, base)
        return pairs

    def _collect_merges(
        self, value: Any, place: Path, merges: list[Path], merged: list[dict[str, Any]]
    ) -> None:
        many = isinstance(value, list)
        for index, base in enumerate(value if many else [value]):
            where: Path = (*place, index) if many else place
            if isinstance(base, dict):
                merges.append(where)
                merged.append(base)
            else:
                message = "must be a mapping, or a list of mappings, to merge"
                self._source.problems.append(self._source.problem(where, message))

    def _merge(self, pairs: dict[str, Any], path: Path, source: Path, base: dict[str, Any]) -> None:
        """The merge key `<<` of YAML 1.1: what is given beside it wins, then the earlier base."""
        for key, value in base.items():
            if key not in pairs:
                pairs[key] = value
                self._source.aliases[(*path, key)] = (*source, key)

    def _alias(self, event: AliasEvent, path: Path) -> Any:
        anchor = self._anchors.get(event.anchor or "")
        if anchor is None:
            raise self._stop(path, event, f"*{event.anchor}: nothing above has this anchor")
        if anchor.open:
            raise self._stop(path, event, f"*{event.anchor}: contains itself")
        self._count(anchor.nodes, path, event)
        self._source.aliases[path] = anchor.path
        return anchor.data

    def _open_anchor(self, event: Any, path: Path) -> _Anchor | None:
        if event.anchor is None:
            return None
        anchor = self._anchors[event.anchor] = _Anchor(path)
        return anchor

    def _scalar(self, event: ScalarEvent, path: Path, reading: Reading) -> Any:
        text: str = event.value
        if event.tag is not None and event.tag not in _STRING_TAGS:
            self._note(path, event, f"the tag {event.tag} is not supported")
            return text
        if event.tag is not None or not event.implicit[0]:  # tagged as text, or quoted
            return text
        if text in _NOTHING:
            return None
        if reading is Reading.TEXT:
            return text
        if reading is Reading.FREE and _AMBIGUOUS.fullmatch(text):
            self._note(path, event, f'can be read in two ways: write "{text}" if it is text')
        return _typed(text)

    def _check_collection(self, event: CollectionStartEvent, path: Path) -> None:
        if event.tag not in _COLLECTION_TAGS:
            self._note(path, event, f"the tag {event.tag} is not supported")
        if len(path) > MAX_DEPTH:
            raise self._stop(path[:8], event, f"nested deeper than {MAX_DEPTH} lists and mappings")

    def _reading(self, key: str, around: Reading) -> Reading:
        return self._readings.get(key, around) if around is Reading.TYPED else around

    def _count(self, nodes: int, path: Path, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self._stop(path, event, f"more than {MAX_NODES} values, aliases counted")

    def _note(self, path: Path, event: Any, message: str) -> None:
        line, column = _mark_of(event)
        key = key_text(path)
        self._source.problems.append(ConfigProblem(self._source.file, line, column, key, message))

    def _stop(self, path: Path, event: Any, message: str) -> ConfigError:
        self._note(path, event, message)
        return ConfigError(self._source.problems)


def _typed(text: str) -> Any:
    if text in _TRUTH:
        return _TRUTH[text]
    if _INT.fullmatch(text):
        return int(text, 16 if text.startswith("0x") else 10)
    if _FLOAT.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _mark_of(event: Any) -> _Mark:
    return event.start_mark.line + 1, event.start_mark.column + 1
