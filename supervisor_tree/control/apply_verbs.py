"""The verbs of the control socket about configurations: what would change, and changing it.

Who asks has read the files; here is what came of them checked once more, compared with what is in
force, and put in force.  Each apply has a number, under which it can be waited for and looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from supervisor_tree.control.arguments import read_number
from supervisor_tree.control.holds import read_asker
from supervisor_tree.control.proposals import Proposal, read_proposal
from supervisor_tree.core import values
from supervisor_tree.core.origin import SourceFile, origin_from_data, origin_to_data
from supervisor_tree.errors import NoSuchChild, TimedOut, UsageError

if TYPE_CHECKING:
    from supervisor_tree.control.server import Request
    from supervisor_tree.core.origin import Origin

__all__ = ["ApplyVerbs", "ApplyView"]


class ApplyView(Protocol):
    """What these verbs need of the host."""

    @property
    def origin(self) -> Origin:
        """Of what is in force."""
        ...

    @property
    def sys_path(self) -> tuple[str, ...]:
        """Where agents are searched for, before the interpreter's own path."""
        ...

    def plan(self, proposal: Proposal) -> dict[str, Any]:
        """`changes`, each {path, action, why}, and `host`, each {key, action, why}."""
        ...

    def begin(self, proposal: Proposal) -> int:
        """Put it in force; returns the operation's number.  Raises if it cannot be begun."""
        ...

    def operations(self) -> list[dict[str, Any]]:
        """The last ones, oldest first; see `operation`."""
        ...

    def operation(self, number: int) -> dict[str, Any] | None:
        """`operation state started ended`, and what `plan` says, each change with its result."""
        ...

    def when_over(self, number: int, done: Callable[[], None]) -> None:
        """Call `done` when this operation is over, now or later."""
        ...

    def rejected(self, file: str, problems: list[str]) -> None:
        """A configuration was found to be wrong before it came here."""
        ...

    def edited(self, files: Mapping[str, tuple[str, SourceFile]]) -> None:
        """Files were written, and the change is in force: the digest before it, and the file now.

        A file that was not in force before stays so.
        """
        ...

    def say(self, line: str) -> None:
        """A line for the host's log."""
        ...

    def call_in(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Turn the loop again in `delay_s` seconds, with this call."""
        ...


class ApplyVerbs:
    """Verb -> action, beside those of `Operations`."""

    def __init__(self, view: ApplyView) -> None:
        self._view = view
        self.verbs: dict[str, Callable[[Request], None]] = {
            "origin": self._origin,
            "plan": self._plan,
            "apply": self._apply,
            "reject": self._reject,
            "edited": self._edited,
            "operations": self._operations,
            "wait_operation": self._wait,
        }

    def _origin(self, request: Request) -> None:
        """Where what is in force has come from; `contents` are left out unless asked for."""
        data = origin_to_data(self._view.origin)
        if not request.args.get("contents"):
            del data["contents"]
        request.reply({**data, "sys_path": list(self._view.sys_path)})

    def _plan(self, request: Request) -> None:
        request.reply(self._view.plan(read_proposal(request.args)))

    def _apply(self, request: Request) -> None:
        """Answered when it is over; with `wait: false`, at once with the number alone."""
        asker, proposal = read_asker(request), read_proposal(request.args)
        number = self._view.begin(proposal)
        self._view.say(f"{asker.line()} (operation {number})")
        if request.args.get("wait") is False:
            request.reply({"operation": number})
        else:
            request.progress({"operation": number})
            self._reply_when_over(request, number)

    def _reject(self, request: Request) -> None:
        file, problems = request.args.get("file"), request.args.get("problems")
        if not isinstance(file, str) or not isinstance(problems, list):
            raise UsageError("reject: `file` is a path, `problems` a list of lines")
        self._view.rejected(file, [str(problem) for problem in problems])
        request.reply(None)

    def _edited(self, request: Request) -> None:
        """`before`: digests by path; `after`: the same files as they are now."""
        before, after = request.args.get("before"), request.args.get("after")
        try:
            files = origin_from_data({"sources": after}).sources
            pairs = {each.path: (str(before[each.path]), each) for each in files}  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                "edited: `before` has digests by path, `after` a list of files"
            ) from None
        self._view.edited(pairs)
        request.reply(None)

    def _operations(self, request: Request) -> None:
        request.reply(self._view.operations())

    def _wait(self, request: Request) -> None:
        number = request.args.get("operation")
        if isinstance(number, bool) or not isinstance(number, int):
            raise UsageError(f"operation is a number, not {values.shown(number)}")
        if self._view.operation(number) is None:
            raise NoSuchChild(f"there is no operation {number}; `operations` lists the last ones")
        self._reply_when_over(request, number)

    def _reply_when_over(self, request: Request, number: int) -> None:
        timeout_s = read_number(request.args, "timeout", None)

        def late() -> None:
            request.reply_error(
                TimedOut(f"operation {number} is still under way; the order stands")
            )

        self._view.when_over(number, lambda: request.reply(self._view.operation(number)))
        if timeout_s is not None and not request.answered:
            self._view.call_in(timeout_s, late)
