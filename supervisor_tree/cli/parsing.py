"""Reads the words of one command.

A command builds the parser of its own verb alone, and imports nothing it does not need: what
is left out here is what `status` in a loop does not cost.
"""

from __future__ import annotations

import argparse
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any, NoReturn

from supervisor_tree.cli.parser import VERBS
from supervisor_tree.errors import UsageError
from supervisor_tree.version import VERSION

__all__ = ["EXIT_CODES", "RUN_ENDS", "build", "parse"]

PROGRAM = "supervisor-tree"

_EPILOG_WIDTH = 95

# What every verb may end with, and `run` besides; the reference is made from both.
EXIT_CODES = (
    (0, "done, or already so"),
    (1, "failed"),
    (2, "wrong words"),
    (3, "status PATH: not running"),
    (4, "no such child"),
    (69, "no host is running"),
    (70, "run: see below"),
    (75, "try again"),
    (77, "not permitted"),
    (78, "bad configuration, or already running"),
    (124, "timed out"),
    (130, "interrupted"),
)
RUN_ENDS = (
    ("0", "it was asked to stop, also if a second Ctrl-C or `shutdown --timeout` forced it"),
    ("1", "a child has failed to start under a sequential root, or the host has failed"),
    ("70", "restarts are used up, or the stop has taken longer than stop_limit"),
    ("N", "a significant child has ended the tree: its exit code, or 128 and its signal"),
    ("78", "bad configuration, or another host runs here"),
    ("128+S", "a third Ctrl-C or SIGTERM; nothing was waited for"),
)


def _epilog() -> str:
    codes = "; ".join(f"{code} {words}" for code, words in EXIT_CODES)
    ends = "; ".join(f"{code} {words}" for code, words in RUN_ENDS)
    return "\n".join((*_wrapped(f"exit codes: {codes}"), *_wrapped(f"run ends with: {ends}")))


def _wrapped(text: str) -> list[str]:
    """Lines of at most 95 characters; textwrap would cost 4 ms of each command."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= _EPILOG_WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse makes one for each argument that is added, and each would import shutil (4 ms)."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_help_width())


def _help_width() -> int:
    try:
        return int(os.environ.get("COLUMNS") or os.get_terminal_size().columns) - 2
    except (OSError, ValueError):
        return 78


class _Parser(ArgumentParser):
    """Under --json words that are off are an error like any other."""

    as_json = False

    def error(self, message: str) -> NoReturn:
        if self.as_json:
            raise UsageError(message)
        super().error(message)


def parse(words: Sequence[str]) -> Namespace:
    """The options of one command, with `act` among them.

    For words that are off it exits with 2 and a usage line; under --json it raises UsageError.
    """
    as_json = "--json" in words
    verb = _verb_of(words)
    if verb is not None and verb not in VERBS:
        _refuse(verb, as_json)
    return build(verb, as_json=as_json).parse_args(words)


def build(only: str | None = None, *, as_json: bool = False) -> ArgumentParser:
    """The parser of all verbs, or of one."""
    parser = _Parser(
        prog=PROGRAM,
        description="Erlang/OTP supervision for operating-system processes.",
        epilog=_epilog(),
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.as_json = as_json
    _common(parser, run_dir=None, json=False)
    parser.add_argument("--version", action=_Version, help="say which version this is")
    # `prog` is given because argparse would format a usage line to find it (2 ms).
    verbs = parser.add_subparsers(metavar="VERB", required=True, dest="verb", prog=PROGRAM)
    for name, verb in VERBS.items():
        if only in (None, name):
            own = verbs.add_parser(
                name,
                help=verb.does,
                description=_sentence(verb.does),
                formatter_class=_Formatter,
                allow_abbrev=False,
            )
            own.as_json = as_json
            # Given after the verb these replace what stood before it; left out, they do not.
            _common(own, run_dir=argparse.SUPPRESS, json=argparse.SUPPRESS)
            verb.arguments(own)
            own.set_defaults(act=verb.act(name))
    return parser


def _common(parser: ArgumentParser, *, run_dir: Any, json: Any) -> None:
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        default=run_dir,
        help="where the host has its sockets (else SUPERVISOR_TREE_RUN_DIR, else the default)",
    )
    parser.add_argument("--json", action="store_true", default=json, help="print JSON for programs")


def _verb_of(words: Sequence[str]) -> str | None:
    """The first word that is neither an option nor --run-dir's value."""
    waiting = iter(words)
    for word in waiting:
        if word == "--run-dir":
            next(waiting, None)
        elif not word.startswith("-"):
            return word
    return None


def _refuse(verb: str, as_json: bool) -> NoReturn:
    import difflib  # noqa: PLC0415 - only who misspells pays for it

    near = difflib.get_close_matches(verb, VERBS, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else "the verbs are: " + ", ".join(VERBS)
    message = f"unknown verb '{verb}'; {hint}"
    if as_json:
        raise UsageError(message)
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    raise SystemExit(2)


class _Version(argparse.Action):
    """Like argparse's own, which would need the version at every start."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        print(f"{PROGRAM} {VERSION}")
        parser.exit()


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
