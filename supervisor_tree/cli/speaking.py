"""Verbs that speak on the bus: call cast publish subscribe.

The command becomes a member of the bus for its while; messages do not pass through the root.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from supervisor_tree.bus.blocking import BlockingBus
from supervisor_tree.bus.codec import pack
from supervisor_tree.bus.herald import announce
from supervisor_tree.bus.inbasket import Published
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.subscriptions import Gap
from supervisor_tree.bus.table import MemberTable
from supervisor_tree.cli.connecting import connect, note
from supervisor_tree.cli.jsonwords import plain, read_message
from supervisor_tree.cli.output import dump, say
from supervisor_tree.control.bus_client import join_bus
from supervisor_tree.control.client import ControlClient, host_answers
from supervisor_tree.control.words import clean
from supervisor_tree.errors import (
    NotAllowed,
    OperationFailed,
    RemoteError,
    TimedOut,
    UsageError,
)

__all__ = ["call", "cast", "publish", "subscribe"]

_EXCHANGE_S = 5.0  # for the exchange to answer, should it be between two lives
_LOOK_S = 1.0  # between two looks whether the host of a silent topic is still there


def call(options: Namespace) -> int:
    """`call PATH JSON`: prints the answer as JSON."""
    request = _message(options)
    with _on_the_bus(options) as bus:
        try:
            answer = bus.call(options.to, request, options.timeout)
        except RemoteError as error:
            if options.verbose and not options.json:
                print(_clean_lines(error.text), file=sys.stderr)
            advice = "" if options.verbose or options.json else "; `-v` shows where"
            error.args = (f"{options.to} has raised {error}{advice}",)
            raise
    dump(plain(answer))
    return 0


def cast(options: Namespace) -> int:
    """`cast PATH JSON`: returns when it has been handled, with 124 if that takes too long."""
    message = _message(options)
    with _on_the_bus(options) as bus:
        bus.cast(options.to, message)
        handled = bus.flush(options.timeout)
        counted = bus.stats()
    if counted.get("dead_letters"):
        raise OperationFailed(f"{options.to}: given up as a dead letter; see `dead-letters`")
    if counted.get("lost_with_receiver"):
        raise OperationFailed(f"{options.to} has left the tree; the message is lost")
    if not handled:
        raise TimedOut(
            f"{options.to} has not handled it within {options.timeout:g} s; it may still do so "
            "if it has received it, else the message ends with this command"
        )
    say(options, {"to": options.to, "handled": True}, [f"{options.to}: handled"])
    return 0


def publish(options: Namespace) -> int:
    """`publish TOPIC JSON`"""
    message = _message(options)
    with connect(options) as client:
        answer = client.request("bus_attach", {})
        me = Sender(str(answer["path"]), int(answer["generation"]))
        try:
            if not _may_publish(client, me, options.topic):
                raise NotAllowed(f"{me.path} may not publish on {options.topic}")
            heard = announce(client.run_dir, me, options.topic, message, _EXCHANGE_S)
        except ValueError as error:
            raise UsageError(str(error)) from None
    words = "published" if heard else "published; nobody has subscribed to it"
    say(options, {"topic": options.topic, "subscribed": heard}, [f"{options.topic}: {words}"])
    return 0


def _may_publish(client: ControlClient, me: Sender, topic: str) -> bool:
    table = MemberTable(client.run_dir)
    try:
        member = table.member(me.path)
    finally:
        table.close()
    return member is not None and member.acl.allows_publish(topic)


def subscribe(options: Namespace) -> int:
    """`subscribe PATTERN...`: until interrupted, after `-n N` events, or when the host ends."""
    left = options.count
    with connect(options) as client, _member(client) as bus:
        try:
            for pattern in options.patterns:
                bus.subscribe(pattern)
        except ValueError as error:
            raise UsageError(str(error)) from None
        while left is None or left > 0:
            came = _next(bus, client)
            if came is None:
                note("the host has ended")
                return 0
            _show(came, options)
            if left is not None and isinstance(came, Published):
                left -= 1
    return 0


def _next(bus: BlockingBus, client: ControlClient) -> Any:
    """What comes next; None when the host has ended."""
    while True:
        try:
            return bus.receive(_LOOK_S)
        except TimedOut:
            if not host_answers(client.run_dir):
                return None


def _show(came: Any, options: Namespace) -> None:
    match came:
        case Published(topic, message):
            value = plain(message)
            facts = {"topic": topic, "message": value}
            words = f"{clean(topic)} {json.dumps(value, ensure_ascii=False)}"
        case Gap(topic, publisher, generation, lost):
            facts = {"topic": topic, "lost": lost}
            facts |= {"publisher": publisher, "generation": generation}
            words = f"{clean(topic)} ... {lost} of {clean(publisher)} #{generation} were lost"
        case _:
            return
    if options.json:
        dump(facts, line=True)
    else:
        print(clean(words), flush=True)


def _message(options: Namespace) -> Any:
    """What the user has given, if it can be sent.  Raises UsageError."""
    message = read_message(options.message)
    try:
        pack(message)
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"this cannot be sent: {error}") from None
    return message


@contextmanager
def _on_the_bus(options: Namespace) -> Iterator[BlockingBus]:
    with connect(options) as client, _member(client) as bus:
        yield bus


def _member(client: ControlClient) -> BlockingBus:
    ask: Callable[..., Any] = client.request
    return join_bus(client.run_dir, ask)


def _clean_lines(text: str) -> str:
    """Somebody else's lines, which are to do nothing to the terminal."""
    return "\n".join(clean(line) for line in text.splitlines())
