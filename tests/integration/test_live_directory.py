"""The directory of a running host, on a table that a test writes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import zmq

from supervisor_tree.bus.directory import Change, Down, Joined, Member
from supervisor_tree.bus.live import LiveDirectory
from supervisor_tree.bus.table import End, Flag, Life, TableWriter

LIMIT_S = 20.0


def test_who_is_let_go_of_over_the_end_of_another_does_not_end_the_looks(tmp_path: Path) -> None:
    asyncio.run(_looks(tmp_path))


async def _looks(run_dir: Path) -> None:
    writer = TableWriter(run_dir)
    for number, path in enumerate(("/a", "/b", "/c")):
        writer.put(Member(path=path))
        writer.set_life(path, Life(1, 100 + number, Flag.READY))
    writer.flush()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    directory = LiveDirectory(run_dir, context, asyncio.get_running_loop())
    told: asyncio.Queue[Change] = asyncio.Queue()

    def heard(change: Change) -> None:
        if change == Down("/a", 1, "signal 9"):
            directory.unfollow("/b")
        told.put_nowait(change)

    directory.watch(heard)
    try:
        for path in ("/a", "/b", "/c"):
            directory.follow(path)
        for path in ("/a", "/b"):
            writer.set_end(path, End(1, "signal 9"))
            writer.set_life(path, Life(1))
        assert await asyncio.wait_for(told.get(), LIMIT_S) == Down("/a", 1, "signal 9")
        assert isinstance(await asyncio.wait_for(told.get(), LIMIT_S), Joined)
        writer.set_life("/c", Life(1))
        assert await asyncio.wait_for(told.get(), LIMIT_S) == Down("/c", 1, "gone")
    finally:
        directory.close()
        context.destroy(linger=0)
        writer.close()
