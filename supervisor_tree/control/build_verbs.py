"""The verbs of the control socket that run a child's build command: build build_result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from supervisor_tree.control.arguments import no_such_child, read_path
from supervisor_tree.control.rows import TreeView
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.errors import NoSuchChild, SupervisorTreeError, TryAgain, UsageError

if TYPE_CHECKING:
    from supervisor_tree.control.server import Request

__all__ = ["BuildVerbs", "BuildView"]


class BuildView(Protocol):
    """What these verbs need of the host."""

    @property
    def phase(self) -> str: ...

    @property
    def tree(self) -> TreeView: ...

    def begin_build(
        self,
        path: str,
        spec: ChildSpec,
        answer: Callable[[Mapping[str, Any] | SupervisorTreeError], None],
    ) -> None:
        """Start it; {job, generation, pid}, or why not."""
        ...

    def build_result(self, job: str) -> dict[str, Any] | None:
        """{done, code, signal, timed_out, wall_s}; None: there was none."""
        ...


class BuildVerbs:
    """Verb -> action, beside those of `Operations`."""

    def __init__(self, view: BuildView) -> None:
        self._view = view
        self.verbs: dict[str, Callable[[Request], None]] = {
            "build": self._build,
            "build_result": self._result,
        }

    def _build(self, request: Request) -> None:
        path = read_path(request.args.get("path"))
        spec = self._view.tree.spec(path)
        if spec is None:
            raise no_such_child(path, self._view.tree)
        if not isinstance(spec, ChildSpec) or spec.build is None:
            raise UsageError(f"{path} has no build command; give it `build: {{command: [...]}}`")
        if self._view.phase == "stopping":
            raise TryAgain("the host is ending")

        def answered(result: Mapping[str, Any] | SupervisorTreeError) -> None:
            if isinstance(result, SupervisorTreeError):
                request.reply_error(result)
            else:
                request.reply({"path": path, **result})

        self._view.begin_build(path, spec, answered)

    def _result(self, request: Request) -> None:
        job = read_path(request.args.get("job"))
        result = self._view.build_result(job)
        if result is None:
            raise NoSuchChild(f"nothing is known of a build {job}")
        request.reply(result)
