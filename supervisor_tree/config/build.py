"""From documents to the core's specifications, and the checks that need more than one key.

The walk goes node by node: each child and each supervisor is validated by itself, problems
are noted, and the walk goes on, so that one run names everything that is wrong.  Rules
about combinations are OTP's (supervisor manual, `child_spec()` and `check_childspecs/2`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from supervisor_tree.config.document import (
    ChildDocument,
    DefaultsDocument,
    SupervisorDocument,
    TemplateDocument,
)
from supervisor_tree.config.messages import validate
from supervisor_tree.config.parts import AclDocument, BuildDocument, Part, ReloadDocument
from supervisor_tree.config.source import Path, Source
from supervisor_tree.config.units import format_duration
from supervisor_tree.core.listening import ListenSocket, clashes
from supervisor_tree.core.problems import DEEPEST, PID_FILE_OF_MANY
from supervisor_tree.core.specs import (
    Acl,
    AutoShutdown,
    Backoff,
    Build,
    ChildSpec,
    Limits,
    Logs,
    Mailbox,
    Need,
    OnFull,
    Ready,
    Reload,
    Restart,
    StartMode,
    Strategy,
    SupervisorSpec,
    Watchdog,
)

__all__ = [
    "Builder",
    "Place",
    "absolute",
    "acl_of",
    "check_beside",
    "child_path",
    "given",
    "logs_of",
]

KINDS = ("agent", "command", "supervisor")
GROUP_STRATEGIES = (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)

# What `defaults` may say to each kind.  A supervisor has no process of its own, and its
# time to stop is that of all below it (OTP: infinity).
_ALL_DEFAULTS = tuple(DefaultsDocument.model_fields)
_DEFAULTS_OF = {
    "agent": _ALL_DEFAULTS,
    "command": tuple(name for name in _ALL_DEFAULTS if name != "warm"),
    "supervisor": ("restart", "backoff", "on_limit"),
}

# Keys that make no sense for a kind, and why.
_MISPLACED = {
    "agent": {},
    "command": {
        "acl": "is for an agent; a program is not on the bus",
        "args": "is for an agent; the arguments of a program belong in command",
        "intercepts": "is for an agent; a program is not on the bus",
        "mailbox": "is for an agent; a program is not on the bus",
        "type": "is for an agent, and this is a program",
        "warm": "is for an agent; a program cannot be forked ahead",
    },
    "supervisor": dict.fromkeys(
        (
            *("acl", "args", "build", "capabilities", "cwd", "env", "env_file", "group"),
            *("intercepts", "limits", "logs", "mailbox", "no_new_privs", "pid_file", "readiness"),
            *("ready", "reload", "sockets", "start_timeout", "stop_signal", "type", "umask"),
            *("user", "warm", "watchdog"),
        ),
        "is for a process, and a supervisor has none; give it to its children, or in defaults",
    ),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a child of the tree was written."""

    source: Source
    path: Path
    parent: str
    spec: ChildSpec


