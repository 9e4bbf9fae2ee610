"""Who has given an order and why, and what is remembered of it for the host's next life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from supervisor_tree.control.rows import TreeView
from supervisor_tree.control.words import clean
from supervisor_tree.core import values
from supervisor_tree.errors import UsageError

if TYPE_CHECKING:
    from supervisor_tree.control.server import Request

__all__ = ["Asker", "Hold", "HoldVerbs", "HoldView", "hold_data", "read_asker"]

_LONGEST_WHY = 1000
_MOST_TOLD = 20  # of what an order is about, in one line of the log


@dataclass(frozen=True, slots=True, eq=False)
class Asker:
    """One request.  `uid` and `pid` are the kernel's word; None where it has none."""

    verb: str
    uid: int | None = None
    pid: int | None = None
    why: str = ""

    def line(self, *about: str) -> str:
        """A line for the host's log: `kill /a /b: asked for by uid 0 (pid 99): reason`."""
        uid = "unknown" if self.uid is None else f"uid {self.uid}"
        pid = "" if self.pid is None else f" (pid {self.pid})"
        why = f": {clean(self.why)}" if self.why else ""
        told = (self.verb, *about[:_MOST_TOLD])
        more = f" and {len(about) - _MOST_TOLD} more" if len(about) > _MOST_TOLD else ""
        words = " ".join(clean(word) for word in told if word) + more
        return f"{words}: asked for by {uid}{pid}{why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What an operator wants of one child, against the rules or its specification.

    `down`: to be kept down; else it is wanted up though its specification says `enabled: false`.
    `since` is RFC 3339.  `verb`, `uid`, `pid` and `why` are the asker's.
    """

    path: str
    down: bool
    since: str
    verb: str = ""
    uid: int | None = None
    pid: int | None = None
    why: str = ""


def read_asker(request: Request) -> Asker:
    """Raises UsageError for a `why` that is no text, or too long."""
    why = request.args.get("why") or ""
    if not isinstance(why, str) or len(why) > _LONGEST_WHY:
        told = values.shown(why)
        raise UsageError(f"a reason is text of at most {_LONGEST_WHY} characters, not {told}")
    return Asker(request.verb, request.uid, request.pid, why)


def hold_data(holds: Mapping[str, Hold], path: str) -> dict[str, Any] | None:
    """What is remembered of one child, if anything, as plain data."""
    hold = holds.get(path)
    return None if hold is None else asdict(hold)


class HoldView(Protocol):
    """What this verb needs of the host."""

    @property
    def tree(self) -> TreeView: ...

    def holds(self) -> Mapping[str, Hold]:
        """What operators want against the rules and the specification, by path."""
        ...

    def holds_problem(self) -> str:
        """Why that would not survive the host's end, or ""."""
        ...


class HoldVerbs:
    """Verb -> action, beside those of `Operations`."""

    def __init__(self, view: HoldView) -> None:
        self._view = view
        self.verbs: dict[str, Callable[[Request], None]] = {"holds": self._holds}

    def _holds(self, request: Request) -> None:
        """All, with `known`: whether there is a child of that path now."""
        view = self._view
        holds: list[dict[str, Any]] = [
            {**asdict(hold), "known": view.tree.row(path) is not None}
            for path, hold in view.holds().items()
        ]
        request.reply({"problem": view.holds_problem(), "holds": holds})
