"""redis-server on a unix socket, redis-py on both sides: publish and a subscription."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.bus.worker import Partner, serve, start_server

__all__: list[str] = []

redis: Any = importlib.import_module("redis")  # in the environment of the peers alone

_PIPELINE = 100
_LIMIT_S = 30.0


def _connect(path: str) -> Any:
    client = redis.Redis(unix_socket_path=path)
    deadline = time.monotonic() + _LIMIT_S
    while True:
        try:
            client.ping()
            return client
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _receiver(pipe: Any, path: str) -> None:
    subscription = _connect(path).pubsub()
    subscription.subscribe("sink")
    for message in subscription.listen():
        if message["type"] == "subscribe":
            pipe.send("subscribed")
        elif message["data"].startswith(b"end"):
            pipe.send(time.monotonic())


def main() -> None:
    """Start the server and both ends."""
    path = str(Path(sys.argv[1]).parent / "redis")
    limits = ["--client-output-buffer-limit", "pubsub 0 0 0"]
    start_server(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", *limits])
    client = _connect(path)
    partner = Partner(_receiver, path)
    partner.hear()

    def casts(size: int, count: int) -> float:
        body = b"x" * size
        begin = time.monotonic()
        for _ in range(count // _PIPELINE):
            pipeline = client.pipeline(transaction=False)
            for _ in range(_PIPELINE):
                pipeline.publish("sink", body)
            pipeline.execute()
        client.publish("sink", b"end" + body[3:])
        end: float = partner.hear()
        return (count // _PIPELINE * _PIPELINE + 1) / (end - begin)

    serve({"casts": casts})


if __name__ == "__main__":
    main()
