"""A room and its bots: children that depend on an older sibling.

    id: chat
    supervisor:
      strategy: rest_for_one
      children:
        - {id: room, agent: "examples.chat:Room"}
        - {id: ping, agent: "examples.chat:Bot", args: {says: ping, every_s: 2}}
        - {id: pong, agent: "examples.chat:Bot", args: {says: pong, every_s: 3}}

A bot connects to the room once, in its `init`.  When the room dies, its successor is
a new socket that knows nothing of the bots: `rest_for_one` starts them anew, after it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from supervisor_tree import Agent, Context

__all__ = ["Bot", "Room"]

LONGEST_LINE = 1_000  # bytes


class Room(Agent):
    """Logs each line that is said in it."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx
        self.address = _address()
        self.address.unlink(missing_ok=True)  # of a life that was killed
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(self.address))
        self.lines = 0
        asyncio.get_running_loop().add_reader(self.socket, self.on_readable)

    def on_readable(self) -> None:
        line = self.socket.recv(LONGEST_LINE).decode(errors="replace")
        self.lines += 1
        self.ctx.log.info(line)
        self.ctx.notify(f"{self.lines} lines")

    def terminate(self, reason: str) -> None:
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()
        self.address.unlink(missing_ok=True)


class Bot(Agent):
    """Says `args["says"]` in the room every `args["every_s"]` seconds (default 5)."""

    def init(self, ctx: Context) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.connect(str(_address()))  # no room, no bot: a failed start

    async def run(self, ctx: Context) -> None:
        line = f"{ctx.id}: {ctx.args['says']}".encode()
        while True:
            try:
                self.socket.send(line)
            except OSError as error:  # the room is gone, and the supervisor knows already
                ctx.log.warning(f"nobody hears me: {error}")
            if await ctx.stopping.within(float(ctx.args.get("every_s", 5.0))):
                return

    def terminate(self, reason: str) -> None:
        self.socket.close()


def _address() -> Path:
    return Path(os.environ["SUPERVISOR_TREE_RUN_DIR"], "chat-room.sock")
