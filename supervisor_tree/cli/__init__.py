"""The command line: `supervisor-tree [--run-dir DIR] [--json] VERB ...`.

One module per group of verbs, imported when one of its verbs is given, and argparse where
others would be nicer: `status` is run in loops by scripts and by people, and most of what
it costs is imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from supervisor_tree.cli.output import complain
from supervisor_tree.cli.parsing import parse
from supervisor_tree.errors import OperationFailed, SupervisorTreeError

__all__ = ["command", "main"]

_INTERRUPTED = 128 + 2


def main() -> int:
    """The process `supervisor-tree`.  Returns only from `run`; other verbs end at once.

    To take an interpreter with ZeroMQ in it apart costs 6 ms, a sixth of a whole `status`.
    Sockets and files are closed by then, and nothing else is to be kept.
    """
    _open_standard_streams()
    code = command(sys.argv[1:])
    if "run" not in sys.argv:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def command(words: Sequence[str]) -> int:
    """Carry out one command; returns its exit code (see `errors`).

    Errors go to standard error, in words for an operator or, under --json, as one JSON
    object on one line; standard output holds answers only.  Words that are off end in
    SystemExit(2), as argparse has it; under --json they are an error like any other.
    """
    as_json = "--json" in words  # also for words that cannot be understood
    try:
        try:
            options = parse(words)
            code = options.act(options)
        finally:
            sys.stdout.flush()
    except SupervisorTreeError as error:
        complain(error, as_json=as_json)
        return error.exit_code
    except BrokenPipeError:
        _discard_output()  # whoever read it has had enough
        return 0
    except OSError as error:  # a full disk behind standard output, a file that is not ours
        _discard_output()
        failure = OperationFailed(f"cannot go on: {error}")
        complain(failure, as_json=as_json)
        return failure.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    assert isinstance(code, int)
    return code


def _discard_output() -> None:
    """What is left in the buffer must not fail once more when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _open_standard_streams() -> None:
    """Whoever closed one of the three (`run >&-`) gets a null device in its place.

    Else the next file that is opened would take its number, and be written to as a terminal.
    Text that the locale's encoding does not have is shown as escapes, never refused.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, open(2)
            os.set_inheritable(fd, True)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - as the interpreter's
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
