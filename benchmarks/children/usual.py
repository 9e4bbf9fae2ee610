"""A child with the usual imports, ready when its loop runs and its first model is checked.

As an agent: `benchmarks.children.usual:live`; as a script: `python usual.py FIFO`.
It then collects once, as any process that lives does sooner or later, and idles.
"""

import asyncio
import gc
import os
import sys
import time
from typing import Any

import httpx
import loguru
import pydantic
import zmq

USED = (httpx, loguru, zmq)


class Job(pydantic.BaseModel):
    """Defining a model is the costly part of importing pydantic."""

    name: str
    tries: int = 0
    tags: list[str] = []


def report(fifo: str) -> None:
    """Write one line, in one piece: pid, and when."""
    now_ns = time.monotonic_ns()
    fd = os.open(fifo, os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, b"%d %d\n" % (os.getpid(), now_ns))
    os.close(fd)


def become_ready(fifo: str) -> None:
    """Everything up to being ready, and the one collection."""
    Job.model_validate({"name": "first", "tags": ["a"]})
    report(fifo)
    gc.collect()


async def live(ctx: Any) -> None:
    """The agent."""
    become_ready(ctx.args["fifo"])
    await ctx.stopping


async def main(fifo: str) -> None:
    """The script."""
    become_ready(fifo)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
