"""What a host is told besides its tree, and the directories it needs for that."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, field
from pathlib import Path

from supervisor_tree.core.hosts import Links
from supervisor_tree.core.origin import Origin, TreeSource
from supervisor_tree.core.policy import PolicyRule
from supervisor_tree.core.specs import Logs
from supervisor_tree.errors import ConfigError, ConfigProblem

__all__ = [
    "DESCRIPTORS_PER_CHILD",
    "FEWEST_DESCRIPTORS",
    "NOFILE_KEY",
    "SHARED_MODE",
    "HostSettings",
    "check_file_size_limit",
    "prepare_directories",
    "provide_temporary_directory",
    "raise_descriptor_limit",
    "unusable",
]

SHARED_MODE = 0o711  # of the run directory, where children of other users reach a socket in it

NOFILE_KEY = "SUPERVISOR_TREE_NOFILE"  # soft:hard, from root to spawner alone

FEWEST_DESCRIPTORS = 64  # of an empty host with its spawner and logger, and some clients
DESCRIPTORS_PER_CHILD = 4  # two output pipes here, a pidfd and a lease in the spawner

_SMALLEST_LIMIT = 64 * 1024  # bytes in a file: the bus's table, and memory shared with the logger
_SOCKET_PATH_LIMIT = 107  # bytes, unix(7)
_TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp")
_CHOOSE = "choose one that is writable by --run-dir, host.state_dir or host.log_dir"
_LONGEST_SOCKET = "control.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What a host must know besides its tree.

    `sys_path` is searched for agents before the interpreter's own path.  `lifeline` is a
    descriptor whose end of file stops the host (an embedding program's own life).
    `console`: events go to standard output; `json`: as lines of JSON, and nothing else there.
    `origin` is what the tree was made of.
    `safe_mode`: come up with all children parked after several lives that were cut off.
    `stop_limit`: seconds after which a stop becomes one by force; None: without limit.
    `leftovers`: `kill` or `leave` what a former life of the host has left running.
    """

    name: str
    run_dir: Path
    state_dir: Path
    log_dir: Path
    preload: tuple[str, ...] = ()
    logs: Logs = field(default_factory=Logs)
    config: str | None = None
    sys_path: tuple[str, ...] = ()
    console: bool = False
    json: bool = False
    lifeline: int = -1
    policy: tuple[PolicyRule, ...] = ()
    links: Links | None = None
    origin: Origin = field(default_factory=Origin)
    source: TreeSource | None = None
    safe_mode: bool = True
    stop_limit: float | None = None
    leftovers: str = "kill"

    def lock_facts(self, instance: str) -> dict[str, str | None]:
        """What stands in the lock for others to read, also after this host has ended."""
        return {
            "name": self.name,
            "instance": instance,
            "config": self.config,
            "state_dir": str(self.state_dir),
            "log_dir": str(self.log_dir),
        }


def prepare_directories(settings: HostSettings, *, shared: bool) -> int:
    """Make what is missing; returns the run directory's mode.

    Raises ConfigError naming the directory, or the key for other hosts, that cannot be used.

    `shared`: children of other users must reach the notify socket in the run directory.
    """
    for directory in (settings.run_dir, settings.state_dir, settings.log_dir):
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(13, "not writable")
        except OSError as error:
            raise unusable(directory, f"{error.strerror or error}; {_CHOOSE}") from None
    if settings.links is not None:
        _check_key(settings.links)
    size = len(os.fsencode(settings.run_dir / _LONGEST_SOCKET))
    if size > _SOCKET_PATH_LIMIT:
        raise unusable(
            settings.run_dir,
            f"too long for a socket ({size} bytes with the socket's name, "
            f"{_SOCKET_PATH_LIMIT} are allowed); choose a shorter one with --run-dir",
        )
    mode = SHARED_MODE if shared else 0o700
    os.chmod(settings.run_dir, mode)
    return mode


def provide_temporary_directory(settings: HostSettings) -> None:
    """Have TMPDIR name one below the run directory, if none of the usual can be written to.

    Where all else is read-only, tempfile finds none beside it: modules fail at their import.
    Raises ConfigError as `prepare_directories` does.
    """
    named = [os.environ[key] for key in ("TMPDIR", "TEMP", "TMP") if os.environ.get(key)]
    if any(os.access(place, os.W_OK | os.X_OK) for place in (*named, *_TEMPORARY)):
        return
    prepare_directories(settings, shared=False)
    place = settings.run_dir / "tmp"
    place.mkdir(exist_ok=True)
    os.chmod(place, 0o1777)  # children may be other users
    os.environ["TMPDIR"] = str(place)


def check_file_size_limit(size: int = 0) -> None:
    """Raises ConfigError if this process may have no file of `size` bytes, or as a host needs.

    Memory files count too, so that not even our own processes could be told what to do.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    needed = max(size, _SMALLEST_LIMIT)
    if soft != resource.RLIM_INFINITY and soft < needed:
        why = (
            f"files may have {soft} bytes, a host needs {needed}; raise LimitFSIZE= or `ulimit -f`"
        )
        raise ConfigError([ConfigProblem("limits", 0, 0, "fsize", why)])


def raise_descriptor_limit() -> None:
    """Take all descriptors one may have: two pipes a child are more than the usual 1,024.

    Children get back what we were started with; the spawner reads it from its environment.
    Raises ConfigError for fewer than an empty host needs: libzmq would abort in the middle.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < FEWEST_DESCRIPTORS:
        why = (
            f"only {hard} file descriptors are allowed, a host needs {FEWEST_DESCRIPTORS} and "
            "four for each child; raise LimitNOFILE= or the hard limit of `ulimit -n`"
        )
        raise ConfigError([ConfigProblem("limits", 0, 0, "nofile", why)])
    os.environ.setdefault(NOFILE_KEY, f"{soft}:{hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _check_key(links: Links) -> None:
    from supervisor_tree.bus.keys import read_secret_key  # noqa: PLC0415 - few hosts have one

    try:
        read_secret_key(Path(links.key))
    except OSError as error:
        why = f"cannot read this host's key: {error.strerror}; `supervisor-tree keys` makes one"
    except ValueError as error:
        why = f"cannot use this host's key: {error}"
    else:
        return
    raise ConfigError([ConfigProblem(links.key, 0, 0, "", why)])


def unusable(directory: Path, why: str) -> ConfigError:
    """The error of a directory that a host cannot do without."""
    problem = ConfigProblem(str(directory), 0, 0, "", f"cannot use this directory: {why}")
    return ConfigError([problem])
