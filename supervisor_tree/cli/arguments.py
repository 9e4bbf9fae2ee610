"""Arguments of the verbs that look, and how a time and a number are read."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser

__all__ = ["count", "report", "rows", "seconds", "stats", "top", "unit"]


def rows(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", help="a child and all below it")
    parser.add_argument("--all", action="store_true", help="also the host's own children, /_")


def seconds(text: str) -> float:
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


def count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, not {text!r}")
    return int(text)


def stats(parser: ArgumentParser) -> None:
    rows(parser)
    parser.add_argument(
        "--pss", action="store_true", help="also memory with what is shared counted once (slower)"
    )


def top(parser: ArgumentParser) -> None:
    stats(parser)
    parser.add_argument(
        "--interval", metavar="TIME", type=seconds, default=2.0, help="between looks (2s)"
    )
    parser.add_argument("-n", metavar="N", type=count, dest="count", help="end after N looks")


def report(parser: ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="of a report or a part of it, or a child's path"
    )
    parser.add_argument("--now", action="store_true", help="write one about the running host")
    parser.add_argument("--dir", metavar="DIR", help="read here; needs no running host")


def unit(parser: ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG", nargs="?", help="the YAML file; default: the running host's"
    )
    parser.add_argument("--user", action="store_true", help="for systemd --user")
