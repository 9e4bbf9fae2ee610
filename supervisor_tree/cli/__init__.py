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

__all__ = ["main"]

_INTERRUPTED = 128 + 2


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (see `errors`; argparse exits by itself with 2).

    Errors go to standard error, in words for an operator; standard output holds answers only.
    """
    try:
        options = parse(sys.argv[1:] if words is None else words)
        code = options.act(options)
        sys.stdout.flush()
    except SupervisorTreeError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has had enough.  What is left in the buffer must not
        # meet the closed pipe again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    assert isinstance(code, int)
    return code


def _complain(message: str) -> None:
    for line in message.splitlines() or ["failed"]:
        print(f"supervisor-tree: {line}", file=sys.stderr)
