"""The verb `build`: run a child's build command, and show what it writes."""

from __future__ import annotations

import sys
import time
from argparse import Namespace

from supervisor_tree.cli.connecting import connect, note
from supervisor_tree.cli.output import dump
from supervisor_tree.control.logline import log_line
from supervisor_tree.control.words import duration
from supervisor_tree.errors import TimedOut
from supervisor_tree.runtime.logs.book import LogLine
from supervisor_tree.runtime.logs.reader import Follower

__all__ = ["build"]

_LOOK_S = 0.1
_CLOCK_S = 5.0  # by which the clock may be set back meanwhile
_SIGNALLED = 128  # and the signal's number, as shells have it


def build(options: Namespace) -> int:
    """`build PATH`; the code is the command's own."""
    with connect(options) as client:
        log_dir = client.request("health")["log_dir"]
        since = time.time() - _CLOCK_S
        begun = client.request("build", {"path": options.path}, timeout=None)
        job, generation = begun["job"], begun["generation"]
        lines: list[LogLine] = []
        with Follower(log_dir, job, since=since) as follower:
            while True:
                result = client.request("build_result", {"job": job})
                fresh = [
                    line
                    for line in follower.poll()
                    if (line.generation, line.pid) == (generation, begun["pid"])
                ]
                lines += fresh if options.json else []
                for line in [] if options.json else fresh:
                    _print(line)
                if result["done"]:
                    break
                time.sleep(_LOOK_S)
    code = _code(result["code"], result["signal"], late=result["timed_out"])
    if options.json:
        output = [line.text for line in lines]
        dump({"path": begun["path"], "job": job, **result, "exit_code": code, "output": output})
    elif result["timed_out"]:
        note(f"the build took longer than its timeout, and was ended; its log is {job}")
    elif code:
        note(f"the build has failed after {duration(result['wall_s'])}; its log is {job}")
    return code


def _code(code: int | None, signal: int | None, *, late: bool) -> int:
    if late:
        return TimedOut.exit_code
    return _SIGNALLED + signal if signal is not None else code or 0


def _print(line: LogLine) -> None:
    """As it was written, each stream to ours."""
    stream = sys.stderr if line.stream == "stderr" else sys.stdout
    shown = log_line(line.to_json(), whose=False, terminal=stream.isatty())
    print(shown.partition(" | ")[2], file=stream, flush=True)
