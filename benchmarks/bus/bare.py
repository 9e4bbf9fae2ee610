"""The limit: zmq's sockets with our codec and nothing else, one message a frame.

No acknowledgement, no numbering that anybody looks at, no loop: blocking calls alone.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import zmq

from benchmarks.bus.worker import Partner, serve
from supervisor_tree.bus.codec import decode, encode, pack, unpack
from supervisor_tree.bus.messages import Cast, Event

__all__: list[str] = []

_WAITING = 10_000  # as many as the bus holds
_SYNC = b"sync\0"
_HEARD_S = 0.1


def _socket(kind: int) -> Any:
    sock: Any = zmq.Context.instance().socket(kind)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.SNDHWM, _WAITING)
    sock.setsockopt(zmq.RCVHWM, _WAITING)
    return sock


# --- DEALER and ROUTER ---------------------------------------------------------------------


def _receiver(pipe: Any, address: str) -> None:
    router = _socket(zmq.ROUTER)
    router.bind(address)
    pipe.send("bound")
    while True:
        verb, count = pipe.recv()
        for _ in range(count):
            route, frame = router.recv(), router.recv()
            for message in decode(frame):
                value = unpack(message.payload)  # type: ignore[union-attr]
            if verb == "calls":
                router.send(route, zmq.SNDMORE)
                router.send(encode([Cast(1, pack(value))]))
        pipe.send(time.monotonic())


class _Pair:
    def __init__(self) -> None:
        address = f"ipc://{Path(sys.argv[1]).parent}/bare"
        self._partner = Partner(_receiver, address)
        self._partner.hear()
        self._dealer = _socket(zmq.DEALER)
        self._dealer.connect(address)

    def casts(self, size: int, count: int) -> float:
        self._partner.tell(("casts", count))
        body, send = b"x" * size, self._dealer.send
        begin = time.monotonic()
        for number in range(1, count + 1):
            send(encode([Cast(number, pack(body))]))
        end: float = self._partner.hear()
        return count / (end - begin)

    def calls(self, size: int, count: int) -> list[float]:
        self._partner.tell(("calls", count))
        body, dealer, taken = b"x" * size, self._dealer, []
        for number in range(1, count + 1):
            begin = time.perf_counter()
            dealer.send(encode([Cast(number, pack(body))]))
            (answer,) = decode(dealer.recv())
            unpack(answer.payload)  # type: ignore[union-attr]
            taken.append((time.perf_counter() - begin) * 1e6)
        self._partner.hear()
        return taken


# --- PUB, proxy and SUB --------------------------------------------------------------------


def _proxy(pipe: Any, where: str) -> None:
    incoming, outgoing = _socket(zmq.XSUB), _socket(zmq.XPUB)
    incoming.bind(f"{where}.in")
    outgoing.bind(f"{where}.out")
    pipe.send("bound")
    zmq.proxy(incoming, outgoing)


def _subscriber(pipe: Any, where: str) -> None:
    sub = _socket(zmq.SUB)
    sub.connect(f"{where}.out")
    sub.setsockopt(zmq.SUBSCRIBE, b"")
    sub.recv_multipart()
    pipe.send("heard")
    while True:
        left = pipe.recv()
        while left:
            topic, frame = sub.recv_multipart()
            if topic != _SYNC:
                for message in decode(frame):
                    unpack(message.payload)  # type: ignore[union-attr]
                left -= 1
        pipe.send(time.monotonic())


class _Topics:
    def __init__(self) -> None:
        self._where = f"ipc://{Path(sys.argv[1]).parent}/topics"
        self._subscribers: list[Partner] = []
        self._partners = [Partner(_proxy, self._where)]
        self._partners[0].hear()
        self._pub: Any = None

    def subscribers(self, count: int) -> int:
        """So many from now on, before anything is published; returns their number."""
        self._subscribers = [Partner(_subscriber, self._where) for _ in range(count)]
        self._pub = _socket(zmq.PUB)
        self._pub.connect(f"{self._where}.in")
        for subscriber in self._subscribers:
            while not subscriber.says_something(_HEARD_S):
                self._pub.send_multipart([_SYNC, b""])
            subscriber.hear()
        return count

    def publishes(self, size: int, count: int) -> float:
        for subscriber in self._subscribers:
            subscriber.tell(count)
        body, send = b"x" * size, self._pub.send_multipart
        begin = time.monotonic()
        for number in range(1, count + 1):
            send([b"all.x\0", encode([Event("/n0", 1, "all.x", number, pack(body))])])
        end = max(subscriber.hear() for subscriber in self._subscribers)
        return count * len(self._subscribers) / (end - begin)


def main() -> None:
    """`casts` and `calls`; or, after `subscribers`, `publishes`."""
    it = _Topics() if sys.argv[2:] == ["topics"] else _Pair()
    serve({name: getattr(it, name) for name in dir(it) if not name.startswith("_")})


if __name__ == "__main__":
    main()
