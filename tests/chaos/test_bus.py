"""What is promised of the bus while processes are killed or stopped: on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

import supervisor_tree
from supervisor_tree import Agent, ChildSpec, Context, SupervisorSpec
from supervisor_tree.bus.inbox import HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
from supervisor_tree.bus.place import inbox_address
from supervisor_tree.embed import RunningTree
from supervisor_tree.errors import AgentDown, SupervisorTreeError
from tests.integration.spawning import alive

DEADLINE_S = 30.0
GENERATIONS = int(os.environ.get("CHAOS_GENERATIONS", "100"))
_FORGETS = 20  # generations that a partner may still hold a descriptor of


class Echo(Agent):
    def init(self, ctx: Context) -> None:
        self.asked: list[Any] = []

    def handle_call(self, request: Any, sender: Any) -> Any:
        self.asked.append(request)
        if request == "asked":
            return self.asked
        return os.getpid() if request == "pid" else request


class Partner(Agent):
    """Asks, casts to and monitors whoever `args["to"]` is, again and again."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx
        self.seen = 0

    def handle_info(self, info: Any) -> None:
        self.seen += 1

    async def handle_call(self, request: Any, sender: Any) -> Any:
        self.ctx.monitor(self.ctx.args["to"])
        self.ctx.cast(self.ctx.args["to"], request)
        return await self.ctx.call(self.ctx.args["to"], request)


class Chatter(Agent):
    """Casts to the other without an end."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx

    def handle_cast(self, message: Any, sender: Any) -> None: ...

    async def run(self, ctx: Context) -> None:
        while True:
            for number in range(100):
                ctx.cast(ctx.args["to"], number)
            await ctx.flush(DEADLINE_S)


class Silent(Agent):
    """Is asked, says so in a file, and never answers."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx

    async def handle_call(self, request: Any, sender: Any) -> None:
        Path(self.ctx.args["asked"]).touch()
        await asyncio.Event().wait()


class Waiting(Agent):
    """Says when it has heard that its callee has died: Unix time."""

    def init(self, ctx: Context) -> None:
        self.ctx = ctx

    async def handle_call(self, request: Any, sender: Any) -> float:
        try:
            await self.ctx.call(self.ctx.args["to"], request, DEADLINE_S)
        except AgentDown:
            return time.time()
        raise AssertionError("answered")


def running(*children: ChildSpec) -> RunningTree:
    return supervisor_tree.run(SupervisorSpec(children=children, intensity=1_000_000, period=1.0))


def agent(id: str, target: type[Agent], **args: Any) -> ChildSpec:
    return ChildSpec(id=id, agent=f"{__name__}:{target.__name__}", args=args)


def until(condition: Callable[[], Any], what: str, limit_s: float = DEADLINE_S) -> Any:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if result := condition():
                return result
        except SupervisorTreeError:
            pass
        time.sleep(0.001)
    raise AssertionError(f"waited in vain: {what}")


