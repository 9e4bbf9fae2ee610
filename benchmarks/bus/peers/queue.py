"""multiprocessing.Queue, one each way."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.bus.worker import FORK, Partner, serve

__all__: list[str] = []


def _receiver(pipe: Any, there: Any, back: Any) -> None:
    while True:
        verb, count = pipe.recv()
        for _ in range(count):
            value = there.get()
            if verb == "calls":
                back.put(value)
        pipe.send(time.monotonic())


def main() -> None:
    """Both ends."""
    there, back = FORK.Queue(), FORK.Queue()
    partner = Partner(_receiver, there, back)

    def casts(size: int, count: int) -> float:
        partner.tell(("casts", count))
        body = b"x" * size
        begin = time.monotonic()
        for _ in range(count):
            there.put(body)
        end: float = partner.hear()
        return count / (end - begin)

    def calls(size: int, count: int) -> list[float]:
        partner.tell(("calls", count))
        body, taken = b"x" * size, []
        for _ in range(count):
            begin = time.perf_counter()
            there.put(body)
            back.get()
            taken.append((time.perf_counter() - begin) * 1e6)
        partner.hear()
        return taken

    serve({"casts": casts, "calls": calls})


if __name__ == "__main__":
    main()
