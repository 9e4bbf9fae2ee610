"""Verbs about a host as a whole: run check schema health shutdown completion."""

from __future__ import annotations

import os
import select
import sys
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from supervisor_tree.cli.output import dump, say
from supervisor_tree.errors import ConfigError, OperationFailed, TimedOut

__all__ = ["check", "completion", "health", "run", "schema", "shutdown"]

_FORCED_S = 10.0  # from the moment of force to the host's own end


def run(options: Namespace) -> NoReturn:
    """`run CONFIG`: this process becomes the host's root."""
    from supervisor_tree.config import load  # noqa: PLC0415
    from supervisor_tree.config.directories import resolve_dirs  # noqa: PLC0415
    from supervisor_tree.root import become  # noqa: PLC0415
    from supervisor_tree.runtime.settings import HostSettings  # noqa: PLC0415

    config = load(options.config)
    for problem in config.problems:
        print(f"supervisor-tree: left out: {problem}", file=sys.stderr, flush=True)
    run_dir, state_dir, log_dir = resolve_dirs(config.host, options.run_dir)
    settings = HostSettings(
        name=config.host.name,
        run_dir=Path(run_dir),
        state_dir=Path(state_dir),
        log_dir=Path(log_dir),
        preload=config.host.preload,
        logs=config.host.logs,
        config=config.host.file,
        sys_path=_search_path(options.config),
        console=not options.quiet,
    )
    become(settings, config.tree)


def _search_path(config: str) -> tuple[str, ...]:
    """Agents are found from the working directory, then beside their configuration."""
    directories = (os.getcwd(), os.path.dirname(os.path.abspath(config)))
    return tuple(dict.fromkeys(directories))


def check(options: Namespace) -> int:
    """`check CONFIG`: prints "ok", or every problem."""
    from supervisor_tree.config import load  # noqa: PLC0415

    try:
        config = load(options.config, strict=True)
    except ConfigError as error:
        if options.json:
            problems = [problem._asdict() for problem in error.problems]
            dump({"ok": False, "problems": problems})
            return error.exit_code
        raise
    count = len(config.tree.children)
    words = "1 child" if count == 1 else f"{count} children"
    say(options, {"ok": True, "problems": []}, [f"{options.config}: ok ({words} below /)"])
    return 0


def schema(options: Namespace) -> int:
    """`schema`: JSON either way."""
    from supervisor_tree.config import schema as json_schema  # noqa: PLC0415

    dump(json_schema())
    return 0


def health(options: Namespace) -> int:
    """`health`: 0 if the host is up and its tree ready, else 1; 69 if there is none."""
    from supervisor_tree.cli.connecting import connect  # noqa: PLC0415

    with connect(options) as client:
        facts = client.request("health")
    missing = facts["not_ready"]
    detail = f" ({missing} not ready)" if missing else ""
    say(options, facts, [f"{facts['state']}{detail}"])
    return 0 if facts["ready"] else OperationFailed.exit_code


def shutdown(options: Namespace) -> int:
    """`shutdown`: returns when the host's process is gone."""
    from supervisor_tree.cli.connecting import connect  # noqa: PLC0415

    with connect(options) as client:
        facts = client.request("shutdown", {"timeout": options.timeout})
    pid = facts["pid"]
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        pass
    else:
        try:
            _await_end(process, pid, options.timeout)
        finally:
            os.close(process)
    say(options, facts, [f"the host (pid {pid}) has ended"])
    return 0


def _await_end(process: int, pid: int, timeout_s: float | None) -> None:
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    limit_ms = None if timeout_s is None else (timeout_s + _FORCED_S) * 1000
    if not waiting.poll(limit_ms):
        raise TimedOut(f"the host (pid {pid}) has not ended; its events say what it waits for")


def completion(options: Namespace) -> int:
    """`completion SHELL`"""
    import shtab  # noqa: PLC0415

    from supervisor_tree.cli.parser import build  # noqa: PLC0415

    print(shtab.complete(build(), options.shell))
    return 0
