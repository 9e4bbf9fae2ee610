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
import select
import signal
import socket
import stat
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgpack

from supervisor_tree.core.hosts import links_from_data
from supervisor_tree.core.origin import TreeSource, origin_from_data
from supervisor_tree.core.policy import rule_from_data
from supervisor_tree.core.specdata import logs_from_data, supervisor_from_data, to_data
from supervisor_tree.core.specs import SupervisorSpec
from supervisor_tree.errors import OperationFailed, SupervisorTreeError
from supervisor_tree.runtime.inherited import Inherited
from supervisor_tree.runtime.lifeline import is_closed
from supervisor_tree.runtime.settings import (
    HostSettings,
    check_file_size_limit,
    provide_temporary_directory,
    raise_descriptor_limit,
)
from supervisor_tree.runtime.signals import HELD_BACK

if TYPE_CHECKING:
    from supervisor_tree.spawner.client import SpawnerLauncher

__all__ = ["become", "command", "main", "pack"]

_LENGTH_BYTES = 4
_START_LIMIT_S = 60.0
_INTERRUPTED = 130


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
    """Turn this process into the root; its pid, terminal and directory stay.

    Raises ConfigError if a limit of this process does not let it.
    """
    payload = pack(settings, tree)
    check_file_size_limit(len(payload))
    fd = os.memfd_create("supervisor-tree-run", 0)
    os.write(fd, payload)
    os.lseek(fd, 0, os.SEEK_SET)
    sys.stdout.flush()
    sys.stderr.flush()
    # Held back while one program becomes the other; the host lets them through (signal(7)).
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    os.execv(sys.executable, command(fd))


def main(fd: int) -> int:
    """Run what comes on `fd`; returns the exit code."""
    payload = _unpack(fd)
    embedded = stat.S_ISSOCK(os.fstat(fd).st_mode)
    inherited = Inherited.take(os.environ, os.getpid(), embedded=embedded)
    settings = _settings(payload.pop("host"))
    lifeline: socket.socket | None = None
    if embedded:
        lifeline = socket.socket(fileno=fd)
        lifeline.setblocking(False)
        settings = replace(settings, lifeline=fd)
    else:
        os.close(fd)
    if "pythonpath" in payload:
        _put_back(payload["pythonpath"])

    def say(**message: str) -> None:
        """One line; there is room for it in an empty socket buffer, if anybody is there."""
        if lifeline is not None:
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                lifeline.send(json.dumps(message).encode() + b"\n")

    try:
        tree = supervisor_from_data(payload.pop("tree"))
        instance = os.urandom(16).hex()
        provide_temporary_directory(settings)
        launcher = _spawner_for(instance, settings, tree)
        # Imported late, while the spawner imports what is its own.
        from supervisor_tree.host import Host  # noqa: PLC0415

        host = Host(settings, tree, launcher, instance, inherited)
        code = host.run(
            on_listening=lambda: say(word="listening"), on_ready=lambda: say(word="ready")
        )
        if host.failure:
            if lifeline is None and not settings.console:  # else it stands among the events
                _complain(OperationFailed(f"given up: {host.failure}"), as_json=settings.json)
            say(error=host.failure)
        return code
    except SupervisorTreeError as error:
        if lifeline is None:
            _complain(error, as_json=settings.json)
        say(error=str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        if lifeline is not None and is_closed(fd):
            _delete(payload["scratch"])


def _complain(error: SupervisorTreeError, *, as_json: bool) -> None:
    told = json.dumps({"error": error.facts()}) if as_json else f"supervisor-tree: {error}"
    print(told, file=sys.stderr)


def _delete(scratch: str) -> None:
    """The tree's temporary directory, as the program that has made it may have been killed."""
    import shutil  # noqa: PLC0415 - no other root needs it

    shutil.rmtree(scratch, ignore_errors=True)


def _spawner_for(instance: str, settings: HostSettings, tree: SupervisorSpec) -> SpawnerLauncher:
    """Started before it is known whether there may be a host here: it takes longest by far."""
    from supervisor_tree.runtime.infrastructure import agent_modules  # noqa: PLC0415
    from supervisor_tree.spawner.client import SpawnerLauncher  # noqa: PLC0415

    raise_descriptor_limit()
    check_file_size_limit()
    return SpawnerLauncher.start(
        instance=instance,
        preload=settings.preload,
        modules=agent_modules(tree),
        sys_path=settings.sys_path,
    )


def _settings(host: dict[str, Any]) -> HostSettings:
    paths = {name: Path(host[name]) for name in ("run_dir", "state_dir", "log_dir")}
    lists = {name: tuple(host[name]) for name in ("preload", "sys_path")}
    policy = tuple(rule_from_data(rule) for rule in host["policy"])
    links = None if host["links"] is None else links_from_data(host["links"])
    made = {"logs": logs_from_data(host["logs"]), "policy": policy, "links": links}
    made["origin"] = origin_from_data(host["origin"])
    made["source"] = None if host["source"] is None else TreeSource(**host["source"])
    return HostSettings(**host | paths | lists | made)


def _unpack(fd: int) -> dict[str, Any]:
    size = int.from_bytes(_read(fd, _LENGTH_BYTES), "big")
    payload: dict[str, Any] = msgpack.unpackb(_read(fd, size))
    return payload


def _read(fd: int, size: int) -> bytes:
    """`size` bytes, which whoever started us writes at once."""
    deadline = time.monotonic() + _START_LIMIT_S
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    parts = bytearray()
    while len(parts) < size:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise SystemExit("whoever started this root has not said what to run")
        part = os.read(fd, size - len(parts))
        if not part:
            raise SystemExit("whoever started this root went away before saying what to run")
        parts += part
    return bytes(parts)


def _put_back(python_path: str | None) -> None:
    """Children inherit the embedding program's PYTHONPATH, not the one made for us."""
    os.environ.pop("PYTHONPATH", None)
    if python_path is not None:
        os.environ["PYTHONPATH"] = python_path


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
