"""Cgroups (v2) of a host: whether it may make some, where, and what it writes into them.

A host is given a part of the one hierarchy (systemd: `Delegate=yes`; a container; or the whole
of it, where no service manager looks after it).  Below its own cgroup it has

    supervisor-tree-<id>/           the host's; the id is that of its run directory
        main                        root, spawner, and all children without such limits
        chat:bot#3                  one leaf for each life that has some: /chat/bot, generation 3

because only leaves may have processes once controllers are passed down (cgroups(7), "no internal
processes"; the rule does not hold for the top of the hierarchy, where nobody is moved).

Nothing here depends on it: scopes are found by parentage, and what a cgroup counts better is
a help.  The files are the kernel's; none of them blocks.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor_tree.core.specs import Limits

__all__ = [
    "CONTROLLERS",
    "Cgroup",
    "NotAvailable",
    "Place",
    "Territory",
    "enter",
    "files_of",
    "kill",
    "leaf_name",
    "needs",
    "oom_kills",
    "own_place",
    "place_in",
    "remove",
    "usable",
]

# Which controller each limit needs.
CONTROLLERS = {"memory_max": "memory", "pids_max": "pids", "cpu_max": "cpu"}

_PREFIX = "supervisor-tree-"
_MAIN = "main"
_PERIOD_US = 100_000  # of cpu.max, the kernel's default
_LEAST_QUOTA_US = 1_000  # the kernel takes no less
_LONGEST_NAME = 240  # NAME_MAX is 255
_ROUNDS = 8


class NotAvailable(Exception):
    """There can be no cgroups here; the message says why, for an operator."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The leaf of one life, and what is written to which of its files before it is entered."""

    directory: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """The cgroup that a host was started in; `top`: of the whole hierarchy, or of its namespace."""

    directory: Path
    top: bool


# --- where we are ------------------------------------------------------------------------------


def own_place(process: str = "self") -> Place:
    """Of this process, or of another by its pid.  Raises NotAvailable."""
    try:
        cgroup = Path(f"/proc/{process}/cgroup").read_text()
        return place_in(cgroup, Path(f"/proc/{process}/mountinfo").read_text())
    except OSError as error:
        raise NotAvailable(f"cannot look it up: {error}") from None


def place_in(cgroup: str, mountinfo: str) -> Place:
    """What these two files of /proc say (cgroups(7), proc_pid_mountinfo(5)).

    A cgroup that a host has made for itself counts as the one above it.  Raises NotAvailable.
    """
    path = next((line[3:] for line in cgroup.splitlines() if line.startswith("0::")), None)
    if path is None:
        raise NotAvailable("this kernel has no cgroup v2")
    for mount in mountinfo.splitlines():
        fields, _, kind = mount.partition(" - ")
        if not kind.startswith("cgroup2 "):
            continue
        root, point = (_unescaped(word) for word in fields.split()[3:5])
        inside = os.path.relpath(path, root)
        if inside.startswith(".."):
            continue
        above, last = os.path.split(inside)
        if last == _MAIN and os.path.basename(above).startswith(_PREFIX):
            inside = os.path.dirname(above)
        return Place(Path(point, inside), inside in ("", "."))
    raise NotAvailable("cgroup v2 is not mounted, or not the part that this process is in")


def usable(place: Place, *, managed: bool | None = None) -> frozenset[str]:
    """The controllers that this process may pass down, of those that it has a use for.

    `managed`: systemd rules here, so that it must have given the cgroup away; None: look.
    Raises NotAvailable.
    """
    directory = place.directory
    if managed is None:
        managed = os.path.isdir("/run/systemd/system")  # sd_booted(3)
    if managed and not _is_delegated(directory):
        raise NotAvailable(f"{directory} is systemd's; give it away with Delegate=yes in the unit")
    if not os.access(directory, os.W_OK) or not os.access(directory / "cgroup.procs", os.W_OK):
        raise NotAvailable(f"{directory} is not writable for us: it was not delegated")
    try:
        controllers = (directory / "cgroup.controllers").read_text().split()
    except OSError as error:
        raise NotAvailable(f"cannot read its controllers: {error}") from None
    found = frozenset(controllers) & frozenset(CONTROLLERS.values())
    if not found:
        there = ", ".join(controllers) or "none"
        raise NotAvailable(
            f"{directory} has none of the controllers memory, pids and cpu (but {there}); "
            "they may be bound to cgroup v1, or not passed down"
        )
    return found


