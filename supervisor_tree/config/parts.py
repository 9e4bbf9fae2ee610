"""The smaller models of a configuration file, which children and the host are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from supervisor_tree.config.fields import (
    Duration,
    Flag,
    ListenAddress,
    PathPattern,
    PathText,
    Period,
    PositiveSize,
    RedactPatterns,
    RegularExpression,
    SignalName,
    Size,
    SocketName,
    TcpTarget,
    Text,
    TimeLimit,
    TopicPattern,
    Umask,
    Word,
    ratio,
    whole_number,
    words,
)
from supervisor_tree.core.specs import Condition, OnFull

__all__ = [
    "AclDocument",
    "BackoffDocument",
    "BuildDocument",
    "LimitsDocument",
    "LogsDocument",
    "MailboxDocument",
    "NeedDocument",
    "Part",
    "ReadyDocument",
    "ReloadDocument",
    "SocketDocument",
    "WatchdogDocument",
]


class Part(BaseModel):
    """Unknown keys are errors; aliases are the words of the file where Python reserves them."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class BackoffDocument(Part):
    """Delay before a restart: initial * factor**n, at most max, plus jitter."""

    initial: Duration | None = Field(default=None, description="delay before the first restart")
    factor: Annotated[float, ratio(1, 1000)] | None = Field(
        default=None, description="what each further delay is multiplied by"
    )
    max: Duration | None = Field(default=None, description="longest delay")
    jitter: Annotated[float, ratio(0, 1)] | None = Field(
        default=None, description="share of the delay that is added at random at most"
    )
    reset_after: Duration | None = Field(
        default=None, description="a life that lasts this long puts the delay back to initial"
    )


class LimitsDocument(Part):
    """Limits of a child's processes, see setrlimit(2), nice(2), proc(5) and cgroups(7)."""

    nofile: Annotated[int, whole_number(8)] | None = Field(default=None, description="open files")
    address_space: PositiveSize | None = Field(
        default=None, alias="as", description="address space"
    )
    core: Size | None = Field(default=None, description="size of a core dump")
    nproc: Annotated[int, whole_number(1)] | None = Field(
        default=None, description="processes and threads of the child's user"
    )
    memory_max: PositiveSize | None = Field(
        default=None,
        description="memory of all its processes together; what takes more is killed and restarted",
    )
    pids_max: Annotated[int, whole_number(1)] | None = Field(
        default=None, description="all its processes and threads together; needs a cgroup"
    )
    cpu_max: Annotated[float, ratio(0.01, 10_000)] | None = Field(
        default=None,
        description="cores for all its processes together, 0.5 is half of one; needs a cgroup",
    )
    nice: Annotated[int, whole_number(-20, 19)] | None = Field(default=None, description="niceness")
    oom_score_adj: Annotated[int, whole_number(-1000, 1000)] | None = Field(
        default=None, description="how readily the kernel kills it when memory runs out"
    )


class LogsDocument(Part):
    """A child's log file: when a new one begins, and which old ones are kept."""

    rotation: PositiveSize | None = Field(
        default=None, description="size at which a new file begins"
    )
    retention: Annotated[int, whole_number(0, 100_000)] | None = Field(
        default=None, description="number of old files that are kept"
    )
    max_age: TimeLimit | None = Field(
        default=None,
        description="a file whose last line is so old is deleted, and a new one begins at half "
        "that age; or infinity",
    )
    redact: RedactPatterns | None = Field(
        default=None,
        description="regular expressions of what is shown as [redacted], in addition to those of "
        "host.logs; the word default stands for the shapes of well-known tokens; default: none",
    )


class BuildDocument(Part):
    """A command that makes what a child runs, for the verb `build`."""

    command: Annotated[list[Word], words("such as [make, all]")] = Field(
        description="program and arguments"
    )
    cwd: PathText | None = Field(default=None, description="default: that of the child")
    timeout: TimeLimit | None = Field(
        default=None, description="time after which it is ended, or infinity"
    )


class AclDocument(Part):
    """What an agent may do on the bus.

    `*` stands for one word of a path or topic, `>` for the rest.  What is not
    said is allowed; an empty list allows nothing.
    """

    may_call: list[PathPattern] | None = Field(
        default=None, description="paths of those it may call; default: that of host.policy, or all"
    )
    may_cast: list[PathPattern] | None = Field(
        default=None, description="paths of those it may cast to; default as above"
    )
    may_publish: list[TopicPattern] | None = Field(
        default=None, description="topics on which it may publish; default as above"
    )
    may_subscribe: list[TopicPattern] | None = Field(
        default=None, description="topics to which it may subscribe; default as above"
    )


class MailboxDocument(Part):
    """What may wait for an agent that takes messages."""

    limit: Annotated[int, whole_number(1)] | None = Field(
        default=None, description="messages that may wait; default 10000"
    )
    on_full: OnFull | None = Field(
        default=None,
        description="reject: casts wait with their senders and calls fail, the default; "
        "drop_oldest: what has waited longest is dropped and counted",
    )


class SocketDocument(Part):
    """A socket that the host opens for a child and keeps while it is restarted."""

    name: SocketName = Field(description="by which the child finds it, in LISTEN_FDNAMES")
    listen: ListenAddress = Field(
        description="tcp://ADDRESS:PORT, unix:///PATH, or fd:NAME of one that the host was given"
    )
    backlog: Annotated[int, whole_number(1, 65535)] | None = Field(
        default=None, description="connections that may wait to be accepted; default 4096"
    )
    mode: Umask | None = Field(
        default=None, description="permissions of a Unix socket's file, octal; default 600"
    )


class ReloadDocument(Part):
    """What a child depends on beside this file; `plan` and `apply` look at it."""

    files: list[PathText] | None = Field(
        default=None, description="files whose changed content is a reason to reload the child"
    )
    signal: SignalName | None = Field(
        default=None, description="sent for a changed file; default: the child is started anew"
    )
    executable: Flag | None = Field(
        default=None, description="true: a changed executable is a reason to start it anew"
    )


class NeedDocument(Part):
    """Another child that must be started, ready or completed first."""

    child: Text = Field(description="id of a sibling, or path of any child")
    condition: Condition | None = Field(
        default=None, description="what is waited for; default ready"
    )


class ReadyDocument(Part):
    """What shows that a child is ready, besides its own word.

    All that is named must hold, and `READY=1` too where `readiness` is notify. What is null, or a
    delay of 0s, asks for nothing. A child that does not get so far within its `start_timeout` has
    failed to start.
    """

    tcp: TcpTarget | None = Field(
        default=None,
        description="a port of this machine, or HOST:PORT with an address or localhost, "
        "that takes connections",
    )
    log: RegularExpression | None = Field(
        default=None, description="regular expression that a line of its output matches somewhere"
    )
    delay: Duration | None = Field(
        default=None, description="time for which its process must exist; default 0s"
    )


class WatchdogDocument(Part):
    """How long a child that is ready may give no sign of life before its scope is ended.

    An agent gives them by itself: a blocked loop, or a robot that does not look at `ctx.stopping`,
    is silent. A program sends `WATCHDOG=1`.
    """

    idle: Period | None = Field(
        default=None, description="longest time between two signs of life; default: any"
    )
    busy: Period | None = Field(
        default=None,
        description="the same within `ctx.busy(...)`, where only word of the work itself counts; "
        "default: `idle` holds there too",
    )
