"""The command line: `supervisor-tree [--run-dir DIR] [--json] VERB ...`.

One module per group of verbs, imported when one of its verbs is given, and argparse where
others would be nicer: `status` is run in loops by scripts and by people, and most of what
it costs is imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from supervisor_tree.cli.parser import parse
from supervisor_tree.errors import SupervisorTreeError

__all__ = ["command", "main"]

_INTERRUPTED = 128 + 2


def main() -> int:
    """The process `supervisor-tree`.  Returns only from `run`; other verbs end at once.

    To take an interpreter with ZeroMQ in it apart costs 6 ms, a sixth of a whole `status`.
    Sockets and files are closed by then, and nothing else is to be kept.
    """
    code = command(sys.argv[1:])
    if "run" not in sys.argv:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def command(words: Sequence[str]) -> int:
    """Carry out one command; returns its exit code (see `errors`).

    Errors go to standard error, in words for an operator; standard output holds answers
    only.  Words that are off end in SystemExit(2), as argparse has it.
    """
    try:
        try:
            options = parse(words)
            code = options.act(options)
        finally:
            sys.stdout.flush()
    except SupervisorTreeError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        _discard_output()  # whoever read it has had enough
        return 0
    except OSError as error:  # a full disk behind standard output, a file that is not ours
        _discard_output()
        _complain(f"cannot go on: {error}")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    assert isinstance(code, int)
    return code


def _discard_output() -> None:
    """What is left in the buffer must not fail once more when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _complain(message: str) -> None:
    for line in message.splitlines() or ["failed"]:
        print(f"supervisor-tree: {line}", file=sys.stderr)
