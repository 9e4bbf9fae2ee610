"""A thousand agents that are connected with one: each way, over its death, and by a topic."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from typing import Any

import psutil
import pytest

import supervisor_tree
from supervisor_tree import Agent, ChildSpec, Context, SupervisorSpec
from supervisor_tree.core.specs import StartMode
from tests.chaos.test_bus import until

AGENTS = int(os.environ.get("CHAOS_AGENTS", "1000"))
AGAIN_S = 10.0
LIMIT_S = 120.0  # of one step, on a machine that does other things as well
BYTES_EACH = 9_000_000


class Hub(Agent):
    """Keeps the last word of each, and asks all of them."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx
        self.heard: dict[str, str] = {}

    def handle_cast(self, message: Any, sender: Any) -> None:
        self.heard[sender.path] = message

    def handle_call(self, request: Any, sender: Any) -> Any:
        match request:
            case "ask all":
                return self.ask_all()
            case "publish":
                self.ctx.publish("all.hear", 1)
            case ["count", word]:
                return sum(heard == word for heard in self.heard.values())
        return None

    async def ask_all(self) -> bool:
        paths = [member.path for member in self.ctx.find("spoke")]
        asked = [self.ctx.call(path, number, LIMIT_S) for number, path in enumerate(paths)]
        return await asyncio.gather(*asked) == list(range(AGENTS))


class Spoke(Agent):
    """Tells the hub whatever happens to it."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx
        ctx.monitor("/hub")
        ctx.subscribe("all.*")
        ctx.cast("/hub", "here")

    def handle_call(self, request: Any, sender: Any) -> Any:
        return request

    def handle_event(self, topic: str, event: Any) -> None:
        self.ctx.cast("/hub", topic)

    def handle_info(self, info: Any) -> None:
        self.ctx.cast("/hub", f"{type(info).__name__} of {info.generation}")


@pytest.mark.timeout(5 * LIMIT_S)
def test_a_thousand_agents_are_connected_with_one() -> None:
    wanted = AGENTS * BYTES_EACH
    if psutil.virtual_memory().available < wanted:
        pytest.skip(f"{AGENTS} agents want {wanted >> 20:,} MiB of free memory")
    spoke = ChildSpec(id="", agent=f"{__name__}:Spoke", capabilities=("spoke",))
    spokes = SupervisorSpec(
        children=tuple(replace(spoke, id=f"s{number}") for number in range(AGENTS)),
        start=StartMode.CONCURRENT,
    )
    children = (
        ChildSpec(id="hub", agent=f"{__name__}:Hub"),
        ChildSpec(id="spokes", supervisor=spokes),
    )
    with supervisor_tree.run(SupervisorSpec(children=children), start_timeout=LIMIT_S) as tree:

        def all_have_said(word: str) -> bool:
            return tree.call("/hub", ["count", word], timeout=LIMIT_S) == AGENTS

        published: list[float] = []

        def all_have_heard() -> bool:
            """Who had not subscribed yet hears the next one; each wakes a thousand processes."""
            if not published or time.monotonic() - published[-1] > AGAIN_S:
                tree.call("/hub", "publish", timeout=LIMIT_S)
                published.append(time.monotonic())
            return all_have_said("all.hear")

        until(lambda: all_have_said("here"), "a cast of each", LIMIT_S)
        assert tree.call("/hub", "ask all", timeout=LIMIT_S), "each has answered"
        hub, root = psutil.Process(tree.status("/hub")[0]["pid"]), psutil.Process(tree.pid)
        for name, process in (("hub", hub), ("root", root)):
            print(name, process.num_fds(), "descriptors,", process.memory_info().rss >> 20, "MiB")
        # A connection has one descriptor at either end, a sender's socket one more.
        assert AGENTS <= hub.num_fds() <= 3 * AGENTS + 100
        until(all_have_heard, "an event has come to each", LIMIT_S)
        os.kill(hub.pid, signal.SIGKILL)
        until(lambda: all_have_said("Down of 1"), "each has seen the end of the hub", LIMIT_S)
