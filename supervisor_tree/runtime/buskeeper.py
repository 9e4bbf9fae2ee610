"""The root's share in the bus: who is on it, and what members have to report.

No message passes here.  Implements `control.bus_verbs.BusView`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from supervisor_tree.bus.directory import Member
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.control.events import rfc3339
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.runtime.letters import DeadLetters
from supervisor_tree.runtime.membership import Membership

__all__ = ["BusKeeper"]

_SHOWN = ("sender", "generation", "pid", "claimed", "as", "verb", "seq", "deaths")


class BusKeeper:
    """One host's.  `publish` is given the events that follow, `say` what went wrong."""

    def __init__(
        self,
        membership: Membership,
        state_dir: Path,
        *,
        publish: Callable[[LifecycleEvent], None],
        say: Callable[[str], None],
    ) -> None:
        self._membership = membership
        self._letters = DeadLetters(state_dir / "dead-letters")
        self._publish = publish
        self._say = say

    def members(self) -> list[Member]:
        """See BusView."""
        return self._membership.members()

    def identify(self, pid: int) -> Sender | None:
        """See BusView."""
        return self._membership.identify(pid)

    def admit_client(self, pid: int) -> Sender | None:
        """See BusView."""
        return self._membership.admit_client(pid)

    def dismiss_client(self, path: str) -> None:
        """See BusView."""
        self._membership.dismiss_client(path)

    def dead_letter_numbers(self) -> list[int]:
        """See BusView."""
        return self._letters.numbers()

    def read_dead_letter(self, number: int) -> dict[str, Any] | None:
        """See BusView."""
        return self._letters.read(number)

    def discard_dead_letter(self, number: int) -> bool:
        """See BusView."""
        return self._letters.discard(number)

    def bus_reported(self, by: Sender, kind: str, facts: Mapping[str, Any]) -> None:
        """See BusView.  A dead letter is an event of its receiver, a refusal one of who refuses."""
        detail = {key: facts[key] for key in _SHOWN if key in facts}
        if kind == "dead_letter":
            detail["number"] = self._keep(facts)
            path, event = str(facts.get("path", "/")), EventName.DEAD_LETTER
        else:
            detail["why"] = kind
            path, event = by.path, EventName.MESSAGE_REFUSED
        self._publish(
            LifecycleEvent(event=event, path=path, id=path.rpartition("/")[2], detail=detail)
        )

    def _keep(self, facts: Mapping[str, Any]) -> int | None:
        try:
            return self._letters.keep({"time": rfc3339(time.time()), **facts})
        except OSError as error:
            self._say(f"cannot keep a dead letter to {facts.get('path')}: {error.strerror}")
            return None
