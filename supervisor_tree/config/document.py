"""The vocabulary of a configuration file, as pydantic models.

The models say which keys there are and what each value must be.  They hold no defaults:
None is "not given", and the core's specifications say what that means.  Nested children
and supervisors are declared (JSON Schema needs them) but not validated here: `build` walks
the tree and validates node by node, so that one broken child hides nothing of the others.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SkipValidation

from supervisor_tree.config.fields import (
    AgentTarget,
    ChildId,
    ChildPath,
    EnvKey,
    EnvValue,
    Flag,
    OsAccount,
    PathPattern,
    PathText,
    Period,
    ShutdownTime,
    SignalName,
    Text,
    TimeLimit,
    Umask,
    Word,
    whole_number,
    words,
)
from supervisor_tree.config.hostdocument import HostDocument
from supervisor_tree.config.parts import (
    AclDocument,
    BackoffDocument,
    BuildDocument,
    LimitsDocument,
    LogsDocument,
    MailboxDocument,
    NeedDocument,
    Part,
    ReadyDocument,
    ReloadDocument,
    SocketDocument,
    WatchdogDocument,
)
from supervisor_tree.config.source import Reading
from supervisor_tree.core.specs import (
    AutoShutdown,
    OnLimit,
    Readiness,
    Restart,
    StartMode,
    Strategy,
)

__all__ = [
    "READINGS",
    "ChildDocument",
    "DefaultsDocument",
    "Document",
    "FetchedDocument",
    "IncludedDocument",
    "SupervisorDocument",
    "TemplateDocument",
    "schema",
]

# Scalars under these keys are text as written, whatever they look like.
READINGS = {
    "agents": Reading.TEXT,
    "args": Reading.FREE,
    "capabilities": Reading.TEXT,
    "command": Reading.TEXT,
    "description": Reading.TEXT,
    "env": Reading.TEXT,
    "group": Reading.TEXT,
    "id": Reading.TEXT,
    "intercepts": Reading.TEXT,
    "key": Reading.TEXT,
    "may_call": Reading.TEXT,
    "may_cast": Reading.TEXT,
    "may_publish": Reading.TEXT,
    "may_subscribe": Reading.TEXT,
    "mode": Reading.TEXT,
    "name": Reading.TEXT,
    "needs": Reading.TEXT,
    "redact": Reading.TEXT,
    "umask": Reading.TEXT,
    "user": Reading.TEXT,
}


def _need(value: Any) -> Any:
    return {"child": value} if isinstance(value, str) else value


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
    start_timeout: TimeLimit | None = Field(
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
    no_new_privs: Flag | None = Field(
        default=None,
        description="true: what it executes gains no rights, as by set-user-id (prctl(2))",
    )
    limits: LimitsDocument | None = None
    logs: LogsDocument | None = None
    stop_signal: SignalName | None = Field(default=None, description="default SIGTERM")
    warm: Annotated[int, whole_number(0, 1000)] | None = Field(
        default=None, description="spare processes of an agent that are kept forked ahead"
    )
    watchdog: WatchdogDocument | None = Field(
        default=None, description="time without a sign of life; default: not watched"
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
    pid_file: PathText | None = Field(
        default=None, description="file that holds its process id while it has a process"
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
    ready: ReadyDocument | None = Field(
        default=None, description="what else shows that it is ready; default: nothing"
    )
    reload: ReloadDocument | None = Field(
        default=None, description="files that it reads, and how it is told that they have changed"
    )
    description: Text | None = None
    capabilities: list[Text] | None = None
    build: BuildDocument | None = Field(default=None, description="what the verb `build` runs")
    acl: AclDocument | None = Field(
        default=None, description="what it may do on the bus; default: what host.policy says"
    )
    mailbox: MailboxDocument | None = Field(
        default=None, description="what may wait for it; see there for the defaults"
    )
    sockets: list[SocketDocument] | None = Field(
        default=None, description="that the host opens for it and keeps while it is restarted"
    )
    intercepts: list[PathPattern] | None = Field(
        default=None, description="paths of those whose messages this agent is given first"
    )


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


class Document(Part):
    """A configuration file."""

    version: Literal[1] = Field(description="of this vocabulary")
    host: SkipValidation[HostDocument] | None = None
    defaults: SkipValidation[DefaultsDocument] | None = None
    tree: SkipValidation[SupervisorDocument] | None = None
    include: list[PathText] | None = Field(
        default=None, description="patterns of files with one child each, relative to this file"
    )


class FetchedDocument(Part):
    """What `host.source` gives: a tree, and nothing of the host that runs it."""

    version: Literal[1] = Field(description="of this vocabulary")
    defaults: SkipValidation[DefaultsDocument] | None = None
    tree: SkipValidation[SupervisorDocument] | None = None


for _model in (
    *(ChildDocument, TemplateDocument, IncludedDocument, SupervisorDocument),
    *(Document, FetchedDocument),
):
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
