"""The verbs of the control socket that say why things are as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from supervisor_tree.control.arguments import no_such_child, read_path
from supervisor_tree.control.events import rfc3339
from supervisor_tree.control.holds import Hold, hold_data
from supervisor_tree.control.redaction import redacted
from supervisor_tree.control.rows import explanation_data, row_data, story_data
from supervisor_tree.core.explanation import explain
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.core.tree import Tree
from supervisor_tree.errors import OperationFailed

if TYPE_CHECKING:
    from supervisor_tree.control.server import Request

__all__ = ["DiagnosisVerbs", "DiagnosisView", "explained"]


class DiagnosisView(Protocol):
    """What these verbs need of the host."""

    @property
    def tree(self) -> Tree: ...

    def now(self) -> float:
        """The time that the core was given with its stimuli, in seconds."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def said(self, path: str) -> str:
        """The last STATUS= of the child's present life, or ""."""
        ...

    def unmet(self, path: str) -> list[str]:
        """What the child's present life is not ready without: see `words.unmet_words`."""
        ...

    def holds(self) -> Mapping[str, Hold]:
        """What operators want against the rules and the specification, by path."""
        ...

    def leaks(self) -> list[dict[str, Any]]:
        """`{time, path, generation, pid, command, ended}` of processes that had escaped."""
        ...

    def lost(self) -> dict[str, int]:
        """How many `reports`, `leaks` and `boots` could not be written down."""
        ...

    def write_report(self, path: str) -> str | None:
        """Write a diagnostic report now; its file, or None if it could not be written."""
        ...

    def inherited(self) -> Mapping[str, str]:
        """The host's own environment, as far as its children inherit it."""
        ...

    def owned(self, path: str) -> Mapping[str, str]:
        """The variables that the host has set for the child's present life, if it has one."""
        ...


class DiagnosisVerbs:
    """Verb -> action, beside those of `Operations`."""

    def __init__(self, view: DiagnosisView) -> None:
        self._view = view
        self.verbs: dict[str, Callable[[Request], None]] = {
            "explain": self._explain,
            "environment": self._environment,
            "leaks": lambda request: request.reply(view.leaks()),
            "lost_records": lambda request: request.reply(view.lost()),
            "write_report": self._write_report,
        }

    def _explain(self, request: Request) -> None:
        request.reply(explained(self._view, read_path(request.args.get("path"))))

    def _environment(self, request: Request) -> None:
        """The layers of a child's environment but its files, secrets hidden; the later win."""
        view = self._view
        path = read_path(request.args.get("path"))
        spec = view.tree.spec(path)
        if spec is None:
            raise no_such_child(path, view.tree)
        is_child = isinstance(spec, ChildSpec) and spec.supervisor is None
        answer = {
            "host": redacted(dict(view.inherited())),
            "env_files": list(spec.env_files) if isinstance(spec, ChildSpec) else [],
            "env": redacted(dict(spec.env)) if isinstance(spec, ChildSpec) else {},
            "owned": redacted(dict(view.owned(path))),
        }
        request.reply(answer if is_child else None)

    def _write_report(self, request: Request) -> None:
        view = self._view
        path = read_path(request.args.get("path") or "/")
        if view.tree.row(path) is None:
            raise no_such_child(path, view.tree)
        file = view.write_report(path)
        if file is None:
            raise OperationFailed("cannot write the report; the host's log says why")
        request.reply(file)


class _Explaining(Protocol):
    @property
    def tree(self) -> Tree: ...

    def now(self) -> float: ...

    def wall(self) -> float: ...

    def said(self, path: str) -> str: ...

    def unmet(self, path: str) -> list[str]: ...

    def holds(self) -> Mapping[str, Hold]: ...


def explained(view: _Explaining, path: str) -> dict[str, Any]:
    """All that `explain` answers.  Raises NoSuchChild."""
    now, wall = view.now(), view.wall()
    row, found = view.tree.row(path), explain(view.tree, path, now)
    if row is None or found is None:
        raise no_such_child(path, view.tree)
    return {
        **row_data(row, now),
        "since": rfc3339(wall - (now - row.since)),
        "since_s": round(now - row.since, 3),
        "error": row.error,
        "said": view.said(path),
        "unmet": view.unmet(path),
        "hold": hold_data(view.holds(), path),
        **explanation_data(found, now),
        "story": story_data(view.tree, path, now, wall),
    }