@dataclass(slots=True)
class Builder:
    """Builds the children of one file.

    `directory` is what relative paths in the file are relative to; `concurrent` says that a
    supervisor which may start its children at once does so unless told otherwise.  `places`
    has what was built and `named` what has a name, broken or not, by the child's path.
    """

    directory: str
    logs: Logs = field(default_factory=Logs)
    concurrent: bool = True
    library: bool = False
    defaults: DefaultsDocument = field(default_factory=DefaultsDocument)
    places: dict[str, Place] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)

    def supervisor(self, data: Any, source: Source, path: Path, address: str) -> SupervisorSpec:
        """A supervisor and all below it; what is broken is noted and left out."""
        if path.count("supervisor") > DEEPEST:  # data of a program may even contain itself
            message = f"supervisors are nested deeper than {DEEPEST}"
            source.problems.append(source.problem(path[:8], message))
            return SupervisorSpec()
        document = validate(SupervisorDocument, data, source, path)
        # Where the flags are not known, no order is held against the children.
        spec, flags_known = SupervisorSpec(start=StartMode.CONCURRENT), document is not None
        if document is not None:
            spec = self._flags(document)
            _check_shape(document, spec, source, path)
        children = data.get("children") if isinstance(data, dict) else None
        seen: dict[str, Path] = {}
        built: list[ChildSpec] = []
        for index, child in enumerate(children if isinstance(children, list) else ()):
            where: Path = (*path, "children", index)
            taken = _is_taken(child, seen, source, where)
            made = self.child(child, source, where, address)
            if made is not None and not taken:
                built.append(made)
                check_beside(made, spec if flags_known else None, source, where)
        template = None
        if document is not None and document.child is not None:
            where = (*path, "child")
            template = self.child(document.child, source, where, address, model=TemplateDocument)
            if template is not None:
                check_beside(template, spec, source, where)
                if template.pid_file is not None:
                    source.problems.append(source.problem((*where, "pid_file"), PID_FILE_OF_MANY))
        return replace(spec, children=tuple(built), child=template)

    def child(
        self,
        data: Any,
        source: Source,
        path: Path,
        parent: str,
        *,
        model: type[ChildDocument] = ChildDocument,
    ) -> ChildSpec | None:
        """One child and all below it; None if it is broken."""
        problems = len(source.problems)
        document = validate(model, data, source, path, library=self.library)
        kinds = [kind for kind in KINDS if isinstance(data, dict) and data.get(kind) is not None]
        if isinstance(data, dict):
            _check_kind(data, kinds, source, path)
        name = str(data.get("id", "child")) if isinstance(data, dict) else "?"
        address = child_path(parent, name)
        if model is TemplateDocument:
            address = child_path(parent, "*")  # its children are not known yet
        else:
            self.named.add(address)
        nested = None
        if "supervisor" in kinds:
            nested = self.supervisor(data["supervisor"], source, (*path, "supervisor"), address)
        if document is None or len(kinds) != 1:
            return None
        spec = self._child_spec(document, kinds[0], nested)
        _check_backoff(spec, source, path)
        _check_interceptor(spec, source, path)
        _check_sockets(spec, source, path)
        self.places[address] = Place(source, path, parent, spec)
        return spec if len(source.problems) == problems else None

    def _flags(self, document: SupervisorDocument) -> SupervisorSpec:
        flags = given(document, "strategy", "intensity", "period", "auto_shutdown", "start")
        allowed = flags.get("strategy") not in GROUP_STRATEGIES
        if self.concurrent and allowed:
            flags.setdefault("start", StartMode.CONCURRENT)
        return SupervisorSpec(**flags)

    def _child_spec(
        self, document: ChildDocument, kind: str, nested: SupervisorSpec | None
    ) -> ChildSpec:
        said = given(
            document, "id", "agent", "args", "significant", "enabled", "type", "description"
        )
        said |= self._said_or_default(document, kind)
        if document.pid_file is not None:
            said["pid_file"] = absolute(document.pid_file, self.directory)
        if document.command is not None:
            said["command"] = tuple(document.command)
        if document.capabilities is not None:
            said["capabilities"] = tuple(document.capabilities)
        if document.needs is not None:
            said["needs"] = tuple(
                Need(child=need.child, **given(need, "condition")) for need in document.needs
            )
        if document.build is not None:
            said["build"] = self._build(document.build)
        if document.acl is not None:
            said["acl"] = acl_of(document.acl)
        if document.sockets is not None:
            said["sockets"] = tuple(
                ListenSocket(**given(each, "name", "listen", "backlog", "mode"))
                for each in document.sockets
            )
        if document.reload is not None:
            said["reload"] = self._reload(document.reload)
        if document.intercepts is not None:
            said["intercepts"] = tuple(document.intercepts)
        for name, kind_of_part in (("mailbox", Mailbox), ("ready", Ready)):
            part = getattr(document, name)
            if part is not None:
                said[name] = kind_of_part(**_given_settings(part))
        return ChildSpec(supervisor=nested, **said)

    def _reload(self, document: ReloadDocument) -> Reload:
        files = tuple(absolute(file, self.directory) for file in document.files or ())
        return Reload(files=files, **given(document, "signal", "executable"))

    def _build(self, document: BuildDocument) -> Build:
        said = given(document, "command", "cwd", "timeout")
        said["command"] = tuple(said["command"])
        if "cwd" in said:
            said["cwd"] = absolute(said["cwd"], self.directory)
        if said.get("timeout") == math.inf:
            said["timeout"] = None
        return Build(**said)

    def _said_or_default(self, document: ChildDocument, kind: str) -> dict[str, Any]:
        """What the child says itself, else what `defaults` say; null asks for neither."""
        said: dict[str, Any] = {}
        for name in DefaultsDocument.model_fields:
            own, common = getattr(document, name), None
            if name in _DEFAULTS_OF[kind]:
                common = getattr(self.defaults, name)
            if name not in document.model_fields_set:
                own = common
            elif isinstance(own, Part | dict) and common is not None:
                own = _settings(common) | _settings(own)
            if own is not None:
                said[name] = own
        for name, part in (("backoff", Backoff), ("limits", Limits), ("watchdog", Watchdog)):
            if name in said:
                said[name] = part(**_given_settings(said[name]))
        if "logs" in said:
            said["logs"] = logs_of(self.logs, _given_settings(said["logs"]))
        if said.get("start_timeout") == math.inf:
            said["start_timeout"] = None
        if said.get("shutdown") == math.inf:
            said["shutdown"] = "infinity"
        for name in ("cwd", "env_file"):
            if name in said:
                said[name] = absolute(said[name], self.directory)
        return said


