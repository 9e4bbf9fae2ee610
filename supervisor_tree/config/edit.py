"""Writes `enabled:` into configuration files as an operator would: that one word or line, no more.

The place is found with the parser's own marks and the text is changed there, so that comments,
order, quotes and line ends stay byte for byte what they were.  (A library that reads YAML and
writes it again, however faithful, sets its own indentation and line breaks.)  What has come of
it is then read like any file, and must say what it said before but for that one key; where it
does not, as what stands there is shared by an anchor, the change is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from supervisor_tree.config.document import READINGS
from supervisor_tree.config.hostconfig import ChildPlace, Config
from supervisor_tree.config.loader import load
from supervisor_tree.config.source import Path, Source, parse
from supervisor_tree.errors import (
    ConfigError,
    NoSuchChild,
    OperationFailed,
    SupervisorTreeError,
    TryAgain,
)

__all__ = ["Edit", "plan_edits", "with_enabled"]

_BOM = b"\xef\xbb\xbf"
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_KEY = "enabled"


@dataclass(slots=True)
class Edit:
    """The change of one file, worked out and not yet made.  `paths` are those that it changes."""

    file: str
    before: bytes
    after: bytes
    paths: list[str]

    def make(self) -> None:
        """Put the new content in the file's place; mode, owner and attributes stay.

        Raises TryAgain if the file has changed meanwhile, OperationFailed if it cannot be written.
        """
        real = os.path.realpath(self.file)  # a link stays a link
        fresh = ""
        try:
            facts = os.stat(real)
            fd, fresh = tempfile.mkstemp(prefix=f".{os.path.basename(real)}.", dir=_folder(real))
            with open(fd, "wb") as stream:
                stream.write(self.after)
                os.fchmod(fd, stat.S_IMODE(facts.st_mode))
                if (facts.st_uid, facts.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(fd, facts.st_uid, facts.st_gid)
                _copy_attributes(real, fd)
                stream.flush()
                os.fsync(fd)
            if _read(real) != self.before:
                raise TryAgain(f"{self.file} has changed meanwhile; nothing was written to it")
            os.replace(fresh, real)
            fresh = ""
        except OSError as error:
            why = error.strerror or str(error)
            raise OperationFailed(f"cannot write {self.file}: {why}; it is as it was") from None
        finally:
            if fresh:
                with contextlib.suppress(OSError):
                    os.unlink(fresh)


def plan_edits(file: str, wanted: Mapping[str, bool]) -> list[Edit]:
    """What has to be written so that these children of the configuration `file` are enabled or not.

    Those that are so already need nothing.  Nothing is written here.  Raises ConfigError if a file
    is not valid, NoSuchChild or OperationFailed, with the place, for what cannot be done.
    """
    config = load(file)
    places = {path: _place(config, file, path) for path in wanted}
    edits: dict[str, Edit] = {}
    for path, enabled in wanted.items():
        place = places[path]
        if place.enabled == enabled:
            continue
        edit = edits.get(place.file)
        if edit is None:
            content = _writable(place.file)
            edit = edits[place.file] = Edit(place.file, content, content, [])
        edit.after = with_enabled(edit.after, place, path, enabled)
        edit.paths.append(path)
    return list(edits.values())


def with_enabled(content: bytes, place: ChildPlace, child: str, enabled: bool) -> bytes:
    """The content of a file with `enabled:` of one child changed.

    Raises OperationFailed, with the place, where that cannot be said without changing more.
    """
    word = "true" if enabled else "false"
    bom = _BOM if content.startswith(_BOM) else b""
    text = content.decode("utf-8-sig")
    node = _node(yaml.compose(text, Loader=yaml.CSafeLoader), place.path)
    if not isinstance(node, yaml.MappingNode):
        raise _changed(place)
    start, end, new = _splice(text, node, word)
    after = bom + (text[:start] + new + text[end:]).encode()
    _verify(content, after, place, child, enabled)
    return after


# --- where, and what --------------------------------------------------------------------------


def _place(config: Config, file: str, path: str) -> ChildPlace:
    place = config.places.get(path)
    if config.host.source is not None:
        raise OperationFailed(f"cannot write about {path}: it comes from {config.host.source.url}")
    if place is not None:
        return place
    if f"{path.rpartition('/')[0]}/*" in config.places:
        raise OperationFailed(
            f"cannot write about {path}: it is made from a template, and {file} says nothing of it"
        )
    if config.problems:  # it may be in one of those
        raise ConfigError(list(config.problems))
    raise NoSuchChild(f"no child of {file} has the path {path}")


def _node(node: Any, path: Path) -> Any:
    """What stands at `path`; None if it is not written there."""
    for step in path:
        if isinstance(step, int):
            inside = isinstance(node, yaml.SequenceNode) and step < len(node.value)
            node = node.value[step] if inside else None
        else:
            pair = _pair(node, step)
            node = None if pair is None else pair[1]
    return node


def _pair(node: Any, name: str) -> tuple[Any, Any] | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((pair for pair in pairs if pair[0].value == name), None)


def _splice(text: str, node: yaml.MappingNode, word: str) -> tuple[int, int, str]:
    """What to put in the place of text[start:end]: the value, or a key of its own."""
    known = _pair(node, _KEY)
    if known is not None:
        return _replace(text, *known, word)
    key, value = _pair(node, "id") or node.value[0]
    end = value.end_mark.index
    if node.flow_style:
        name = f'"{_KEY}"' if key.style == '"' else _KEY
        return end, end, f", {name}: {word}"
    start = key.start_mark.index
    before = text[start - key.start_mark.column : start]
    depth = before.rindex("?") if before.rstrip().endswith("?") else len(before)
    return _line_after(text, end, " " * depth + f"{_KEY}: {word}")


def _replace(text: str, key: Any, value: Any, word: str) -> tuple[int, int, str]:
    start, end = value.start_mark.index, value.end_mark.index
    if start < key.end_mark.index:  # an alias, whose text is elsewhere
        alias = re.compile(r"\s*:\s+(\*[^\s,\]}]+)").match(text, key.end_mark.index)
        if alias is not None:
            return *alias.span(1), word
    if start == end and not text[:start].endswith(" "):
        word = f" {word}"  # `enabled:` and nothing
    return start, end, word


def _line_after(text: str, end: int, line: str) -> tuple[int, int, str]:
    """A line of its own after the one that text[end] is in, with that one's line end."""
    at_break = _BREAK.search(text, max(0, end - 1))
    if at_break is None:
        first = _BREAK.search(text)
        return len(text), len(text), ("\n" if first is None else first[0]) + line
    return at_break.end(), at_break.end(), line + at_break[0]