def moment(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def freeze(pid: int, run_dir: Path, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Stop the receiver until a connection to it is given up, as a channel's socket does it."""

    async def watch() -> int:
        with ExitStack() as open_ones:
            context = open_ones.enter_context(zmq.asyncio.Context())
            sock = open_ones.enter_context(context.socket(zmq.DEALER))
            sock.setsockopt(zmq.LINGER, 0)
            sock.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
            sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
            wanted = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
            events = open_ones.enter_context(sock.get_monitor_socket(wanted))
            sock.connect(inbox_address(run_dir, "/echo"))
            connected = await recv_monitor_message(events)
            assert connected["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            os.kill(pid, signal.SIGSTOP)
            meanwhile()
            try:
                return (await recv_monitor_message(events))["event"]
            finally:
                os.kill(pid, signal.SIGCONT)
                sock.monitor(None, 0)

    ended = asyncio.run(asyncio.wait_for(watch(), DEADLINE_S))
    assert ended == zmq.EVENT_DISCONNECTED


def test_generations_leave_nothing_behind_in_their_partners() -> None:
    children = [agent("echo", Echo), agent("partner", Partner, to="/echo")]
    with running(*children) as tree:
        partner = psutil.Process(tree.status("/partner")[0]["pid"])
        root = psutil.Process(tree.pid)

        def held() -> dict[str, int]:
            inboxes = len(list((tree.run_dir / "inbox").iterdir()))
            return {"partner": partner.num_fds(), "root": root.num_fds(), "inboxes": inboxes}

        first: dict[str, int] = {}
        for generation in range(1, GENERATIONS + 1):
            pid = until(lambda: tree.call("/partner", "pid"), f"generation {generation} answers")
            if generation == _FORGETS:
                first = held()
                print("after", generation, first, partner.memory_info().rss, root.memory_info().rss)
            os.kill(pid, signal.SIGKILL)
        print("after", GENERATIONS, held(), partner.memory_info().rss, root.memory_info().rss)
        until(
            lambda: all(now <= first[what] + _FORGETS for what, now in held().items()),
            f"no more is held than after {_FORGETS} generations: {first}, now {held()}",
        )


def test_nothing_is_left_of_agents_that_were_talking_when_the_root_was_killed() -> None:
    pair = [agent("one", Chatter, to="/two"), agent("two", Chatter, to="/one")]
    with running(*pair) as tree:
        talking = [row["pid"] for row in tree.status() if row["kind"] == "agent"]
        busy_s = 0.2
        until(lambda: all(psutil.Process(p).cpu_times().user > busy_s for p in talking), "talk")
        pids = [p.pid for p in psutil.Process(tree.pid).children(recursive=True)]
        assert set(talking) <= set(pids)
        os.kill(tree.pid, signal.SIGKILL)
        until(lambda: not any(map(alive, pids)), f"{pids} are gone")


def test_a_caller_hears_of_its_callees_death_with_the_news_of_it(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    children = [agent("silent", Silent, asked=str(asked)), agent("waiting", Waiting, to="/silent")]
    with (
        running(*children) as tree,
        ThreadPoolExecutor(1) as pool,
        closing(tree.events(timeout=DEADLINE_S)) as events,
    ):
        exits = (event for event in events if event["event"] == "child_exited")
        taken_ms = []
        for _ in range(20):
            tree.wait_for("/silent")
            call = pool.submit(tree.call, "/waiting", 1, timeout=DEADLINE_S)
            until(asked.exists, "it is asked")
            asked.unlink()
            pid = tree.status("/silent")[0]["pid"]
            os.kill(pid, signal.SIGKILL)
            news = next(exits)
            assert (news["path"], news["pid"]) == ("/silent", pid)
            taken_ms.append((call.result() - moment(news)) * 1000)
    low, high = statistics.median(taken_ms), max(taken_ms)
    print(f"AgentDown {low:.1f} ms after the exit event (median), {high:.1f} ms at most")


def test_a_connection_to_a_stopped_receiver_is_given_up_and_made_anew() -> None:
    with running(agent("echo", Echo)) as tree:
        pid = tree.call("/echo", "pid")
        assert HEARTBEAT_MS + HEARTBEAT_TIMEOUT_MS <= 2000
        freeze(pid, tree.run_dir)
        assert tree.call("/echo", "pid", timeout=DEADLINE_S) == pid


def test_a_call_that_was_lost_with_its_connection_is_answered_and_handled_once() -> None:
    with running(agent("echo", Echo)) as tree, ThreadPoolExecutor() as pool:
        pid = tree.call("/echo", "pid")
        calls: list[Future[Any]] = []

        def meanwhile() -> None:
            calls.extend(pool.submit(tree.call, "/echo", n, timeout=DEADLINE_S) for n in range(3))

        freeze(pid, tree.run_dir, meanwhile)
        assert [call.result() for call in calls] == [0, 1, 2]
        assert sorted(tree.call("/echo", "asked")[1:-1]) == [0, 1, 2]
