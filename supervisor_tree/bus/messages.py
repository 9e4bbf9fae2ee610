"""What travels between two agents, and over the exchange, as data.

Between a sender and an inbox:

    sender -> inbox   Hello, Cast, Skip, Call,       inbox -> sender   Welcome, Refused, Ack,
                      Bye                                              Reply, Failure

A sender says Hello first, and after every interruption; nothing else is taken before it.
Welcome tells it which generation it has met, how far that has come, and how much it may send.
Over the exchange go Event and Tally.

The fields of each are in the order of the wire; those with a default may be left out there.
`payload` is the packed user's message, looked into by nobody but the receiver's handler.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = [
    "Ack",
    "Bye",
    "Call",
    "Cast",
    "Event",
    "Failure",
    "Hello",
    "Message",
    "Refused",
    "Reply",
    "Skip",
    "Tally",
    "Welcome",
]


class Hello(NamedTuple):
    """I am generation `generation` of `path`; my oldest cast that is not acknowledged is `base`.

    Path and generation are a claim: the receiver compares them with the kernel's word.  `to` is
    for whom the casts and calls are that follow, if not for the one who is spoken to; they are
    those of generation `of_generation` of `of`, if not one's own (`bus.ways`).  `asked`: calls
    that are not answered; an answer that is known already may have been lost.
    """

    path: str
    generation: int
    base: int
    to: str = ""
    of: str = ""
    of_generation: int = 0
    asked: tuple[int, ...] = ()


class Welcome(NamedTuple):
    """You have met `generation`.

    It is done with your casts up to `handled` and has got those up to `received`; you may
    send up to `credit`.  `interrupted` is [(seq, deaths)]: casts of yours during whose
    handling so many generations have died.  `called`: your calls up to this id have arrived.
    """

    generation: int
    handled: int
    received: int
    credit: int
    interrupted: tuple[tuple[int, int], ...] = ()
    called: int = 0


class Refused(NamedTuple):
    """Not heard.

    `reason`: "hello" (say it first), "unknown" (try again), "forged", "way" (others stand between
    us, or no longer do: look again); and of a gateway, "nobody" (there is no such receiver),
    "down" (it does not run now), "unreachable" (its host is not).
    """

    reason: str


class Cast(NamedTuple):
    """A one-way message, number `seq` of its sender to this receiver, counted from 1.

    `redelivered`: an earlier generation may have handled it.
    """

    seq: int
    payload: bytes
    trace: str = ""
    redelivered: bool = False


class Skip(NamedTuple):
    """There is no cast `seq` any more (it has become a dead letter); go on behind it."""

    seq: int


class Ack(NamedTuple):
    """`generation` is done with your casts up to `handled`; you may send up to `credit`."""

    generation: int
    handled: int
    credit: int


class Call(NamedTuple):
    """A request; `id` is the caller's own number of it, greater than those before."""

    id: int
    payload: bytes
    trace: str = ""


class Reply(NamedTuple):
    """The answer to call `id`."""

    id: int
    payload: bytes


class Failure(NamedTuple):
    """Call `id` has failed: the error's type, its message, its traceback as text."""

    id: int
    type: str
    message: str
    text: str = ""


class Bye(NamedTuple):
    """I shall say nothing more: of a sender whose end the receiver cannot see by itself."""


class Event(NamedTuple):
    """Number `seq` (from 1) of what this generation of `path` has published on `topic`."""

    path: str
    generation: int
    topic: str
    seq: int
    payload: bytes
    trace: str = ""


class Tally(NamedTuple):
    """`seq` is the last of this publisher's events on `topic` so far."""

    path: str
    generation: int
    topic: str
    seq: int


Message: TypeAlias = (
    Hello | Welcome | Refused | Cast | Skip | Ack | Call | Reply | Failure | Event | Tally | Bye
)
