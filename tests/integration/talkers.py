"""Agents that speak to each other, for the tests of the bus in a real tree."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import astuple, is_dataclass
from typing import Any

from supervisor_tree import Agent, Context

__all__ = ["Asking", "Early", "Echo", "Fragile", "Hearing", "Ledger", "Plain", "Sending", "Wishing"]


class Echo(Agent):
    """Answers what it is asked, and a few things about itself."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx
        self.casts: list[Any] = []

    def handle_call(self, request: Any, sender: Any) -> Any:
        match request:
            case "who am I":
                return [sender.path, sender.generation]
            case "pid":
                return os.getpid()
            case "casts":
                return self.casts
            case "raise":
                raise ValueError("as was asked")
            case "exit":
                os._exit(3)
            case _:
                return request

    def handle_cast(self, message: Any, sender: Any) -> None:
        match message:
            case "raise":
                raise RuntimeError("a cast that nobody can handle")
            case "exit":
                os._exit(3)
        self.casts.append(message)


class Asking(Agent):
    """Passes a question on: `[to, request]`."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx

    async def handle_call(self, request: Any, sender: Any) -> Any:
        to, question = request
        return await self.ctx.call(to, question)


class Hearing(Agent):
    """Subscribes and monitors as its arguments say, and keeps what it hears."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx
        self.heard: list[Any] = []
        for pattern in ctx.args.get("patterns", ()):
            ctx.subscribe(pattern)
        for path in ctx.args.get("monitors", ()):
            ctx.monitor(path)
        ctx.send_after(0.01, "a timer")

    def handle_call(self, request: Any, sender: Any) -> Any:
        return self.heard

    def handle_event(self, topic: str, event: Any) -> None:
        self.heard.append([topic, event])

    def handle_info(self, info: Any) -> None:
        self.heard.append([type(info).__name__, _plain(info)])


class Early(Agent):
    """Casts before it is ready itself."""

    def init(self, ctx: Context) -> None:
        ctx.cast(ctx.args["to"], "early")


class Sending(Agent):
    """Casts its last words where `args["to"]` says, when it is stopped."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx

    def handle_cast(self, message: Any, sender: Any) -> None: ...

    def terminate(self, reason: str) -> None:
        self.ctx.cast(self.ctx.args["to"], f"last words: {reason}")


class Ledger(Agent):
    """Writes each cast to a file, which outlives it: generation, sender, message, redelivered."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx
        self.fd = os.open(ctx.args["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def handle_cast(self, message: Any, sender: Any) -> None:
        row = (self.ctx.generation, sender.path, message, int(sender.redelivered))
        os.write(self.fd, (" ".join(map(str, row)) + "\n").encode())

    def handle_call(self, request: Any, sender: Any) -> int:
        return self.ctx.generation


class Fragile(Ledger):
    """Dies of each message that says so, and of no other."""

    def handle_cast(self, message: Any, sender: Any) -> None:
        if message == "poison":
            os.abort()
        super().handle_cast(message, sender)


class Wishing(Agent):
    """Has a process of its own say that it is somebody else."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx

    async def handle_call(self, request: Any, sender: Any) -> int:
        code = (
            "import asyncio, os, sys; from pathlib import Path\n"
            "from supervisor_tree.bus.live import join\n"
            "from supervisor_tree.bus.mailbox import Sender\n"
            "async def main():\n"
            "    bus = join(Path(os.environ['SUPERVISOR_TREE_RUN_DIR']), "
            f"Sender({request['as']!r}, 1), None, inbox=False)\n"
            f"    bus.cast({request['to']!r}, 'forged')\n"
            "    sys.exit(int(await bus.flush(0.3)))\n"
            "asyncio.run(main())\n"
        )
        run = [sys.executable, "-c", code]
        process = await asyncio.to_thread(subprocess.run, run, timeout=20, check=False)
        return process.returncode


def _plain(info: Any) -> Any:
    return list(astuple(info)) if is_dataclass(info) else info  # type: ignore[arg-type]


def Plain(ctx: Context) -> None:  # noqa: N802 - the name of an agent
    """A plain robot: asks an Echo, casts what it has heard, and waits."""
    answer = ctx.call(ctx.args["ask"], "who am I", timeout=10)
    ctx.cast(ctx.args["tell"], answer)
    ctx.flush(10)
    ctx.stopping.wait()
