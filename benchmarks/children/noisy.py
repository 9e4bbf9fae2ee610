"""A child that writes lines of 100 bytes: so many bytes per second, for so long, or flat out.

What it is to do is in `noise` beside the FIFO by which it says that it is up: `RATE SECONDS`, a
rate of 0 being as fast as it can.  It begins when somebody opens `go`, and leaves `PID.noise`:
bytes written, the time of its end (CLOCK_MONOTONIC), and how long one write has taken at most.
"""

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LINES = b"x" * 99 + b"\n"
_CHUNK = _LINES * 160  # one write, a quarter of a pipe: whoever writes costs little


def make_noise(fifo: str) -> None:
    """Say that it is up, wait, and write what is asked for to standard output."""
    directory = os.path.dirname(fifo)
    with open(fifo, "wb", buffering=0) as up:
        up.write(b"%d %d\n" % (os.getpid(), time.monotonic_ns()))
    with open(f"{directory}/noise", encoding="utf-8") as noise:
        rate, seconds = map(float, noise.read().split())
    open(f"{directory}/go", "rb").close()
    written, longest = 0, 0.0
    begun = now = time.monotonic()
    while now - begun < seconds:
        if rate and (early_s := begun + written / rate - now) > 0:
            time.sleep(early_s)
            now = time.monotonic()
        written += os.write(1, _CHUNK)
        before, now = now, time.monotonic()
        longest = max(longest, now - before)
    with open(f"{directory}/{os.getpid()}.part", "w", encoding="utf-8") as result:
        result.write(f"{written} {now} {longest}")
    os.rename(f"{directory}/{os.getpid()}.part", f"{directory}/{os.getpid()}.noise")


def live(ctx: "Any") -> None:
    """The agent."""
    make_noise(ctx.args["fifo"])
    ctx.stopping.wait()


if __name__ == "__main__":
    make_noise(sys.argv[1])
    while True:
        time.sleep(1000)