def _is_delegated(directory: Path) -> bool:
    """systemd marks what it has given away (CGROUP_DELEGATION, "Three scenarios")."""
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name) == b"1":
                return True
    return False


def _unescaped(word: str) -> str:
    r"""proc_pid_mountinfo(5): space, tab, newline and backslash are written as \ooo."""
    for octal in ("\\040", "\\011", "\\012", "\\134"):
        word = word.replace(octal, chr(int(octal[1:], 8)))
    return word


# --- the host's part --------------------------------------------------------------------------


class Territory:
    """What one host has below the cgroup it was started in.

    `run_dir` tells it from others there, as one host at a time has it.  `pids` lists the host's
    processes, root first.
    """

    def __init__(
        self, run_dir: Path, pids: Callable[[], Iterable[int]], place: Place | None = None
    ) -> None:
        self.run_dir = run_dir
        self.problem = ""  # why there are none
        self.controllers: frozenset[str] = frozenset()
        self._name = _name_of(run_dir)
        self._pids = pids
        self._place = place
        self._taken = False

    @property
    def directory(self) -> Path | None:
        """The host's own; None as long as it has not got one."""
        return self._place.directory / self._name if self._taken and self._place else None

    def settle(self, *, leave: bool = False) -> bool:
        """At the start of a host, which holds the lock of its run directory.

        Removes what a former life of it has left, and ends what still runs there, unless that
        is to be left alone.  What was
        given to us alone is taken at once, while there is hardly anybody to be moved; else it
        is not touched before a child needs it.  Returns whether something was left.
        """
        with contextlib.suppress(NotAvailable):
            self._place = self._place or own_place()
            left = list(_leaves(self._place.directory / self._name))
            for leaf in left:
                if not remove(str(leaf)) and not leave:
                    kill(str(leaf))
                    remove(str(leaf))
            if not self._place.top:
                self._take()
            return bool(left)
        return False

    def cgroup(self, path: str, generation: int, limits: Limits) -> Cgroup | None:
        """The leaf for one life; None if it needs none, or can have none."""
        if not needs(limits):
            return None
        if not self._taken and not self.problem:
            with contextlib.suppress(NotAvailable):
                self._take()
        files = files_of(limits, self.controllers)
        if self.directory is None or not files:
            return None
        return Cgroup(str(self.directory / leaf_name(path, generation)), files)

    def missing(self, limits: Limits) -> list[str]:
        """The keys of `limits` that no cgroup keeps here; after `cgroup`."""
        return [key for key in needs(limits) if CONTROLLERS[key] not in self.controllers]

    def why(self, key: str) -> str:
        """Why one of these is missing."""
        return self.problem or f"the cgroup has no {CONTROLLERS[key]} controller"

    def close(self) -> None:
        """The host ends: remove what is empty.  `main` stays while this process is in it."""
        directory = self.directory
        for leaf in () if directory is None else _leaves(directory):
            remove(str(leaf))
        if directory is not None:
            remove(str(directory))

    def _take(self) -> None:
        """Raises NotAvailable, and remembers why."""
        try:
            self._place = self._place or own_place()
            wanted = usable(self._place)
            _divide(self._place, self._name, wanted, self._pids)
        except NotAvailable as error:
            self.problem = str(error)
            raise
        self.controllers, self._taken = wanted, True


def _name_of(run_dir: Path) -> str:
    name = os.fsencode(os.path.realpath(run_dir))
    return f"{_PREFIX}{zlib.crc32(name):08x}{zlib.crc32(name[::-1]):08x}"


