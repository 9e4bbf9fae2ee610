"""nats-server on loopback, nats-py on both sides."""

from __future__ import annotations

import asyncio
import importlib
import socket
import time
from typing import Any

from benchmarks.bus.worker import Partner, serve, start_server

__all__: list[str] = []

nats: Any = importlib.import_module("nats")  # in the environment of the peers alone

_UNBOUNDED = 10**9
_LIMIT_S = 30.0


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def _connect(port: int) -> Any:
    deadline = time.monotonic() + _LIMIT_S
    while True:
        try:
            return await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False)
        except Exception:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


def _receiver(pipe: Any, port: int) -> None:
    asyncio.run(_receive(pipe, port))


async def _receive(pipe: Any, port: int) -> None:
    connection = await _connect(port)

    async def count(message: Any) -> None:
        if message.reply:
            await message.respond(message.data)
            return
        if message.data.startswith(b"end"):
            pipe.send(time.monotonic())

    limits = {"pending_msgs_limit": _UNBOUNDED, "pending_bytes_limit": _UNBOUNDED}
    await connection.subscribe("sink", cb=count, **limits)
    await connection.flush()
    pipe.send("subscribed")
    await asyncio.Event().wait()


def main() -> None:
    """Start the server and both ends."""
    port = _free_port()
    start_server(["nats-server", "-a", "127.0.0.1", "-p", str(port)])
    partner = Partner(_receiver, port)
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(_connect(port))
    partner.hear()

    async def send(size: int, count: int) -> float:
        body = b"x" * size
        begin = time.monotonic()
        for _ in range(count - 1):
            await connection.publish("sink", body)
        await connection.publish("sink", b"end" + body[3:])
        await connection.flush(_LIMIT_S)
        return begin

    async def ask(size: int, count: int) -> list[float]:
        body, taken = b"x" * size, []
        for _ in range(count):
            begin = time.perf_counter()
            await connection.request("sink", body)
            taken.append((time.perf_counter() - begin) * 1e6)
        return taken

    def casts(size: int, count: int) -> float:
        begin = loop.run_until_complete(send(size, count))
        end: float = partner.hear()
        return count / (end - begin)

    serve({"casts": casts, "calls": lambda *words: loop.run_until_complete(ask(*words))})


if __name__ == "__main__":
    main()
