"""The verbs of the control socket that are the bus's: who is there, who joins, what is reported.

Messages themselves never come this way: a client that wants to speak joins the bus by
`bus_attach`, and is then known to all by the pid that the kernel has named to us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from supervisor_tree.bus.directory import Member
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.errors import NoSuchChild, NotPermitted, OperationFailed, UsageError

if TYPE_CHECKING:
    from supervisor_tree.control.server import Request

__all__ = ["BusVerbs", "BusView"]

_LETTERS_SHOWN = 1000
_REPORTS = ("dead_letter", "forged", "not_allowed")


class BusView(Protocol):
    """What these verbs need of the host."""

    def members(self) -> list[Member]:
        """All who are on the bus, in the order in which they joined."""
        ...

    def identify(self, pid: int) -> Sender | None:
        """Whose present life, or which client, a process is."""
        ...

    def admit_client(self, pid: int) -> Sender | None:
        """Make a process a member until it ends; None if it has ended."""
        ...

    def dismiss_client(self, path: str) -> None:
        """It leaves."""
        ...

    def dead_letter_numbers(self) -> list[int]:
        """Of all that are kept, oldest first."""
        ...

    def read_dead_letter(self, number: int) -> dict[str, Any] | None:
        """`number time path sender seq deaths trace payload`, payload as packed bytes."""
        ...

    def discard_dead_letter(self, number: int) -> bool:
        """Delete it; False if there is none."""
        ...

    def bus_reported(self, by: Sender, kind: str, facts: Mapping[str, Any]) -> None:
        """A member has something to tell: "dead_letter", "forged" or "not_allowed"."""
        ...


class BusVerbs:
    """Verb -> action, beside those of `Operations`."""

    def __init__(self, view: BusView) -> None:
        self._view = view
        self.verbs: dict[str, Callable[[Request], None]] = {
            "bus_attach": self._attach,
            "bus_detach": self._detach,
            "bus_report": self._report,
            "directory": self._directory,
            "dead_letters": self._dead_letters,
            "discard_dead_letters": self._discard_dead_letters,
        }

    def _attach(self, request: Request) -> None:
        me = None if request.pid is None else self._view.admit_client(request.pid)
        if me is None:
            raise OperationFailed("cannot join the bus: the kernel names no living process")
        request.reply({"path": me.path, "generation": me.generation})

    def _detach(self, request: Request) -> None:
        me = self._view.identify(request.pid or 0)
        path = request.args.get("path")
        if me is None or not isinstance(path, str) or not path.startswith("/_/clients/"):
            raise UsageError("bus_detach: `path` must be what bus_attach has answered")
        self._view.dismiss_client(path)
        request.reply(None)

    def _report(self, request: Request) -> None:
        kind, facts = request.args.get("kind"), request.args.get("facts")
        if kind not in _REPORTS or not isinstance(facts, dict):
            raise UsageError(f"bus_report: `kind` is one of {', '.join(_REPORTS)}, `facts` a map")
        by = self._view.identify(request.pid or 0)
        if by is None:
            raise NotPermitted("bus_report: only a member of the bus reports")
        self._view.bus_reported(by, kind, facts)
        request.reply(None)

    def _directory(self, request: Request) -> None:
        wanted = request.args.get("capability")
        if wanted is not None and not isinstance(wanted, str):
            raise UsageError("directory: `capability` must be a word")
        members = self._view.members()
        request.reply(
            [
                _member_data(member)
                for member in members
                if wanted is None or wanted in member.capabilities
            ]
        )

    def _dead_letters(self, request: Request) -> None:
        """Those of `numbers`, or the newest `limit`; their payloads only if they are named."""
        numbers = _read_numbers(request)
        if numbers is not None:
            request.reply([self._letter(number) for number in numbers])
            return
        limit = request.args.get("limit", _LETTERS_SHOWN)
        if not isinstance(limit, int) or not 0 < limit <= _LETTERS_SHOWN:
            raise UsageError(f"dead_letters: `limit` must be from 1 to {_LETTERS_SHOWN}")
        letters = [
            self._view.read_dead_letter(number)
            for number in self._view.dead_letter_numbers()[-limit:]
        ]
        request.reply(
            [
                {**letter, "payload": None, "bytes": len(letter.get("payload") or b"")}
                for letter in letters
                if letter is not None
            ]
        )

    def _discard_dead_letters(self, request: Request) -> None:
        numbers = _read_numbers(request)
        if numbers is None:
            numbers = self._view.dead_letter_numbers()
        for number in numbers:
            if number not in self._view.dead_letter_numbers():
                raise NoSuchChild(f"there is no dead letter {number}")
        request.reply(sum(self._view.discard_dead_letter(number) for number in numbers))

    def _letter(self, number: int) -> dict[str, Any]:
        letter = self._view.read_dead_letter(number)
        if letter is None:
            raise NoSuchChild(f"there is no dead letter {number}")
        return {**letter, "bytes": len(letter.get("payload") or b"")}


def _read_numbers(request: Request) -> list[int] | None:
    numbers = request.args.get("numbers")
    if numbers is None:
        return None
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise UsageError(f"{request.verb}: `numbers` must be a list of numbers")
    return numbers


def _member_data(member: Member) -> dict[str, Any]:
    return {
        "path": member.path,
        "id": member.path.rpartition("/")[2],
        "description": member.description,
        "capabilities": list(member.capabilities),
        "generation": member.generation,
        "pid": member.pid,
        "ready": member.ready,
        "draining": member.draining,
        "takes_messages": member.inbox,
    }
