"""The models of what stands under `host` in a configuration file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from supervisor_tree.config.fields import (
    ChildId,
    CurveKey,
    HttpUrl,
    Listen,
    ModuleName,
    PathPattern,
    PathText,
    Period,
    PositiveSize,
    SourceInterval,
    TcpAddress,
)
from supervisor_tree.config.parts import AclDocument, LogsDocument, Part

__all__ = [
    "BusDocument",
    "HostDocument",
    "HostLogsDocument",
    "HttpDocument",
    "PeerDocument",
    "PolicyDocument",
    "SourceDocument",
]


class HostLogsDocument(LogsDocument):
    """What holds for all log files, the host's own too, and the room they may take together."""

    total_bytes: PositiveSize | None = Field(default=None, description="all log files together")


class PolicyDocument(AclDocument):
    """A rule for all agents of a pattern; of several, the first that matches an agent is in force.

    What the agent's own `acl` says goes before it, key by key.
    """

    agents: PathPattern = Field(
        description="paths of those it is about; `/chat/*`, `/chat/>`, or `>` for all"
    )


class HttpDocument(Part):
    """The HTTP interface, which this version has not: it is read, warned of, and without effect."""

    listen: Listen = Field(description="HOST:PORT; without effect in this version")


class PeerDocument(Part):
    """Another host whose agents are on the bus with ours."""

    address: TcpAddress | None = Field(
        default=None, description="tcp://HOST:PORT where it listens; default: we only wait for it"
    )
    key: CurveKey | None = Field(
        default=None, description="its public key, as `supervisor-tree keys` prints it there"
    )
    may_call: list[PathPattern] | None = Field(
        default=None, description="paths of those here whom its agents may call; default: none"
    )
    may_cast: list[PathPattern] | None = Field(
        default=None, description="paths of those here to whom its agents may cast; default: none"
    )


class BusDocument(Part):
    """The bus between hosts: tcp with CURVE, never without."""

    listen: TcpAddress | None = Field(
        default=None, description="tcp://HOST:PORT for peers to connect to; default: none may"
    )
    key: PathText | None = Field(
        default=None, description="file of this host's secret key, made by `supervisor-tree keys`"
    )
    peers: dict[ChildId, PeerDocument] | None = Field(
        default=None,
        description="other hosts, by the names that their agents' paths begin with here",
    )


class SourceDocument(Part):
    """A tree that is kept at a URL, as a document with `version`, `tree` and `defaults`."""

    url: HttpUrl = Field(description="http:// or https://; whoever writes there runs code here")
    interval: SourceInterval | None = Field(
        default=None, description="time between two looks; default 30s"
    )


class HostDocument(Part):
    """The host itself."""

    name: ChildId | None = Field(default=None, description="default: the file's name without .yaml")
    run_dir: PathText | None = Field(
        default=None, description="sockets and lock; default: see Directories"
    )
    state_dir: PathText | None = Field(default=None, description="default: see Directories")
    log_dir: PathText | None = Field(
        default=None, description="default: logs in the state directory"
    )
    preload: list[ModuleName] | None = Field(
        default=None, description="modules that are imported once and shared by all agents"
    )
    http: HttpDocument | None = None
    logs: HostLogsDocument | None = None
    env_file: PathText | None = Field(
        default=None, description="file of KEY=VALUE lines for all children"
    )
    stop_limit: Period | None = Field(
        default=None, description="a stop that takes longer becomes one by force; default: none"
    )
    leftovers: Literal["kill", "leave"] | None = Field(
        default=None,
        description="what to do with processes that a former life of the host has left behind: "
        "kill, the default; leave: tell of them, and start their children all the same",
    )
    source: SourceDocument | None = Field(
        default=None, description="where the tree comes from, instead of `tree` and `include` here"
    )
    bus: BusDocument | None = Field(default=None, description="ways to other hosts; default: none")
    policy: list[PolicyDocument] | None = Field(
        default=None, description="who may do what on the bus; default: everybody everything"
    )
