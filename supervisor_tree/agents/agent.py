"""The class that an agent's author derives from.

The callbacks are those of OTP's gen_server, by name and by meaning.  Each may be a plain
function or `async def`.  All of them run on the one loop of the agent's own process, one
at a time: a callback needs no lock, and a plain one that blocks, blocks the agent.

    starting ── init returns ──► running ── stop signal, or run() returns ──► terminate ──► exit
        │                           └────── exception ──► terminate ──► status 1
        ├── init raises ──► status 1, a failed start: terminate is not called
        └── init raises Ignore ──► status 0, not started and not restarted
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from supervisor_tree.agents.context import Context

__all__ = ["Agent", "Ignore"]


_HANDLERS = ("handle_call", "handle_cast", "handle_event", "handle_info", "handle_intercept")


class Ignore(Exception):
    """Raised by `init` to decline the start: OTP's `ignore`.  The text says why."""


class Agent:
    """Code in a process of its own.  Override what you need; as it stands it waits to be stopped.

    It is made without arguments; what the child specification gives is in `ctx.args`.

    A subclass may define ``async def run(self, ctx)``, its main work.  It starts when the
    agent is ready, and its return ends the agent as `normal`.  When the agent is asked to
    stop, `run` is cancelled, unless the code has looked at `ctx.stopping` before: then it
    is left to end by itself.
    """

    takes_messages: ClassVar[bool] = False  # whether the class has a handler of its own

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        own = (getattr(cls, name) is not getattr(Agent, name) for name in _HANDLERS)
        cls.takes_messages = any(own)
        if cls.takes_messages:
            # Here, and so before the fork: each life finds the bus's modules loaded.
            importlib.import_module("supervisor_tree.agents.messaging")

    def init(self, ctx: Context) -> Any:
        """Prepare; the agent is ready when this returns.  An exception is a failed start."""

    def handle_call(self, request: Any, sender: Any) -> Any:
        """Answer a request: what is returned is the reply."""
        raise NotImplementedError(f"{type(self).__qualname__} answers no calls")

    def handle_cast(self, message: Any, sender: Any) -> Any:
        """Take a message that wants no answer."""

    def handle_event(self, topic: str, event: Any) -> Any:
        """Take what was published on a topic that this agent has subscribed to."""

    def handle_info(self, info: Any) -> Any:
        """Take all else: the end of a monitored agent, a gap in a topic, a timer."""

    def handle_intercept(self, message: Any, sender: Any) -> Any:
        """Take what another agent says to a path of this one's `intercepts`, before that one.

        `message` is an `Intercepted(to, kind, payload)`.  What is returned is passed on in
        place of the payload; `Rejected` refuses a call, and drops a cast.
        """
        return message.payload

    def terminate(self, reason: str) -> Any:
        """Tidy up.

        `reason` is "shutdown" (asked to stop), "normal" (`run` has returned), or
        "TypeName: text" of the exception that ends the agent.  There is no
        terminate after SIGKILL, and the time for it is the child's `shutdown`.
        """
