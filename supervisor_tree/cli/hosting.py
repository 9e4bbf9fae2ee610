"""Verbs about a host as a whole: run check schema health shutdown completion."""

from __future__ import annotations

import os
import select
import sys
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from supervisor_tree.cli.output import dump, say
from supervisor_tree.control.naming import few
from supervisor_tree.control.words import clean
from supervisor_tree.errors import ConfigError, ConfigProblem, OperationFailed, TimedOut

__all__ = ["check", "completion", "health", "run", "schema", "shutdown"]

STOP_LIMIT_VARIABLE = "SUPERVISOR_TREE_STOP_LIMIT"

_FORCED_S = 10.0  # from the moment of force to the host's own end


def run(options: Namespace) -> NoReturn:
    """`run CONFIG`: this process becomes the host's root."""
    from supervisor_tree.runtime.signals import hold_back_for_root  # noqa: PLC0415

    hold_back_for_root()
    from supervisor_tree.config import load  # noqa: PLC0415
    from supervisor_tree.config.contents import origin_of  # noqa: PLC0415
    from supervisor_tree.config.directories import resolve_dirs  # noqa: PLC0415
    from supervisor_tree.root import become  # noqa: PLC0415
    from supervisor_tree.runtime.settings import HostSettings  # noqa: PLC0415

    config = load(options.config, run_dir=options.run_dir)
    for problem in config.problems:
        print(f"supervisor-tree: left out: {problem}", file=sys.stderr, flush=True)
    for warning in config.warnings:
        print(f"supervisor-tree: warning: {warning}", file=sys.stderr, flush=True)
    run_dir, state_dir, log_dir = resolve_dirs(config.host, options.run_dir)
    if os.path.dirname(state_dir) == run_dir:
        place = f"no other directory is writable: state and logs are kept in {state_dir}"
        print(f"supervisor-tree: {place}", file=sys.stderr, flush=True)
    sys_path = _search_path(options.config)
    settings = HostSettings(
        name=config.host.name,
        run_dir=Path(run_dir),
        state_dir=Path(state_dir),
        log_dir=Path(log_dir),
        preload=config.host.preload,
        logs=config.host.logs,
        policy=config.host.policy,
        links=config.host.links,
        source=config.host.source,
        config=config.host.file,
        sys_path=sys_path,
        console=not options.quiet,
        json=options.json,
        origin=origin_of(config, [*sys_path, *sys.path]),
        safe_mode=options.safe_mode,
        stop_limit=_stop_limit(options.stop_limit, config.host.stop_limit),
        leftovers=config.host.leftovers,
    )
    become(settings, config.tree)


def _stop_limit(flag: float | None, from_file: float | None) -> float | None:
    """Flag, environment, file: a unit made by `unit` sets the variable.  Raises ConfigError."""
    from supervisor_tree.config.units import parse_duration  # noqa: PLC0415

    if flag is not None:
        return flag
    given = os.environ.get(STOP_LIMIT_VARIABLE)
    if not given:
        return from_file
    try:
        return parse_duration(given)
    except ValueError as error:
        raise ConfigError(
            [ConfigProblem("environment", 0, 0, STOP_LIMIT_VARIABLE, str(error))]
        ) from None


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
            dump({"ok": False, "problems": problems, "warnings": []})
            return error.exit_code
        raise
    count = len(config.tree.children)
    words = "1 child" if count == 1 else f"{count} children"
    if not options.json:
        for warning in config.warnings:
            print(f"supervisor-tree: warning: {warning}", file=sys.stderr, flush=True)
    warnings = [warning._asdict() for warning in config.warnings]
    say(
        options,
        {"ok": True, "problems": [], "warnings": warnings},
        [f"{options.config}: ok ({words} below /)"],
    )
    return 0


def schema(options: Namespace) -> int:
    """`schema`: JSON either way."""
    from supervisor_tree.config import schema as json_schema  # noqa: PLC0415

    dump(json_schema())
    return 0


def health(options: Namespace) -> int:
    """`health`: 0 if the host is up and its tree ready, else 1; 69 if there is none."""
    from supervisor_tree.cli.connecting import connect  # noqa: PLC0415
    from supervisor_tree.cli.currency import config_facts, config_lines, shown_file  # noqa: PLC0415

    with connect(options) as client:
        told = client.request("health")
        facts = told | config_facts(client)  # which has those files too whose children go on
    missing, left_out = facts["not_ready"], told["left_out"]
    reasons = [f"{missing} not ready: {few(facts['missing'], count=missing)}"] if missing else []
    if left_out:
        files = "1 file" if len(left_out) == 1 else f"{len(left_out)} files"
        reasons.append(f"{files} left out: {clean(shown_file(left_out[0]['file']))}")
    detail = f" ({'; '.join(reasons)})" if reasons else ""
    if facts["logs"]["problem"]:
        detail += f"; log lines are dropped: {facts['logs']['problem']}"
    safe_mode = " in safe mode" if facts["safe_mode"] else ""
    say(options, facts, [f"{facts['state']}{safe_mode}{detail}", *config_lines(facts)])
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

    from supervisor_tree.cli.parsing import build  # noqa: PLC0415

    print(shtab.complete(build(), options.shell))
    return 0
