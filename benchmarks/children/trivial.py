"""A child that does nothing: it says when its first line ran, and waits.

As an agent: `benchmarks.children.trivial:live`; as a script: `python trivial.py FIFO`.
It imports nothing that an interpreter has not imported by then, so a peer's child pays
for the start of an interpreter and for no more.
"""

import time

NOW_NS = time.monotonic_ns()

import os  # noqa: E402 - the clock is read first
import sys  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself is not imported: it takes milliseconds
    from typing import Any


def report(fifo: str, now_ns: int) -> None:
    """Write one line, in one piece: pid, and when (CLOCK_MONOTONIC is one for all)."""
    fd = os.open(fifo, os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, b"%d %d\n" % (os.getpid(), now_ns))
    os.close(fd)


def live(ctx: "Any") -> None:
    """The agent."""
    now_ns = time.monotonic_ns()
    report(ctx.args["fifo"], now_ns)
    ctx.stopping.wait()


if __name__ == "__main__":
    report(sys.argv[1], NOW_NS)
    while True:
        time.sleep(1000)
