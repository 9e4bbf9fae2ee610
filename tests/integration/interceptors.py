"""Agents between other agents, for the tests of interceptors in a real tree."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from supervisor_tree import Agent, Context, Intercepted, Rejected

__all__ = ["Bypass", "Guard", "Journal", "Source", "Stamp"]


class Guard(Agent):
    """Refuses "bad", holds "slow" for a moment, puts its mark on all else."""

    def init(self, ctx: Context) -> None:
        self.mark = ctx.args.get("mark", "g")
        self.seen: list[Any] = []

    def handle_call(self, request: Any, sender: Any) -> Any:
        return os.getpid() if request == "pid" else self.seen

    def handle_intercept(self, message: Intercepted, sender: Any) -> Any:
        self.seen.append([sender.path, message.to, message.kind, message.payload])
        if message.payload == "bad":
            raise Rejected("not this")
        if message.payload == "slow":
            return self.hold(message.payload)
        return self.marked(message.payload)

    def marked(self, payload: Any) -> Any:
        return [*payload, self.mark] if isinstance(payload, list) else payload

    async def hold(self, payload: Any) -> Any:
        await asyncio.sleep(0.01)
        return payload


class Stamp(Guard):
    """Another one, so that there are two."""


class Journal(Agent):
    """Writes each cast to a file, which outlives it."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx
        self.file = Path(ctx.args["file"])

    def handle_cast(self, message: Any, sender: Any) -> None:
        with self.file.open("a") as file:
            life = self.ctx.generation
            file.write(f"{life} {sender.path} {message} {int(sender.redelivered)}\n")

    def handle_call(self, request: Any, sender: Any) -> Any:
        if request == "pid":
            return os.getpid()
        if request == "die":
            os._exit(3)
        return [sender.path, request]


class Source(Agent):
    """Casts 1..n to one path when it is told to, and calls for others."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx

    def handle_cast(self, message: Any, sender: Any) -> None:
        to, count = message
        for number in range(1, count + 1):
            self.ctx.cast(to, number)

    async def handle_call(self, request: Any, sender: Any) -> Any:
        if request == "flush":
            return await self.ctx.flush(30.0)
        to, question = request
        return await self.ctx.call(to, question)


class Bypass(Source):
    """Has a runtime that knows of no interceptors."""

    def init(self, ctx: Context) -> None:
        super().init(ctx)
        bus = ctx._messaging.verbs()
        bus._directory.interceptors = lambda: ()  # type: ignore