# --- whether it is that and nothing else --------------------------------------------------------


def _verify(before: bytes, after: bytes, place: ChildPlace, child: str, enabled: bool) -> None:
    source = parse(before, place.file, READINGS)
    expected = json.loads(_canonical(source))
    target = expected
    for step in place.path:
        target = target[step]
    if str(target.get("id")) != child.rpartition("/")[2]:
        raise _changed(place)
    target[_KEY] = enabled
    try:
        found = _canonical(parse(after, place.file, READINGS))
        same = found == json.dumps(expected, sort_keys=True)
    except ConfigError:
        same = False
    if not same:
        raise OperationFailed(
            f"cannot change {child} alone in {place.file}:{source.line(place.path)}: what stands "
            "there is shared by an anchor or a merge key, or written unusually; edit it by hand"
        )


def _canonical(source: Source) -> str:
    """What a file says, each value by itself, whatever it shares with others."""
    if source.problems:
        raise ConfigError(source.problems)
    return json.dumps(source.data, sort_keys=True)


def _changed(place: ChildPlace) -> SupervisorTreeError:
    return TryAgain(f"{place.file} has changed meanwhile; nothing was written")


# --- files ------------------------------------------------------------------------------------


def _writable(file: str) -> bytes:
    real = os.path.realpath(file)
    try:
        content = _read(real)
    except OSError as error:
        raise OperationFailed(f"cannot read {file}: {error.strerror}") from None
    for what in (real, _folder(real)):  # to replace a file is to write to its directory
        if not os.access(what, os.W_OK):
            raise OperationFailed(f"cannot write {file}: {what} is not writable for this user")
    return content


def _read(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read()


def _folder(file: str) -> str:
    return os.path.dirname(file) or "."


def _copy_attributes(file: str, fd: int) -> None:
    """Access lists and labels (xattr(7)); those that this user may not set are not lost but new."""
    for name in os.listxattr(file):
        with contextlib.suppress(OSError):
            os.setxattr(fd, name, os.getxattr(file, name))
