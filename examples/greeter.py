"""The smallest agent with a state of its own.

{id: greeter, agent: "examples.greeter:Greeter", args: {greeting: hello}}
"""

from __future__ import annotations

from typing import Any

from supervisor_tree import Agent, Context

__all__ = ["Greeter"]


class Greeter(Agent):
    """Greets by name.  `args`: `greeting`, the word to do it with (default "hello")."""

    async def init(self, ctx: Context) -> None:
        self.log = ctx.log
        self.greeting = str(ctx.args.get("greeting", "hello"))
        self.greeted = 0
        ctx.notify(f"says {self.greeting}")
        self.log.info(f"{self.greeting} from {ctx.path}, life {ctx.generation}")

    async def handle_call(self, request: Any, sender: Any) -> str:
        self.greeted += 1
        return f"{self.greeting} {request['name']}"

    async def terminate(self, reason: str) -> None:
        self.log.info(f"goodbye ({reason}), {self.greeted} greeted")