def needs(limits: Limits) -> list[str]:
    """The keys of these limits that need a cgroup."""
    return [key for key in CONTROLLERS if getattr(limits, key) is not None]


def leaf_name(path: str, generation: int) -> str:
    """Of the cgroup of one life; `:` is in no child's id."""
    name = path.lstrip("/").replace("/", ":")
    if len(name) > _LONGEST_NAME - 20:
        name = f"{name[: _LONGEST_NAME - 30]}~{zlib.crc32(name.encode()):08x}"
    return f"{name}#{generation}"


def _divide(
    place: Place, name: str, wanted: frozenset[str], pids: Callable[[], Iterable[int]]
) -> None:
    home = place.directory / name
    main = home / _MAIN
    try:
        main.mkdir(parents=True, exist_ok=True)
        if not place.top:
            _move_all(place.directory, main, pids)
        orders = " ".join(f"+{controller}" for controller in sorted(wanted))
        for directory in (place.directory, home):
            _write(directory / "cgroup.subtree_control", orders)
    except OSError as error:
        with contextlib.suppress(OSError):
            strangers = _procs(place.directory)
            if strangers and not place.top:
                raise NotAvailable(
                    f"other processes are in {place.directory} (pid {strangers[0]}): a host "
                    "needs one of its own"
                ) from None
        raise NotAvailable(f"cannot divide {place.directory}: {error.strerror}") from None


def _move_all(source: Path, target: Path, pids: Callable[[], Iterable[int]]) -> None:
    """Processes of the host; what they fork meanwhile is found by another look."""
    for _ in range(_ROUNDS):
        there = set(_procs(source))
        ours = [pid for pid in pids() if pid in there]
        if not ours:
            return
        for pid in ours:
            with contextlib.suppress(ProcessLookupError):
                _write(target / "cgroup.procs", str(pid))


def _leaves(directory: Path) -> Iterator[Path]:
    try:
        with os.scandir(directory) as entries:
            yield from (Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return


# --- one life's ---------------------------------------------------------------------------------


def files_of(limits: Limits, controllers: frozenset[str]) -> dict[str, str]:
    """What to write where for these limits, as far as the controllers are there.

    A process that the kernel kills for its memory takes its whole scope along, as half an
    agent is worth nothing (memory.oom.group).
    """
    files: dict[str, str] = {}
    if limits.memory_max is not None and "memory" in controllers:
        files |= {"memory.max": str(limits.memory_max), "memory.oom.group": "1"}
    if limits.pids_max is not None and "pids" in controllers:
        files["pids.max"] = str(limits.pids_max)
    if limits.cpu_max is not None and "cpu" in controllers:
        quota_us = max(_LEAST_QUOTA_US, round(limits.cpu_max * _PERIOD_US))
        files["cpu.max"] = f"{quota_us} {_PERIOD_US}"
    return files


def enter(cgroup: Cgroup, pid: int = 0) -> None:
    """Make the leaf and put a process there; 0 is the calling one.  Raises OSError."""
    directory = Path(cgroup.directory)
    directory.mkdir(exist_ok=True)
    for name, text in cgroup.files.items():
        _write(directory / name, text)
    _write(directory / "cgroup.procs", str(pid))


def kill(directory: str) -> None:
    """SIGKILL to all that are in it, if the kernel can (Linux 5.14)."""
    with contextlib.suppress(OSError):
        _write(Path(directory) / "cgroup.kill", "1")


def remove(directory: str) -> bool:
    """Remove it; False if it is not empty yet, or not there."""
    try:
        os.rmdir(directory)
    except OSError:
        return False
    return True


def oom_kills(directory: str) -> int | None:
    """How many of its processes the kernel has killed for want of memory (memory.events).

    None if it does not count that.
    """
    return _event(Path(directory) / "memory.events", "oom_kill")


def _event(file: Path, name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return None


def _procs(directory: Path) -> list[int]:
    return [int(word) for word in (directory / "cgroup.procs").read_text().split()]


def _write(file: Path, text: str) -> None:
    """In one write(2), as the kernel wants it."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
