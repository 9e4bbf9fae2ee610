"""What operators want, kept on the disk over the end of the host: `<state_dir>/wanted/NUMBER.json`.

Each change makes a new file of all that is remembered: written under another name, put through
to the disk (fsync(2)), and renamed.  No file is ever written to again, and the last few stay, so
that one which a crash or a full disk has left torn costs the last change at most.  It is set
aside, never deleted and never a reason not to start.

fsync may take seconds on a busy disk, and the root waits for nothing: `Saver` does it in a
process of its own, once per change.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from supervisor_tree.agents.agent import Agent, Ignore
from supervisor_tree.agents.context import Context
from supervisor_tree.control.holds import Hold
from supervisor_tree.files import read_regular, write_whole

__all__ = ["Remembered", "Saver", "read_holds", "write_holds"]

_VERSION = 1
_KEPT = 4  # files, the present one included
_DAMAGED_KEPT = 3
_NAME = re.compile(r"([0-9]{1,15})\.json(\.damaged)?", re.ASCII)
_MAX_BYTES = 64_000_000
_MOST_ID = 2**32  # of users and processes


class Remembered(NamedTuple):
    """What was found: the holds by path, the highest number in use, and what is wrong."""

    holds: dict[str, Hold]
    number: int
    problems: list[str]


def read_holds(directory: Path) -> Remembered:
    """The newest file that is whole; those after it are set aside.  Raises nothing."""
    problems: list[str] = []
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return Remembered({}, 0, [])
    except OSError as error:
        return Remembered({}, 0, [f"cannot read {directory}: {error.strerror}"])
    found = [(int(match[1]), match[2]) for name in names if (match := _NAME.fullmatch(name))]
    highest = max((number for number, _ in found), default=0)
    for number in sorted((number for number, damaged in found if not damaged), reverse=True):
        file = _file(directory, number)
        try:
            holds = _parse(read_regular(file, _MAX_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"cannot use {file}: {_why(error)}; {_set_aside(file)}")
            continue
        if problems:
            problems.append(f"what operators want is taken from {file}, the one before")
        return Remembered(holds, highest, problems)
    if problems:
        problems.append("no other is there: nothing is known of what operators want")
    return Remembered({}, highest, problems)


def write_holds(directory: Path, number: int, holds: Iterable[Mapping[str, Any]]) -> None:
    """Make file `number`, and delete those that are old.  Raises OSError."""
    directory.mkdir(mode=0o700, exist_ok=True)
    file = _file(directory, number)
    content = json.dumps({"version": _VERSION, "holds": list(holds)}, indent=1)
    write_whole(file, f"{content}\n".encode(), durable=True)
    _sync(directory)
    _delete_old(directory)


class Saver(Agent):
    """Writes one file and is done.  `args` are those of `write_holds`, `directory` as text.

    To have written is to decline the start (OTP's `ignore`), to fail is a failed start.
    """

    def init(self, ctx: Context) -> None:
        """See Agent.  Raises OSError."""
        args = ctx.args
        write_holds(Path(args["directory"]), args["number"], args["holds"])
        raise Ignore("written")


def _file(directory: Path, number: int) -> Path:
    return directory / f"{number}.json"


def _parse(content: bytes) -> dict[str, Hold]:
    """Raises ValueError for anything but what `write_holds` has written."""
    if not content.strip(b"\0\n "):
        raise ValueError("it is empty")
    try:
        data = json.loads(content)
        if data["version"] != _VERSION:
            raise ValueError(f"it is of version {data['version']!r:.20}, not {_VERSION}")
        holds = [Hold(**each) for each in data["holds"]]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is torn or no JSON ({error})") from None
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no list of what operators want ({error})") from None
    if not all(_is_whole(hold) for hold in holds):
        raise ValueError("it is no list of what operators want")
    return {hold.path: hold for hold in holds}


def _is_whole(hold: Hold) -> bool:
    texts = (hold.path, hold.since, hold.verb, hold.why)
    numbers = (hold.uid, hold.pid)
    return (
        type(hold.down) is bool
        and all(type(text) is str for text in texts)
        and all(number is None or type(number) is int for number in numbers)
        and all(number is None or 0 <= number < _MOST_ID for number in numbers)
    )


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _set_aside(file: Path) -> str:
    damaged = file.with_name(f"{file.name}.damaged")
    try:
        file.rename(damaged)
    except OSError as error:
        return f"and cannot set it aside: {error.strerror}"
    return f"it is kept as {damaged.name}"


def _delete_old(directory: Path) -> None:
    """Of what cannot be deleted nobody needs to hear: it does no harm."""
    found = [match for name in os.listdir(directory) if (match := _NAME.fullmatch(name))]
    for damaged, kept in ((False, _KEPT), (True, _DAMAGED_KEPT)):
        alike = sorted(
            (match for match in found if bool(match[2]) is damaged), key=lambda match: int(match[1])
        )
        for match in alike[:-kept]:
            with contextlib.suppress(OSError):
                os.unlink(directory / match[0])


def _sync(directory: Path) -> None:
    """A name is on the disk when its directory is (fsync(2))."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
