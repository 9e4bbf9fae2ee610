"""thespian: an actor in a process of its own, on multiprocessing queues."""

from __future__ import annotations

import importlib
import time
from typing import Any

from benchmarks.bus.worker import serve

__all__: list[str] = []

actors: Any = importlib.import_module("thespian.actors")  # in the environment of the peers alone

_LIMIT_S = 20.0


class Sink(actors.Actor):  # type: ignore[misc]
    """The other side: it answers what begins with "?"."""

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - thespian's name
        if isinstance(message, bytes) and message.startswith(b"?"):
            self.send(sender, message)


def main() -> None:
    """The system and its actor."""
    system = actors.ActorSystem("multiprocQueueBase")
    sink = system.createActor(Sink)

    def casts(size: int, count: int) -> float:
        body = b"x" * size
        begin = time.monotonic()
        for _ in range(count):
            system.tell(sink, body)
        system.ask(sink, b"?", _LIMIT_S)
        return count / (time.monotonic() - begin)

    def calls(size: int, count: int) -> list[float]:
        body, taken = b"?" * size, []
        for _ in range(count):
            begin = time.perf_counter()
            system.ask(sink, body, _LIMIT_S)
            taken.append((time.perf_counter() - begin) * 1e6)
        return taken

    serve({"casts": casts, "calls": calls})
    system.shutdown()


if __name__ == "__main__":
    main()
