"""What a host is told besides its tree, and the directories it needs for that."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, field
from pathlib import Path

from supervisor_tree.core.specs import Logs
from supervisor_tree.errors import ConfigError, ConfigProblem

__all__ = ["NOFILE_KEY", "HostSettings", "prepare_directories", "raise_descriptor_limit"]

NOFILE_KEY = "SUPERVISOR_TREE_NOFILE"  # soft:hard, from root to spawner alone

_SOCKET_PATH_LIMIT = 107  # bytes, unix(7)
_LONGEST_SOCKET = "control.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What a host must know besides its tree.

    `sys_path` is searched for agents before the interpreter's own path.  `lifeline` is a
    descriptor whose end of file stops the host (an embedding program's own life).
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
    lifeline: int = -1


def prepare_directories(settings: HostSettings, *, shared: bool) -> None:
    """Make what is missing.  Raises ConfigError naming the directory that cannot be used.

    `shared`: children of other users must reach the notify socket in the run directory.
    """
    for directory in (settings.run_dir, settings.state_dir, settings.log_dir):
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(13, "not writable")
        except OSError as error:
            raise _unusable(directory, error.strerror or str(error)) from None
    size = len(os.fsencode(settings.run_dir / _LONGEST_SOCKET))
    if size > _SOCKET_PATH_LIMIT:
        raise _unusable(
            settings.run_dir,
            f"too long for a socket ({size} bytes with the socket's name, "
            f"{_SOCKET_PATH_LIMIT} are allowed); choose a shorter one with --run-dir",
        )
    os.chmod(settings.run_dir, 0o711 if shared else 0o700)


def raise_descriptor_limit() -> None:
    """Take all descriptors one may have: two pipes a child are more than the usual 1,024.

    Children get back what we were started with; the spawner reads it from its environment.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.environ.setdefault(NOFILE_KEY, f"{soft}:{hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _unusable(directory: Path, why: str) -> ConfigError:
    problem = ConfigProblem(str(directory), 0, 0, "", f"cannot use this directory: {why}")
    return ConfigError([problem])
