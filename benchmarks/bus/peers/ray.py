"""A Ray actor: its calls, pipelined and one by one."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.bus.worker import serve

__all__: list[str] = []

ray: Any = importlib.import_module("ray")  # in the environment of the peers alone


class _Sink:
    def echo(self, value: bytes) -> bytes:
        return value

    def take(self, value: bytes) -> None:
        pass


def main() -> None:
    """Start a cluster of this machine, and the actor."""
    where = str(Path(sys.argv[1]).parent / "ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=where)
    actor = ray.remote(_Sink).remote()
    ray.get(actor.echo.remote(b""))

    def casts(size: int, count: int) -> float:
        body = b"x" * size
        begin = time.monotonic()
        ray.get([actor.take.remote(body) for _ in range(count)])
        return count / (time.monotonic() - begin)

    def calls(size: int, count: int) -> list[float]:
        body, taken = b"x" * size, []
        for _ in range(count):
            begin = time.perf_counter()
            ray.get(actor.echo.remote(body))
            taken.append((time.perf_counter() - begin) * 1e6)
        return taken

    serve({"casts": casts, "calls": calls})
    ray.shutdown()


if __name__ == "__main__":
    main()
