"""What a contestant's own program has in common with the others: it is told, and answers.

It is started as `python -m MODULE SOCKET`, connects there, and answers each line of JSON,
`[verb, word...]`, by one.  Its measurements come out as

    casts(size, count)   -> messages a second, from the first sent to the last received
    calls(size, count)   -> microseconds of each round trip

Contestants run in an environment of their own, so this is the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["FORK", "Partner", "serve", "start_server"]

_PR_SET_PDEATHSIG = 1

FORK = multiprocessing.get_context("fork")


class Partner:
    """A second process, the receiving one, and a pipe to it.

    live(pipe, *args) is its whole life.
    """

    def __init__(self, live: Callable[..., None], *args: Any) -> None:
        self._pipe, theirs = FORK.Pipe()
        self._process = FORK.Process(target=_live, args=(live, theirs, args), daemon=True)
        self._process.start()
        theirs.close()

    def tell(self, word: Any) -> None:
        """Say something to it."""
        self._pipe.send(word)

    def hear(self) -> Any:
        """What it says next."""
        return self._pipe.recv()

    def says_something(self, limit_s: float) -> bool:
        """True as soon as there is something to hear, False after `limit_s` seconds."""
        return self._pipe.poll(limit_s)


def start_server(argv: Sequence[str]) -> None:
    """A server of the contestant's, which ends with this process, also when that is killed.

    (The benchmark's mark is not enough: redis writes its title over its environment.)
    """
    libc = ctypes.CDLL(None)

    def end_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    subprocess.Popen(argv, preexec_fn=end_with_parent)  # noqa: PLW1509 - there are no threads yet


def _live(live: Callable[..., None], pipe: Connection, args: tuple[Any, ...]) -> None:
    try:
        live(pipe, *args)
    finally:
        os._exit(0)


def serve(verbs: dict[str, Callable[..., Any]]) -> None:
    """Answer until the benchmark hangs up."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(sys.argv[1])
        with channel.makefile("rw", encoding="utf-8") as lines:
            for line in lines:
                verb, *words = json.loads(line)
                print(json.dumps(verbs[verb](*words)), file=lines, flush=True)
