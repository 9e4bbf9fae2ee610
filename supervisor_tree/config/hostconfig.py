"""What a configuration says, once it has been read: frozen, plain, free of YAML."""

from __future__ import annotations

from dataclasses import dataclass, field

from supervisor_tree.core.specs import Logs, SupervisorSpec
from supervisor_tree.errors import ConfigProblem

__all__ = ["Config", "HostConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """The `host:` part.  All paths are absolute; None means that the file leaves it open.

    `preload` names modules for the spawner to import, `http` is `HOST:PORT`, `env_file`
    is read at every start of every child, `file` is where all this was read.
    """

    name: str = "supervisor-tree"
    run_dir: str | None = None
    state_dir: str | None = None
    log_dir: str | None = None
    preload: tuple[str, ...] = ()
    http: str | None = None
    logs: Logs = field(default_factory=Logs)
    env_file: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration: the host, its tree, and what had to be left out of it.

    `problems` are those of included files that were left out; `sources` are the files read,
    the main one first, the broken ones too.
    """

    host: HostConfig
    tree: SupervisorSpec
    problems: tuple[ConfigProblem, ...] = ()
    sources: tuple[str, ...] = ()
