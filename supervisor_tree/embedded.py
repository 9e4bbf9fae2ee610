"""The root process of an embedded tree: the other end of `embed`.

Started as `python -m supervisor_tree.embedded FD`.  On the descriptor it reads what to
run, says in one JSON line each when it is listening and when the tree is ready, and then
only watches for its end of file.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import msgpack

from supervisor_tree.core.specs import supervisor_from_data
from supervisor_tree.errors import SupervisorTreeError
from supervisor_tree.host import Host
from supervisor_tree.runtime.settings import HostSettings

__all__ = ["main"]

_LENGTH_BYTES = 4
_START_LIMIT_S = 60.0


def main(fd: int) -> int:
    """Run the tree that arrives on `fd`; returns the exit code."""
    lifeline = socket.socket(fileno=fd)
    lifeline.settimeout(_START_LIMIT_S)
    length = int.from_bytes(_read(lifeline, _LENGTH_BYTES), "big")
    payload: dict[str, Any] = msgpack.unpackb(_read(lifeline, length))
    lifeline.setblocking(False)
    os.environ.pop("PYTHONPATH", None)
    if payload["pythonpath"] is not None:
        os.environ["PYTHONPATH"] = payload["pythonpath"]
    settings = HostSettings(
        name=payload["host"]["name"],
        run_dir=Path(payload["run_dir"]),
        state_dir=Path(payload["state_dir"]),
        log_dir=Path(payload["log_dir"]),
        preload=tuple(payload["host"]["preload"]),
        sys_path=tuple(payload["sys_path"]),
        lifeline=fd,
    )

    def say(**message: str) -> None:
        """One line; there is room for it in an empty socket buffer, if anybody is there."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            lifeline.send(json.dumps(message).encode() + b"\n")

    try:
        host = Host(settings, supervisor_from_data(payload["tree"]))
        code = host.run(
            on_listening=lambda: say(word="listening"), on_ready=lambda: say(word="ready")
        )
        if host.failure:
            say(error=host.failure)
        return code
    except SupervisorTreeError as error:
        say(error=str(error))
        return error.exit_code


def _read(lifeline: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = lifeline.recv(size - len(parts))
        if not part:
            raise SystemExit("the embedding program went away before it had said what to run")
        parts += part
    return bytes(parts)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
