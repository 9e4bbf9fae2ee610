"""xoscar: an actor in a process of its own pool."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from benchmarks.bus.worker import serve

__all__: list[str] = []

xoscar: Any = importlib.import_module("xoscar")  # in the environment of the peers alone

_UNDER_WAY = 200


class Sink(xoscar.Actor):  # type: ignore[misc]
    """The other side; public, as its pool's process finds it by name."""

    def echo(self, value: bytes) -> bytes:
        return value


def main() -> None:
    """A pool with two processes; the actor lives in the second."""
    loop = asyncio.new_event_loop()

    async def begin_actor() -> tuple[Any, Any]:
        pool = await xoscar.create_actor_pool("127.0.0.1", n_process=1)
        address = pool.external_address
        where = xoscar.allocate_strategy.ProcessIndex(1)
        sink = await xoscar.create_actor(
            _sink(), address=address, uid="sink", allocate_strategy=where
        )
        return pool, sink

    pool, sink = loop.run_until_complete(begin_actor())

    async def send(size: int, count: int) -> float:
        body, left = b"x" * size, count
        begin = time.monotonic()
        while left > 0:
            together = min(left, _UNDER_WAY)
            await asyncio.gather(*(sink.echo.tell(body) for _ in range(together)))
            left -= together
        await sink.echo(b"")
        return count / (time.monotonic() - begin)

    async def ask(size: int, count: int) -> list[float]:
        body, taken = b"x" * size, []
        for _ in range(count):
            begin = time.perf_counter()
            await sink.echo(body)
            taken.append((time.perf_counter() - begin) * 1e6)
        return taken

    serve(
        {
            "casts": lambda *words: loop.run_until_complete(send(*words)),
            "calls": lambda *words: loop.run_until_complete(ask(*words)),
        }
    )
    loop.run_until_complete(pool.stop())


def _sink() -> Any:
    """The class under the name of its module, not of __main__, which the other process lacks."""
    return importlib.import_module("benchmarks.bus.peers.xoscar").Sink


if __name__ == "__main__":
    main()
