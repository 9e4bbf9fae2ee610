"""What a configuration says, once it has been read: frozen, plain, free of YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from supervisor_tree.core.hosts import Links
from supervisor_tree.core.origin import LeftOut, TreeSource
from supervisor_tree.core.policy import PolicyRule
from supervisor_tree.core.specs import Logs, SupervisorSpec
from supervisor_tree.errors import ConfigProblem

__all__ = ["ChildPlace", "Config", "HostConfig"]


class ChildPlace(NamedTuple):
    """Where a child was read: `path` leads to it within the data of `file`."""

    file: str
    path: tuple[str | int, ...]
    enabled: bool


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
    policy: tuple[PolicyRule, ...] = ()
    links: Links | None = None
    stop_limit: float | None = None
    leftovers: str = "kill"
    source: TreeSource | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration: the host, its tree, and what had to be left out of it.

    `problems` are those of included files that were left out; `sources` are the files read,
    the main one first, the broken ones too, and `patterns` are those by which they were found.
    `places` has every child of `tree` by its path, and templates by that of their supervisor and
    `/*`; `included` the path of the child that each included file has brought, and `left_out`
    the other included files, with what is wrong with them; `fetched` is the
    document that `host.source` has given; `warnings` tell of what is right and without effect.
    """

    host: HostConfig
    tree: SupervisorSpec
    problems: tuple[ConfigProblem, ...] = ()
    sources: tuple[str, ...] = ()
    places: Mapping[str, ChildPlace] = field(default_factory=dict)
    patterns: tuple[str, ...] = ()
    included: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    fetched: str | None = None
    warnings: tuple[ConfigProblem, ...] = ()
