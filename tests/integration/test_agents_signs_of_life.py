"""What an agent sends of itself to whoever watches over it, without a host (see lives.py)."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.agents import Agent, Context
from tests.integration.lives import Life, Lives

Start = Callable[..., Life]
BUSY = "X_SUPERVISOR_TREE_BUSY"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    lives = Lives(tmp_path)
    yield lives.start
    lives.close()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lives are held to 0.3 s of silence."""
    monkeypatch.setenv("WATCHDOG_USEC", "300000")


def levels(life: Life, last: str) -> list[tuple[str, str]]:
    """What it was busy with, and its status line beside that, until it has said `last`."""
    life.wait_for("STATUS", last)
    return [(n[BUSY], n["STATUS"]) for n in life.notices if BUSY in n]


# -- agents to run ----------------------------------------------------------------------


class Idle(Agent):
    pass


class Blocked(Agent):
    async def run(self, ctx: Context) -> None:
        await asyncio.sleep(0.5)  # some beats
        ctx.notify("blocks")
        time.sleep(1.0)
        ctx.notify("goes on")
        await ctx.stopping


async def coroutine(ctx: Context) -> None:
    await ctx.stopping


def waits(ctx: Context) -> None:
    ctx.stopping.wait()


def polls(ctx: Context) -> None:
    while not ctx.stopping.is_set():
        time.sleep(0.01)


def waits_in_a_thread(ctx: Context) -> None:
    thread = threading.Thread(target=ctx.stopping.wait)
    thread.start()
    thread.join()


def looks_no_more(ctx: Context) -> None:
    ctx.stopping.wait(0.5)
    ctx.notify("looks no more")
    time.sleep(1.0)
    ctx.notify("looks again")
    ctx.stopping.wait()


def nests(ctx: Context) -> None:
    ctx.notify("at rest")
    with ctx.busy("outer"):
        with ctx.busy("inner"):
            ctx.beat()
        try:
            with ctx.busy("fails"):
                raise LookupError
        except LookupError:
            pass
    ctx.beat()
    ctx.notify("end")
    ctx.stopping.wait()


class Overlaps(Agent):
    """Blocks of two tasks that are not nested: the one that began last is shown."""

    async def run(self, ctx: Context) -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def other() -> None:
            await begun.wait()
            async with ctx.busy("two"):
                ended.set()
                await asyncio.sleep(0.05)

        task = asyncio.create_task(other())
        async with ctx.busy("one"):
            begun.set()
            await ended.wait()
        await task
        ctx.notify("end")
        await ctx.stopping


def hang_here() -> None:
    time.sleep(1000)


class Threads(Agent):
    async def run(self, ctx: Context) -> None:
        threading.Thread(target=hang_here, daemon=True).start()
        ctx.notify("hangs")
        await asyncio.get_running_loop().create_future()


# -- beats ------------------------------------------------------------------------------


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("target", [Idle, coroutine, waits, polls, waits_in_a_thread])
def test_an_agent_that_is_well_beats_without_being_told_to(start: Start, target: Any):
    life = start(target)
    life.wait_for("READY")
    before = len(life.notices)
    while sum("WATCHDOG" in notice for notice in life.notices[before:]) < 4:
        life.read_one()
    life.send(signal.SIGTERM)
    assert life.end() == -signal.SIGTERM


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(
    ("target", "first", "last"),
    [(Blocked, "blocks", "goes on"), (looks_no_more, "looks no more", "looks again")],
)
def test_one_that_hangs_does_not_beat(start: Start, target: Any, first: str, last: str):
    life = start(target)
    life.wait_for("STATUS", last)
    said = [notice.get("STATUS", notice.get("WATCHDOG")) for notice in life.notices]
    assert "1" in said[: said.index(first)]
    assert "1" not in said[said.index(first) : said.index(last)]


def test_one_that_nobody_watches_does_not_beat(start: Start):
    life = start(waits)
    life.wait_for("READY")
    life.wait_until_it_sleeps()
    life.send(signal.SIGTERM)
    life.end()
    assert not any("WATCHDOG" in notice for notice in life.notices)


# -- busy ---------------------------------------------------------------------------------


def test_busy_blocks_may_be_nested_and_end_however_they_do(start: Start):
    life = start(nests)
    assert levels(life, "end") == [
        ("outer", "outer"),
        ("inner", "inner"),
        ("inner", "inner"),  # a beat within
        ("outer", "outer"),
        ("fails", "fails"),
        ("outer", "outer"),
        ("", "at rest"),
    ]
    assert sum("WATCHDOG" in notice for notice in life.notices) == 1  # the beat outside


def test_busy_blocks_of_several_tasks_may_overlap(start: Start):
    life = start(Overlaps)
    assert levels(life, "end") == [("one", "one"), ("two", "two"), ("two", "two"), ("", "")]


# -- stacks ---------------------------------------------------------------------------------


def test_sigabrt_writes_the_stacks_of_all_threads(start: Start):
    life = start(Threads)
    life.wait_for("STATUS", "hangs")
    life.wait_until_it_sleeps()
    life.send(signal.SIGABRT)
    assert life.end() == -signal.SIGABRT
    assert "in hang_here" in life.output()
    assert "in _in_loop" in life.output()
