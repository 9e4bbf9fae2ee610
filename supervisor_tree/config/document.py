"""The vocabulary of a configuration file, as pydantic models.

The models say which keys there are and what each value must be.  They hold no defaults:
None is "not given", and the core's specifications say what that means.  Nested children
and supervisors are declared (JSON Schema needs them) but not validated here: `build` walks
the tree and validates node by node, so that one broken child hides nothing of the others.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SkipValidation

from supervisor_tree.config.fields import (
    AgentTarget,
    ChildId,
    ChildPath,
    Duration,
    EnvKey,
    EnvValue,
    Flag,
    Listen,
    ModuleName,
    OsAccount,
    PathText,
    Period,
    PositiveSize,
    ShutdownTime,
    SignalName,
    Size,
    StartTimeout,
    Text,
    Umask,
    Word,
    ratio,
    whole_number,
    words,
)
from supervisor_tree.config.source import Reading
from supervisor_tree.core.specs import (
    AutoShutdown,
    Condition,
    OnLimit,
    Readiness,
    Restart,
    StartMode,
    Strategy,
)

__all__ = [
    "READINGS",
    "BackoffDocument",
    "ChildDocument",
    "DefaultsDocument",
    "Document",
    "HostDocument",
    "HostLogsDocument",
    "HttpDocument",
    "IncludedDocument",
    "LimitsDocument",
    "LogsDocument",
    "NeedDocument",
    "Part",
    "SupervisorDocument",
    "TemplateDocument",
    "schema",
]

# Scalars under these keys are text as written, whatever they look like.
READINGS = {
    "args": Reading.FREE,
    "capabilities": Reading.TEXT,
    "command": Reading.TEXT,
    "description": Reading.TEXT,
    "env": Reading.TEXT,
    "group": Reading.TEXT,
    "id": Reading.TEXT,
    "name": Reading.TEXT,
    "needs": Reading.TEXT,
    "umask": Reading.TEXT,
    "user": Reading.TEXT,
}


def _need(value: Any) -> Any:
    return {"child": value} if isinstance(value, str) else value


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
    """Limits of a child's processes, see setrlimit(2), nice(2) and proc(5)."""

    nofile: Annotated[int, whole_number(8)] | None = Field(default=None, description="open files")
    address_space: PositiveSize | None = Field(
        default=None, alias="as", description="address space"
    )
    core: Size | None = Field(default=None, description="size of a core dump")
    nproc: Annotated[int, whole_number(1)] | None = Field(
        default=None, description="processes and threads of the child's user"
    )
    nice: Annotated[int, whole_number(-20, 19)] | None = Field(default=None, description="niceness")
    oom_score_adj: Annotated[int, whole_number(-1000, 1000)] | None = Field(
        default=None, description="how readily the kernel kills it when memory runs out"
    )


class LogsDocument(Part):
    """Rotation of a child's log file."""

    rotation: PositiveSize | None = Field(
        default=None, description="size at which a new file begins"
    )
    retention: Annotated[int, whole_number(0, 100_000)] | None = Field(
        default=None, description="number of old files that are kept"
    )


class HostLogsDocument(LogsDocument):
    """Rotation of all log files, and the room they may take together."""

    total_bytes: PositiveSize | None = Field(default=None, description="all log files together")


class NeedDocument(Part):
    """Another child that must be started, ready or completed first."""

    child: Text = Field(description="id of a sibling, or path of any child")
    condition: Condition | None = Field(
        default=None, description="what is waited for; default ready"
    )


