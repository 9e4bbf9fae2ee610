"""The verbs and their words.

`VERBS` is the one list: the parser, the overview, completion and the suggestions for a
misspelt verb are made from it.  A command builds the parser of its own verb alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

__all__ = ["VERBS", "Verb", "build", "parse"]

PROGRAM = "supervisor-tree"

_EPILOG = """\
exit codes: 0 done, or already so; 1 failed; 2 wrong words; 3 status PATH: not running;
4 no such child; 69 no host is running; 70 run: the tree has given up, or the host has failed;
75 try again; 77 not permitted; 78 bad configuration, or already running; 124 timed out;
130 interrupted
"""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse makes one for each argument that is added, and each would import shutil (4 ms)."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_help_width())


def _help_width() -> int:
    try:
        return int(os.environ.get("COLUMNS") or os.get_terminal_size().columns) - 2
    except (OSError, ValueError):
        return 78


class Verb(NamedTuple):
    """One verb: the module of `cli` and the function that act, what it does, its arguments."""

    home: str
    does: str
    arguments: Callable[[ArgumentParser], None]

    def act(self, name: str) -> Callable[[Namespace], int]:
        """The function that carries it out: (options) -> exit code."""

        def act(options: Namespace) -> int:
            module = import_module(f"supervisor_tree.cli.{self.home}")
            code = getattr(module, name.replace("-", "_"))(options)
            assert isinstance(code, int)
            return code

        return act


def parse(words: Sequence[str]) -> Namespace:
    """The options of one command, with `act` among them.  Exits with 2 for words that are off."""
    verb = _verb_of(words)
    if verb is not None and verb not in VERBS:
        _refuse(verb)
    return build(verb).parse_args(words)


def build(only: str | None = None) -> ArgumentParser:
    """The parser of all verbs, or of one."""
    parser = ArgumentParser(
        prog=PROGRAM,
        description="Erlang/OTP supervision for operating-system processes.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
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


def _refuse(verb: str) -> NoReturn:
    import difflib  # noqa: PLC0415 - only who misspells pays for it

    near = difflib.get_close_matches(verb, VERBS, n=3, cutoff=0.7)
    hint = f"did you mean {' or '.join(near)}?" if near else "the verbs are: " + ", ".join(VERBS)
    print(f"{PROGRAM}: unknown verb '{verb}'; {hint}", file=sys.stderr)
    raise SystemExit(2)


class _Version(argparse.Action):
    """Like argparse's own, which would need the version at every start."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        from supervisor_tree.cli.version import installed_version  # noqa: PLC0415

        print(f"{PROGRAM} {installed_version()}")
        parser.exit()


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


# --- arguments ------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    """`5s`, `250ms`, `2m`, or a bare number of seconds."""
    from supervisor_tree.config.units import parse_duration  # noqa: PLC0415

    try:
        number: float | str = float(text)
    except ValueError:
        number = text
    try:
        return parse_duration(number)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, not {text!r}")
    return int(text)


def _nothing(parser: ArgumentParser) -> None:
    pass


def _config(parser: ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="the YAML file of the host")


def _run(parser: ArgumentParser) -> None:
    _config(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no tree and no events")


def _path(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a child, such as /chat/bot")


def _rows(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", help="a child and all below it")
    parser.add_argument("--all", action="store_true", help="also the host's own children, /_")


def _paths(parser: ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a child or a sub-tree")


def _order(parser: ArgumentParser) -> None:
    _paths(parser)
    _timeout(parser)
    parser.add_argument(
        "--no-wait",
        dest="wait",
        action="store_false",
        help="come back as soon as the host has taken the order",
    )


def _timeout(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=_seconds,
        help="give up after this time (5s, 2m), with exit code 124; the order stands",
    )


def _signal(parser: ArgumentParser) -> None:
    parser.add_argument("signal", metavar="SIGNAL", help="HUP, SIGUSR1, 10, ...")
    _paths(parser)


def _reset_failed(parser: ArgumentParser) -> None:
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", help="a child or a sub-tree; all if left out"
    )
    _timeout(parser)
    parser.set_defaults(wait=True)


def _wait(parser: ArgumentParser) -> None:
    _path(parser)
    parser.add_argument(
        "--for",
        dest="condition",
        choices=("ready", "stopped"),
        default="ready",
        help="what to wait for; a supervisor is ready with all below it (default: ready)",
    )
    _timeout(parser)


def _events(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", help="only of this sub-tree")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as they happen")
    parser.add_argument(
        "--since", metavar="SEQ", type=_count, help="those after the event of this number"
    )
    parser.add_argument("-n", metavar="N", type=_count, dest="count", help="the last N only")


def _logs(parser: ArgumentParser) -> None:
    _path(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on as they are written")
    parser.add_argument("-n", metavar="N", type=_count, dest="count", help="the last N (50)")
    parser.add_argument(
        "--since", metavar="TIME", help="those since 2026-01-31T10:00:00Z, or of the last 10m"
    )
    parser.add_argument("--log-dir", metavar="DIR", help="read here; needs no running host")


def _shutdown(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=_seconds,
        help="what has not stopped after this time is ended by SIGKILL",
    )


def _completion(parser: ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish", "tcsh"))


VERBS: dict[str, Verb] = {
    "run": Verb("hosting", "run a host in the foreground", _run),
    "check": Verb("hosting", "say whether a configuration is right, and all that is not", _config),
    "schema": Verb("hosting", "print the JSON Schema of configuration files", _nothing),
    "status": Verb("looking", "show what every child does", _rows),
    "tree": Verb("looking", "draw the tree", _rows),
    "show": Verb("looking", "show all that is known of one child", _path),
    "start": Verb("steering", "want children up, and wait until they are ready", _order),
    "stop": Verb("steering", "want children down, and wait until they are", _order),
    "restart": Verb("steering", "stop children and start them anew", _order),
    "kill": Verb("steering", "end children by SIGKILL; the restart rules follow", _order),
    "signal": Verb("steering", "send a signal to children", _signal),
    "reset-failed": Verb(
        "steering", "start children that have given up, their counters at 0", _reset_failed
    ),
    "wait": Verb("steering", "wait until a child is ready or stopped", _wait),
    "events": Verb("looking", "show what has happened", _events),
    "logs": Verb("looking", "show what a child has written", _logs),
    "health": Verb("hosting", "exit with 0 if the host is up and its tree ready", _nothing),
    "shutdown": Verb("hosting", "stop the tree in reverse order, and end the host", _shutdown),
    "doctor": Verb("doctor", "look for what is wrong here, and say what to do", _nothing),
    "completion": Verb("hosting", "print a completion script for a shell", _completion),
}
