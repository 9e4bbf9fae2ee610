"""Through whom a message goes: the interceptors between a sender and a receiver.

    sender ──► first interceptor ──► ... ──► last interceptor ──► receiver

An interceptor takes what is sent to the paths of its patterns, looks at it, and passes it on in
its sender's name.  Both ends find the way by the same rule from the same table, so that each
knows from whom it must take what, and takes it from nobody else.
"""

from __future__ import annotations

from typing import TypeAlias

from supervisor_tree.core.patterns import path_matches_any

__all__ = ["Interceptors", "comes_from", "goes_to", "way"]

# Path and patterns of each, in the order in which they joined the tree.
Interceptors: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]


def way(interceptors: Interceptors, sender: str, receiver: str) -> tuple[str, ...]:
    """Who handles a message one after the other, from its sender to its receiver.

    What an interceptor says itself to those whom it intercepts goes straight, and so does what
    anybody says to himself.
    """
    between = tuple(
        path
        for path, patterns in interceptors
        if path != receiver and path_matches_any(patterns, receiver)
    )
    if sender == receiver or sender in between:
        between = ()
    return (sender, *between, receiver)


def goes_to(interceptors: Interceptors, sender: str, receiver: str, me: str) -> str:
    """To whom I send it; "" if I have no part in it."""
    stations = way(interceptors, sender, receiver)
    if me not in stations[:-1]:
        return ""
    return stations[stations.index(me) + 1]


def comes_from(interceptors: Interceptors, sender: str, receiver: str, me: str) -> str:
    """From whom I take it; "" if I have no part in it."""
    stations = way(interceptors, sender, receiver)
    if me not in stations[1:]:
        return ""
    return stations[stations.index(me, 1) - 1]