class DefaultsDocument(Part):
    """What children do not say themselves.  Mappings are merged, everything else is replaced."""

    restart: Restart | None = Field(default=None, description="when a child is restarted")
    shutdown: ShutdownTime | None = Field(
        default=None,
        description="time to stop, brutal_kill, or infinity; default 5s, of a supervisor infinity",
    )
    readiness: Readiness | None = Field(
        default=None,
        description="notify: it sends READY=1, the default of agents; none: it is ready when it "
        "runs, the default of programs and robots",
    )
    start_timeout: StartTimeout | None = Field(
        default=None, description="time until ready, or infinity; default 60s"
    )
    backoff: BackoffDocument | None = Field(
        default=None, description="delays between restarts; default: none, it is restarted at once"
    )
    on_limit: OnLimit | None = Field(
        default=None, description="escalate: the supervisor gives up; park: the child alone does"
    )
    env: dict[EnvKey, EnvValue] | None = Field(default=None, description="environment")
    env_file: PathText | None = Field(default=None, description="file of KEY=VALUE lines")
    cwd: PathText | None = Field(default=None, description="working directory")
    user: OsAccount | None = Field(default=None, description="user to run as")
    group: OsAccount | None = Field(default=None, description="group to run as")
    umask: Umask | None = Field(default=None, description="octal, such as 022")
    limits: LimitsDocument | None = None
    logs: LogsDocument | None = None
    stop_signal: SignalName | None = Field(default=None, description="default SIGTERM")
    warm: Annotated[int, whole_number(0, 1000)] | None = Field(
        default=None, description="spare processes of an agent that are kept forked ahead"
    )


class ChildDocument(DefaultsDocument):
    """One child: exactly one of agent, command and supervisor says what is started."""

    id: ChildId = Field(description="name, unique among its siblings")
    agent: AgentTarget | None = Field(
        default=None, description="module:name of a class or callable"
    )
    command: Annotated[list[Word], words('such as [python3, -m, http.server, "8000"]')] | None = (
        Field(default=None, description="program and arguments")
    )
    supervisor: SkipValidation[SupervisorDocument] | None = Field(
        default=None, description="nested"
    )
    enabled: Flag | None = Field(default=None, description="false: it is not started; default true")
    type: Literal["agent", "robot"] | None = Field(
        default=None, description="robot: a plain loop without a mailbox"
    )
    args: dict[str, Any] | None = Field(default=None, description="keyword arguments of the agent")
    significant: Flag | None = Field(default=None, description="its end may end its supervisor")
    needs: (
        list[
            Annotated[
                NeedDocument,
                BeforeValidator(_need, json_schema_input_type=Text | NeedDocument),
            ]
        ]
        | None
    ) = Field(default=None, description="children that must be there first")
    description: Text | None = None
    capabilities: list[Text] | None = None


class TemplateDocument(ChildDocument):
    """The one specification of a simple_one_for_one supervisor; its id is of no consequence."""

    id: ChildId = "child"


class IncludedDocument(ChildDocument):
    """A file of its own that holds one child."""

    under: ChildPath | None = Field(default=None, description="path of its supervisor; default /")


class SupervisorDocument(Part):
    """A supervisor's flags and children."""

    strategy: Strategy | None = Field(
        default=None, description="who is restarted when one child ends"
    )
    intensity: Annotated[int, whole_number(0, 1_000_000)] | None = Field(
        default=None, description="restarts allowed within the period; default 3"
    )
    period: Period | None = Field(default=None, description="default 5s")
    auto_shutdown: AutoShutdown | None = Field(
        default=None, description="when the end of significant children ends the supervisor"
    )
    start: StartMode | None = Field(
        default=None, description="default concurrent for one_for_one and simple_one_for_one"
    )
    children: list[SkipValidation[ChildDocument]] | None = Field(
        default=None, description="in order"
    )
    child: SkipValidation[TemplateDocument] | None = Field(
        default=None, description="the template of a simple_one_for_one supervisor"
    )


class HttpDocument(Part):
    """The HTTP interface."""

    listen: Listen = Field(description="HOST:PORT")


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


class Document(Part):
    """A configuration file."""

    version: Literal[1] = Field(description="of this vocabulary")
    host: SkipValidation[HostDocument] | None = None
    defaults: SkipValidation[DefaultsDocument] | None = None
    tree: SkipValidation[SupervisorDocument] | None = None
    include: list[PathText] | None = Field(
        default=None, description="patterns of files with one child each, relative to this file"
    )


for _model in (ChildDocument, TemplateDocument, IncludedDocument, SupervisorDocument, Document):
    _model.model_rebuild()


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a configuration file.

    `$defs/IncludedDocument` is that of an included file.
    """
    main = Document.model_json_schema()
    included = IncludedDocument.model_json_schema()
    main["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    main["title"] = "supervisor_tree configuration"
    definitions = main["$defs"] | included.pop("$defs")
    main["$defs"] = definitions | {"IncludedDocument": included}
    return main
