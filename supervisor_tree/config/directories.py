"""Where a host keeps its sockets, its state and its logs.

Every verb of the command line asks this before anything else, so nothing heavy is imported
here.  The order is the same everywhere: flag, environment, file, default.  The defaults
are systemd's (systemd.exec(5): RuntimeDirectory=, StateDirectory= and LogsDirectory=), then
those of the XDG Base Directory Specification.  Nothing is created here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from supervisor_tree.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from supervisor_tree.config.hostconfig import HostConfig

__all__ = [
    "LONGEST_SOCKET_PATH",
    "RUN_DIR_VARIABLE",
    "fetched_tree",
    "resolve_dirs",
    "resolve_run_dir",
]

RUN_DIR_VARIABLE = "SUPERVISOR_TREE_RUN_DIR"
LONGEST_SOCKET_PATH = 107  # bytes; sun_path has 108 and the last one is NUL, see unix(7)

_LONGEST_SOCKET = "control.sock"
_SYSTEM_RUN_DIR = "/run"
_OURS = "supervisor-tree"


def resolve_run_dir(
    flag: str | None, from_file: str | None, environ: Mapping[str, str] | None = None
) -> str:
    """The run directory as an absolute path.

    Raises ConfigError (exit code 78) if a socket in it could not be bound.
    """
    environ = os.environ if environ is None else environ
    if flag:
        run_dir, origin = flag, "--run-dir"
    elif environ.get(RUN_DIR_VARIABLE):
        run_dir, origin = environ[RUN_DIR_VARIABLE], RUN_DIR_VARIABLE
    elif from_file:
        run_dir, origin = from_file, "host.run_dir"
    else:
        run_dir, origin = _default_run_dir(environ), "the default run directory"
    run_dir = os.path.abspath(os.path.expanduser(run_dir))
    _check_socket_path(run_dir, origin)
    return run_dir


def resolve_dirs(
    host: HostConfig, flag_run_dir: str | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, str, str]:
    """(run_dir, state_dir, log_dir) of a host, absolute.  Raises as `resolve_run_dir` does."""
    environ = os.environ if environ is None else environ
    run_dir = resolve_run_dir(flag_run_dir, host.run_dir, environ)
    state_dir = host.state_dir or _default_state_dir(host.name, environ, run_dir)
    state_dir = os.path.abspath(os.path.expanduser(state_dir))
    log_dir = host.log_dir or _first(environ.get("LOGS_DIRECTORY"))
    log_dir = log_dir or os.path.join(state_dir, "logs")
    return run_dir, state_dir, os.path.abspath(os.path.expanduser(log_dir))


def fetched_tree(state_dir: str) -> str:
    """The last good document that `host.source` has given."""
    return os.path.join(state_dir, "source", "tree.yaml")


def _default_run_dir(environ: Mapping[str, str]) -> str:
    if given := _first(environ.get("RUNTIME_DIRECTORY")):
        return given
    if runtime := _absolute(environ.get("XDG_RUNTIME_DIR")):
        return os.path.join(runtime, _OURS)
    if os.geteuid() == 0 and os.access(_SYSTEM_RUN_DIR, os.W_OK):
        return os.path.join(_SYSTEM_RUN_DIR, _OURS)
    return os.path.join(_user_state(environ), "run")


def _default_state_dir(name: str, environ: Mapping[str, str], run_dir: str) -> str:
    """Below the run directory if nothing else can be written to, as in many a container."""
    if given := _first(environ.get("STATE_DIRECTORY")):
        return given
    state_dir = os.path.join(_user_state(environ), name)
    if not _can_be_made(state_dir) and _can_be_made(run_dir):
        return os.path.join(run_dir, "state")
    return state_dir


def _can_be_made(directory: str) -> bool:
    """Whether it, or else what is there of its path, can be written to."""
    while not os.path.exists(directory) and directory != os.path.dirname(directory):
        directory = os.path.dirname(directory)
    return os.access(directory, os.W_OK | os.X_OK)


def _user_state(environ: Mapping[str, str]) -> str:
    state_home = _absolute(environ.get("XDG_STATE_HOME"))
    if state_home is None:
        home = environ.get("HOME") or os.path.expanduser("~")
        state_home = os.path.join(home, ".local", "state")
    return os.path.join(state_home, _OURS)


def _first(directories: str | None) -> str | None:
    """systemd joins several directories by colons."""
    return directories.split(":")[0] or None if directories else None


def _absolute(directory: str | None) -> str | None:
    """The XDG specification has relative paths ignored."""
    return directory if directory and os.path.isabs(directory) else None


def _check_socket_path(run_dir: str, origin: str) -> None:
    longest = LONGEST_SOCKET_PATH - len(_LONGEST_SOCKET) - 1
    length = len(os.fsencode(run_dir))
    if length > longest:
        message = (
            f"the run directory is too long for a socket in it: {length} bytes, at most {longest} "
            f"fit, because Unix allows {LONGEST_SOCKET_PATH} bytes for a socket's whole path; "
            f"choose a shorter one (from {origin}: {run_dir})"
        )
        raise ConfigError([ConfigProblem("", 0, 0, "", message)])
