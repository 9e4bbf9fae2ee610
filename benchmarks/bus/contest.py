"""Contestants of the bus rows that are programs of their own, and how they are spoken to."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from typing import Any, ClassVar

from benchmarks.peers.base import PEER_BIN, Peer, PeerFailed
from benchmarks.workload import CHECKOUT, TRIVIAL

__all__ = ["PEERS", "Bare", "BareTopics", "Contestant"]

_UP_S = 40.0
_ANSWER_S = 20.0


class Contestant(Peer):
    """One `benchmarks.bus.worker`.  `share`: how many of our messages it is asked to carry."""

    module: ClassVar[str]
    words: ClassVar[tuple[str, ...]] = ()
    library: ClassVar[str] = ""  # importable in the environment of the peers
    share: ClassVar[float] = 1.0
    answers: ClassVar[bool] = True  # it has round trips

    def __init__(self) -> None:
        super().__init__(TRIVIAL)
        self._channel: socket.socket | None = None
        self._lines: Any = None

    @classmethod
    def python(cls) -> str:
        """Its interpreter."""
        return str(PEER_BIN / "python") if cls.library else sys.executable

    @classmethod
    def missing(cls) -> str | None:
        reason = super().missing()
        if reason is None and cls.library:
            python = shutil.which(cls.python())
            if python is None or not _has(python, cls.library):
                reason = f"{cls.library} not found"
        return reason

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PYTHONPATH": str(CHECKOUT), "RAY_USAGE_STATS_ENABLED": "0"}

    def start(self) -> None:
        address = str(self.directory / "talk")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(address)
            listening.listen()
            listening.settimeout(_UP_S)
            self.run([self.python(), "-m", self.module, address, *self.words])
            try:
                self._channel, _ = listening.accept()
            except TimeoutError:
                raise PeerFailed(f"{self.name} does not start: {self._said()}") from None
        self._channel.settimeout(_ANSWER_S)
        self._lines = self._channel.makefile("rw", encoding="utf-8")

    def ask(self, verb: str, *words: Any) -> Any:
        """The answer.  Raises PeerFailed if there is none."""
        try:
            print(json.dumps([verb, *words]), file=self._lines, flush=True)
            line = self._lines.readline()
        except OSError:
            line = ""
        if not line:
            raise PeerFailed(f"{self.name} does not answer: {self._said()}")
        return json.loads(line)

    def ask_to_end(self) -> None:
        if self._lines is not None and self._channel is not None:
            self._lines.close()
            self._channel.close()
        super().ask_to_end()

    def _said(self) -> str:
        return (self.directory / "said").read_text(errors="replace")[-500:]


def _has(python: str, library: str) -> bool:
    seek = f"import importlib.util as it; assert it.find_spec({library!r})"
    done = subprocess.run([python, "-c", seek], stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


class Bare(Contestant):
    """DEALER and ROUTER, our codec."""

    name = "bare DEALER, ROUTER"
    module = "benchmarks.bus.bare"


class BareTopics(Contestant):
    """PUB, zmq.proxy in a process of its own, SUB; our codec."""

    name = "bare PUB, proxy, SUB"
    module = "benchmarks.bus.bare"
    words = ("topics",)


class Nats(Contestant):
    """nats-server and nats-py."""

    name = "nats"
    module = "benchmarks.bus.peers.nats"
    library = "nats"
    programs = ("nats-server",)


class Redis(Contestant):
    """Pub/sub over a unix socket, pipelines of 100; it has no requests."""

    name = "redis pub/sub"
    module = "benchmarks.bus.peers.redis"
    library = "redis"
    programs = ("redis-server",)
    answers = False


class Queue(Contestant):
    """multiprocessing.Queue."""

    name = "multiprocessing.Queue"
    module = "benchmarks.bus.peers.queue"


class Ray(Contestant):
    """Calls of an actor, many under way at a time."""

    name = "Ray actor"
    module = "benchmarks.bus.peers.ray"
    library = "ray"
    share = 0.02


class Xoscar(Contestant):
    """`tell`, 200 under way; calls one by one."""

    name = "xoscar"
    module = "benchmarks.bus.peers.xoscar"
    library = "xoscar"
    share = 0.1


class Thespian(Contestant):
    """`multiprocQueueBase`, the fastest of its bases."""

    name = "thespian"
    module = "benchmarks.bus.peers.thespian"
    library = "thespian"
    share = 0.02


PEERS: tuple[type[Contestant], ...] = (Nats, Redis, Queue, Ray, Xoscar, Thespian)
