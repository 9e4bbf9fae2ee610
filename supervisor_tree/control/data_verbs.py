"""The verbs of the control socket that take away what children keep: clear_memory delete_cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from supervisor_tree.control.arguments import no_such_child, read_path, refuse_infrastructure
from supervisor_tree.control.rows import TreeView
from supervisor_tree.errors import OperationFailed, SupervisorTreeError, TryAgain, UsageError

if TYPE_CHECKING:
    from supervisor_tree.control.server import Request

__all__ = ["Counts", "DataVerbs", "DataView"]

Counts: TypeAlias = Mapping[str, int]

_KINDS = {"clear_memory": "data", "delete_cache": "cache"}
_NAMED = 3  # of those that run, in an error


class DataView(Protocol):
    """What these verbs need of the host."""

    @property
    def phase(self) -> str: ...

    @property
    def tree(self) -> TreeView: ...

    def clear(
        self,
        kind: str,
        path: str,
        answer: Callable[[Counts | SupervisorTreeError], None],
    ) -> None:
        """Delete what is kept of `path` and all below; counts, or why not."""
        ...


class DataVerbs:
    """Verb -> action, beside those of `Operations`."""

    def __init__(self, view: DataView) -> None:
        self._view = view
        self.verbs: dict[str, Callable[[Request], None]] = dict.fromkeys(_KINDS, self._clear)

    def _clear(self, request: Request) -> None:
        """Refused while one of them runs: it would go on with what it remembers, and write it."""
        path = read_path(request.args.get("path"))
        refuse_infrastructure(request.verb, path)
        if path == "/":
            raise UsageError(f"{request.verb.replace('_', '-')}: name a child or a sub-tree")
        rows = self._view.tree.rows(path)
        if not rows:
            raise no_such_child(path, self._view.tree)
        if self._view.phase == "stopping":
            raise TryAgain("the host is ending")
        up = [row.path for row in rows if row.strategy is None and not _is_down(row.state.value)]
        if up:
            more = f" and {len(up) - _NAMED} more" if len(up) > _NAMED else ""
            raise OperationFailed(
                f"cannot {request.verb.replace('_', '-')} {path}: {', '.join(up[:_NAMED])}{more} "
                "must be stopped first; --restart does that, and starts it again"
            )

        def answered(result: Counts | SupervisorTreeError) -> None:
            if isinstance(result, SupervisorTreeError):
                request.reply_error(result)
            else:
                request.reply({"path": path, **result})

        self._view.clear(_KINDS[request.verb], path, answered)


def _is_down(state: str) -> bool:
    return state in ("stopped", "parked")
