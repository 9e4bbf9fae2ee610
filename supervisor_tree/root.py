"""The root's own process: a fresh interpreter that has imported only what a root needs.

Started as `python -m supervisor_tree.root FD`.  What to run comes on the descriptor, as
`Payload` packs it: in a memory file from `supervisor-tree run`, which becomes the root by
exec and so leaves behind what reading YAML had taken; or on a socket from a program that
embeds a tree.  The socket then is the root's lifeline: on it the root says, in one JSON line each,
when it listens and when the tree is ready, and when it closes the root ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import msgpack

from supervisor_tree.core.specs import Logs, SupervisorSpec, supervisor_from_data, to_data
from supervisor_tree.errors import SupervisorTreeError
from supervisor_tree.runtime.settings import HostSettings

__all__ = ["become", "command", "main", "pack"]

_LENGTH_BYTES = 4
_START_LIMIT_S = 60.0
_INTERRUPTED = 130
# Held back while one program becomes the other; the host lets them through (signal(7)).
_HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def command(fd: int) -> list[str]:
    """The words that start a root; `-P`: nothing is imported from the working directory."""
    return [sys.executable, "-P", "-m", "supervisor_tree.root", str(fd)]


def pack(settings: HostSettings, tree: SupervisorSpec, **more: Any) -> bytes:
    """What `main` reads: length and content."""
    host = asdict(settings)
    for directory in ("run_dir", "state_dir", "log_dir"):
        host[directory] = str(host[directory])
    body: bytes = msgpack.packb({"host": host, "tree": to_data(tree), **more})
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def become(settings: HostSettings, tree: SupervisorSpec) -> NoReturn:
    """Turn this process into the root; its pid, terminal and directory stay."""
    fd = os.memfd_create("supervisor-tree-run", 0)
    os.write(fd, pack(settings, tree))
    os.lseek(fd, 0, os.SEEK_SET)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    os.execv(sys.executable, command(fd))


def main(fd: int) -> int:
    """Run what comes on `fd`; returns the exit code."""
    payload = _unpack(fd)
    settings = _settings(payload["host"])
    lifeline: socket.socket | None = None
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        lifeline = socket.socket(fileno=fd)
        lifeline.setblocking(False)
        settings = replace(settings, lifeline=fd)
    else:
        os.close(fd)
    if "pythonpath" in payload:
        _put_back(payload["pythonpath"])
    # The host's modules are imported late: a payload that cannot be read costs nothing.
    from supervisor_tree.host import Host  # noqa: PLC0415

    def say(**message: str) -> None:
        """One line; there is room for it in an empty socket buffer, if anybody is there."""
        if lifeline is not None:
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
        if lifeline is None:
            print(f"supervisor-tree: {error}", file=sys.stderr)
        say(error=str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED


def _settings(host: dict[str, Any]) -> HostSettings:
    paths = {name: Path(host[name]) for name in ("run_dir", "state_dir", "log_dir")}
    lists = {name: tuple(host[name]) for name in ("preload", "sys_path")}
    return HostSettings(**host | paths | lists | {"logs": Logs(**host["logs"])})


def _unpack(fd: int) -> dict[str, Any]:
    size = int.from_bytes(_read(fd, _LENGTH_BYTES), "big")
    payload: dict[str, Any] = msgpack.unpackb(_read(fd, size))
    return payload


def _read(fd: int, size: int) -> bytes:
    """`size` bytes, which whoever started us writes at once."""
    signal.setitimer(signal.ITIMER_REAL, _START_LIMIT_S)  # SIGALRM ends a root without orders
    parts = bytearray()
    while len(parts) < size:
        part = os.read(fd, size - len(parts))
        if not part:
            raise SystemExit("whoever started this root went away before saying what to run")
        parts += part
    signal.setitimer(signal.ITIMER_REAL, 0)
    return bytes(parts)


def _put_back(python_path: str | None) -> None:
    """Children inherit the embedding program's PYTHONPATH, not the one made for us."""
    os.environ.pop("PYTHONPATH", None)
    if python_path is not None:
        os.environ["PYTHONPATH"] = python_path


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
