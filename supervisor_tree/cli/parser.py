"""The verbs and their words.

`VERBS` is the one list: the parser, the overview, completion and the suggestions for a
misspelt verb are made from it (`parsing`).
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from supervisor_tree.cli.arguments import count, report, rows, seconds, stats, top, unit

__all__ = ["VERBS", "Verb"]


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


# --- arguments ------------------------------------------------------------------------------


def _nothing(parser: ArgumentParser) -> None:
    pass


def _config(parser: ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="the YAML file of the host")


def _run(parser: ArgumentParser) -> None:
    _config(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="show no tree and no events")
    parser.add_argument(
        "--no-safe-mode",
        dest="safe_mode",
        action="store_false",
        help="start the tree even if the last lives of the host were cut off",
    )
    parser.add_argument(
        "--stop-limit",
        metavar="TIME",
        type=seconds,
        help="a stop that takes longer becomes one by force (5s, 2m)",
    )


def _path(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a child, such as /chat/bot")


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
    parser.set_defaults(reason=None)


def _amend(parser: ArgumentParser) -> None:
    _order(parser)
    parser.add_argument(
        "--config", metavar="FILE", help="write to the files of this configuration, tell no host"
    )


def _wish(parser: ArgumentParser) -> None:
    _order(parser)
    parser.add_argument(
        "--reason", metavar="TEXT", help="why; remembered with who and when, see `show`"
    )


def _kill(parser: ArgumentParser) -> None:
    _order(parser)
    parser.add_argument("--reason", metavar="TEXT", help="why; told in the host's log")


def _restart(parser: ArgumentParser) -> None:
    _kill(parser)
    parser.add_argument(
        "--fresh", action="store_true", help="with code that is read anew, not that which ran"
    )


def _timeout(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=seconds,
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
    parser.set_defaults(wait=True, reason=None)


def _plan(parser: ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG", nargs="?", help="the YAML file (default: the host's own)"
    )
    parser.add_argument(
        "--reload",
        metavar="PATH",
        action="append",
        help="only this child (id or path; * is all), started anew even if it has not changed",
    )


def _apply(parser: ArgumentParser) -> None:
    _plan(parser)
    parser.add_argument(
        "--rollback",
        action="store_true",
        help="put the old specification of a child back whose new life does not become ready",
    )
    _timeout(parser)
    parser.add_argument(
        "--no-wait",
        dest="wait",
        action="store_false",
        help="come back with the operation's number as soon as it has begun",
    )


def _wait(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", help="a child, such as /chat/bot")
    parser.add_argument(
        "--operation", metavar="N", type=count, help="wait for the end of this operation instead"
    )
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
        "--since", metavar="SEQ", type=count, help="those after the event of this number"
    )
    parser.add_argument("-n", metavar="N", type=count, dest="count", help="the last N only")


def _logs(parser: ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="a child, or a supervisor for all below it; / is the host's own log",
    )
    parser.add_argument("-a", "--all", action="store_true", help="all logs there are")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as they are written")
    parser.add_argument("-n", metavar="N", type=count, dest="count", help="the last N (50)")
    parser.add_argument(
        "--since", metavar="TIME", help="those since 2026-01-31T10:00:00Z, or of the last 10m"
    )
    parser.add_argument("--until", metavar="TIME", help="those before that time")
    parser.add_argument(
        "--stream",
        choices=("stdout", "stderr", "note"),
        help="of this stream only; notes are the logger's own lines",
    )
    parser.add_argument("--grep", metavar="TEXT", help="those with this text in them")
    parser.add_argument("--log-dir", metavar="DIR", help="read here; needs no running host")


def _take_away(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a child or a sub-tree; it must be stopped")
    parser.add_argument(
        "--restart", action="store_true", help="stop it for that, and start it again"
    )


def _shutdown(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=seconds,
        help="what has not stopped after this time is ended by SIGKILL",
    )


def _completion(parser: ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish", "tcsh"))


def _to(parser: ArgumentParser) -> None:
    parser.add_argument("to", metavar="PATH", help="an agent, or pool:CAPABILITY for one of many")
    parser.add_argument("message", metavar="JSON", help="the message; - reads standard input")
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=seconds,
        default=5.0,
        help="give up after this time (500ms, 2m; default 5s), with exit code 124",
    )


def _call(parser: ArgumentParser) -> None:
    _to(parser)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show the traceback of a handler that raised"
    )


def _publish(parser: ArgumentParser) -> None:
    parser.add_argument("topic", metavar="TOPIC", help="words with dots between: orders.paid")
    parser.add_argument("message", metavar="JSON", help="the message; - reads standard input")


def _subscribe(parser: ArgumentParser) -> None:
    parser.add_argument(
        "patterns",
        metavar="PATTERN",
        nargs="+",
        help="a topic; * stands for one word, > for all that follow",
    )
    parser.add_argument("-n", metavar="N", type=count, dest="count", help="end after N events")


def _directory(parser: ArgumentParser) -> None:
    parser.add_argument("--capability", metavar="C", help="only those who have it")


def _dead_letters(parser: ArgumentParser) -> None:
    parser.add_argument(
        "numbers", metavar="NUMBER", nargs="*", type=count, help="show these, with their messages"
    )
    parser.add_argument(
        "--discard", action="store_true", help="delete these; all, if no number is given"
    )


def _bus(parser: ArgumentParser) -> None:
    parser.add_argument("what", choices=("stats",), help="messages of the last 24 h, per agent")
    parser.add_argument("path", metavar="PATH", nargs="?", help="an agent and all below it")


def _keys(parser: ArgumentParser) -> None:
    parser.add_argument("--dir", metavar="DIR", help="where to keep them (default: ./keys)")
    parser.add_argument("--force", action="store_true", help="replace a key that is there")


VERBS: dict[str, Verb] = {
    "run": Verb("hosting", "run a host in the foreground", _run),
    "check": Verb("hosting", "say whether a configuration is right, and all that is not", _config),
    "schema": Verb("hosting", "print the JSON Schema of configuration files", _nothing),
    "status": Verb("looking", "show what every child does", rows),
    "tree": Verb("looking", "draw the tree", rows),
    "show": Verb("showing", "show all that is known of one child", _path),
    "explain": Verb("showing", "say why a child is as it is, and what happens next", _path),
    "stats": Verb("stats", "show what every child uses, all its processes together", stats),
    "top": Verb("stats", "the same again and again, the busiest first, until Ctrl-C", top),
    "start": Verb("steering", "want children up, and wait until they are ready", _wish),
    "stop": Verb("steering", "want children down, and wait until they are", _wish),
    "enable": Verb("wanting", "write `enabled: true` to children's files, and start them", _amend),
    "disable": Verb("wanting", "write `enabled: false` to children's files, and stop them", _amend),
    "restart": Verb("steering", "stop children and start them anew", _restart),
    "kill": Verb("steering", "end children by SIGKILL; the restart rules follow", _kill),
    "signal": Verb("steering", "send a signal to children", _signal),
    "reset-failed": Verb(
        "steering", "start children that have given up, their counters at 0", _reset_failed
    ),
    "wait": Verb("steering", "wait for a child to be ready or stopped, or for an operation", _wait),
    "plan": Verb("changing", "show what `apply` would change, and why", _plan),
    "apply": Verb("changing", "put a changed configuration in force", _apply),
    "operations": Verb(
        "changing", "show the last operations and what has become of them", _nothing
    ),
    "events": Verb("looking", "show what has happened", _events),
    "logs": Verb("looking", "show what children have written", _logs),
    "health": Verb("hosting", "exit with 0 if the host is up and its tree ready", _nothing),
    "shutdown": Verb("hosting", "stop the tree in reverse order, and end the host", _shutdown),
    "call": Verb("speaking", "ask an agent, and print its answer as JSON", _call),
    "cast": Verb("speaking", "send an agent a message, and wait until it is handled", _to),
    "publish": Verb("speaking", "tell all who have subscribed to a topic", _publish),
    "subscribe": Verb("speaking", "print what is published, until Ctrl-C", _subscribe),
    "directory": Verb("bus_state", "show who is on the bus, and what they can do", _directory),
    "dead-letters": Verb(
        "bus_state", "show messages that were given up, or discard them", _dead_letters
    ),
    "bus": Verb("bus_state", "show how many messages each agent sends and gets", _bus),
    "keys": Verb("keys", "make this host's keys for the bus between hosts", _keys),
    "report": Verb("reporting", "list or show diagnostic reports, or write one", report),
    "leaks": Verb("reporting", "show processes that have escaped from their scope", _nothing),
    "unit": Verb("unitfile", "print a systemd unit whose times and limits fit the tree", unit),
    "doctor": Verb("doctor", "look for what is wrong here, and say what to do", _nothing),
    "build": Verb("building", "run the build command of a child, and show its output", _path),
    "clear-memory": Verb(
        "agent_data", "delete what a stopped child keeps from life to life", _take_away
    ),
    "delete-cache": Verb("agent_data", "delete what a stopped child can make again", _take_away),
    "completion": Verb("hosting", "print a completion script for a shell", _completion),
}
