"""A room and its bots, who speak over the bus: children that depend on an older sibling.

    id: chat
    supervisor:
      strategy: rest_for_one
      children:
        - {id: room, agent: "examples.chat:Room"}
        - {id: ping, agent: "examples.chat:Bot", args: {says: ping, every_s: 2}}
        - {id: pong, agent: "examples.chat:Bot", args: {says: pong, every_s: 3}}

A bot joins the room once, in its `init`.  When the room dies, its successor knows nobody who
had joined: `rest_for_one` starts the bots anew, after it.

    supervisor-tree subscribe 'chat.>'
    supervisor-tree call /chat/room '"who"'
    supervisor-tree cast /chat/room '"good evening"'
"""

from __future__ import annotations

from typing import Any

from supervisor_tree import Agent, Context

__all__ = ["Bot", "Room"]

LONGEST_LINE = 1_000  # characters


class Room(Agent):
    """Logs each line that is said in it, and publishes it as `chat.said`."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx
        self.present: list[str] = []
        self.lines = 0

    def handle_call(self, request: Any, sender: Any) -> Any:
        if request == "join":
            self.present.append(sender.path)
            return f"you are number {len(self.present)}"
        if request == "who":
            return self.present
        raise ValueError(f'a room answers "join" and "who", not {request!r}')

    def handle_cast(self, message: Any, sender: Any) -> None:
        line = f"{sender.path}: {message}"[:LONGEST_LINE]
        self.lines += 1
        self.ctx.log.info(line)
        self.ctx.publish("chat.said", line)
        self.ctx.notify(f"{self.lines} lines")


class Bot(Agent):
    """Says `args["says"]` in the room every `args["every_s"]` seconds (default 5)."""

    async def init(self, ctx: Context) -> None:
        self.room = f"{ctx.path.rpartition('/')[0]}/room"
        ctx.notify(await ctx.call(self.room, "join"))  # no room, no bot: a failed start

    async def run(self, ctx: Context) -> None:
        while True:
            ctx.cast(self.room, ctx.args["says"])
            if await ctx.stopping.within(float(ctx.args.get("every_s", 5.0))):
                return