def acl_of(document: AclDocument) -> Acl:
    """What the keys of an `acl` say."""
    said = given(document, "may_call", "may_cast", "may_publish", "may_subscribe")
    return Acl(**{key: tuple(patterns) for key, patterns in said.items()})


def logs_of(common: Logs, said: Mapping[str, Any]) -> Logs:
    """What the keys of `logs` say; what they do not is as in `common`."""
    if said.get("max_age") == math.inf:
        said = {**said, "max_age": None}
    if "redact" in said:
        said = {**said, "redact": tuple(said["redact"])}
    return replace(common, **said)


def absolute(path: str, directory: str) -> str:
    """`path` as written in a file of `directory`."""
    return os.path.abspath(os.path.join(directory, os.path.expanduser(path)))


def child_path(parent: str, child: str) -> str:
    """The path of a child of the supervisor `parent`."""
    return f"{parent.rstrip('/')}/{child}"


def given(part: Part, *names: str) -> dict[str, Any]:
    """Those of the named fields that the file gives."""
    return {name: value for name in names if (value := getattr(part, name)) is not None}


def check_beside(
    child: ChildSpec, supervisor: SupervisorSpec | None, source: Source, path: Path
) -> None:
    """OTP's `bad_combination`s.  `supervisor` is None if its own flags are not known."""
    if not child.significant:
        return
    message = ""
    if child.restart is Restart.PERMANENT:
        message = "must be false for a permanent child; or write restart: transient or temporary"
    elif supervisor is not None and supervisor.auto_shutdown is AutoShutdown.NEVER:
        message = (
            "must be false while auto_shutdown of its supervisor is never; "
            "or write auto_shutdown: any_significant or all_significant there"
        )
    if message:
        source.problems.append(source.problem((*path, "significant"), message))


def _settings(part: Part | dict[str, Any]) -> dict[str, Any]:
    """All that is written in a mapping, null too."""
    if isinstance(part, Part):
        return {name: getattr(part, name) for name in part.model_fields_set}
    return part


def _given_settings(part: Part | dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _settings(part).items() if value is not None}


def _is_taken(child: Any, seen: dict[str, Path], source: Source, path: Path) -> bool:
    if not isinstance(child, dict) or not isinstance(child.get("id"), str | int):
        return False
    name, where = str(child["id"]), (*path, "id")
    if name not in seen:
        seen[name] = where
        return False
    line = source.line(seen[name])
    first = f" in line {line}" if line else ""
    message = f"must be unique among its siblings, but '{name}' was already given{first}"
    source.problems.append(source.problem(where, message))
    return True


def _check_kind(data: Mapping[str, Any], kinds: list[str], source: Source, path: Path) -> None:
    if not kinds:
        message = "must have one of agent, command or supervisor"
        source.problems.append(source.problem(path, message))
        return
    first, *others = sorted(kinds, key=list(data).index)
    for other in others:
        message = f"cannot stand beside {first}: a child has one of agent, command or supervisor"
        source.problems.append(source.problem((*path, other), message, at_key=True))
    for key, why in _MISPLACED[first].items():
        if data.get(key) is not None and not others:
            source.problems.append(source.problem((*path, key), why, at_key=True))


def _check_shape(
    document: SupervisorDocument, spec: SupervisorSpec, source: Source, path: Path
) -> None:
    def note(key: str, message: str) -> None:
        source.problems.append(source.problem((*path, key), message))

    if spec.strategy in GROUP_STRATEGIES and spec.start is StartMode.CONCURRENT:
        note("start", f"must be sequential under {spec.strategy}, where the order has a meaning")
    if spec.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        if document.children:
            note("children", "has no place under simple_one_for_one; give the template in child")
        if document.child is None:
            note("child", "is missing: simple_one_for_one needs the template of its children")
    elif document.child is not None:
        note("child", f"is for simple_one_for_one; under {spec.strategy} write children")


def _check_backoff(spec: ChildSpec, source: Source, path: Path) -> None:
    backoff = spec.backoff
    if backoff is not None and backoff.initial > backoff.max:
        longest = format_duration(backoff.max)
        message = f"must not be more than max, which is {longest}"
        source.problems.append(source.problem((*path, "backoff", "initial"), message))


def _check_sockets(spec: ChildSpec, source: Source, path: Path) -> None:
    for index, message in clashes([each.name for each in spec.sockets]):
        source.problems.append(source.problem((*path, "sockets", index, "name"), message))


def _check_interceptor(spec: ChildSpec, source: Source, path: Path) -> None:
    if spec.intercepts and spec.type == "robot":
        message = "is for an agent that takes messages, and a robot takes none"
        source.problems.append(source.problem((*path, "intercepts"), message, at_key=True))
    if spec.intercepts and spec.mailbox.on_full is OnFull.DROP_OLDEST:
        message = "must be reject: what an interceptor holds is not its own"
        source.problems.append(source.problem((*path, "mailbox", "on_full"), message))
