"""The verbs of the bus, as whoever may speak has them: `ctx` in an agent, a tree's handle outside.

Where a loop runs in an agent, `call`, `flush` and `receive` give something to be awaited;
plain code gets the answer itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor_tree.bus.directory import Member

__all__ = ["Speaker"]


class Speaker:
    """Base of those who are on the bus, or will be with the first verb that they use."""

    def _speaks(self) -> Any:
        """The Bus or BlockingBus that the calling code is to use."""
        raise NotImplementedError

    def call(self, to: str, request: Any, timeout: float = 5.0) -> Any:
        """Ask the agent at path `to`, or one of "pool:CAPABILITY", and give its answer.

        `timeout` is in seconds.  Raises NoProcess, AgentDown, CallTimeout, RemoteError,
        Draining, MailboxFull, NotAllowed.
        """
        return self._speaks().call(to, request, timeout)

    def cast(self, to: str, message: Any) -> None:
        """Send one way: held here until it is handled there, over restarts of the receiver.

        Raises NoProcess, MailboxFull, NotAllowed, and then nothing is kept.
        """
        self._speaks().cast(to, message)

    def flush(self, timeout: float = 5.0) -> Any:
        """Wait until all casts are handled; False if `timeout` seconds were not enough."""
        return self._speaks().flush(timeout)

    def publish(self, topic: str, message: Any) -> None:
        """Tell all who have subscribed to `topic` ("a.b.c") now.  Raises ValueError, NotAllowed."""
        self._speaks().publish(topic, message)

    def subscribe(self, pattern: str) -> None:
        """Have what is published on these topics: `*` is one word, `>` all that follow.

        An Agent gets it by handle_event, other code by `receive`; what was lost on the way is
        told as a Gap.  Raises ValueError, NotAllowed.
        """
        self._speaks().subscribe(pattern)

    def unsubscribe(self, pattern: str) -> None:
        """Have it no longer."""
        self._speaks().unsubscribe(pattern)

    def monitor(self, path: str) -> None:
        """Have one Down(path, generation, reason) when this life ends; at once if there is none."""
        self._speaks().monitor(path)

    def demonitor(self, path: str) -> None:
        """Have none after all."""
        self._speaks().demonitor(path)

    def find(self, capability: str | None = None) -> list[Member]:
        """Who is on the bus: those who have this capability, or all."""
        found: list[Member] = self._speaks().find(capability)
        return found

    def receive(self, timeout: float | None = None) -> Any:
        """The next Published, Gap or Down, for code that is no Agent.

        Raises TimedOut after `timeout` seconds, RuntimeError in an Agent, which is given these.
        """
        return self._speaks().receive(timeout)
