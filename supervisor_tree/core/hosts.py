"""Other hosts: what they are called, how their agents are addressed, what they may do here.

An agent of another host has that host's name before its path: `other:/chat/bot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supervisor_tree.core.specs import Acl

__all__ = ["GATEWAY", "Links", "Peer", "host_of", "links_from_data", "seat_of"]

GATEWAY = "/_/gateway"  # who carries what goes to other hosts and comes from them


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another host, as this one knows it.

    `key` is its public CURVE key in Z85.  Without an `address` we only wait for it to connect.
    What `may_call` and `may_cast` do not name, its agents may not do here.
    """

    name: str
    key: str
    address: str | None = None
    may_call: tuple[str, ...] = ()
    may_cast: tuple[str, ...] = ()

    @property
    def acl(self) -> Acl:
        """As the receivers of this host apply it."""
        return Acl(may_call=self.may_call, may_cast=self.may_cast, may_publish=(), may_subscribe=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """This host's way to others: the file of its secret key, where it listens, and its peers."""

    key: str
    listen: str | None = None
    peers: tuple[Peer, ...] = ()


def links_from_data(data: Mapping[str, Any]) -> Links:
    """From what `dataclasses.asdict` and msgpack have made of it."""
    peers = []
    for peer in data["peers"]:
        rights = {right: tuple(peer[right]) for right in ("may_call", "may_cast")}
        peers.append(Peer(**dict(peer) | rights))
    return Links(key=data["key"], listen=data["listen"], peers=tuple(peers))


def host_of(path: str) -> str | None:
    """The name of the other host that a path belongs to; None for a path of this one."""
    host, colon, rest = path.partition(":")
    return host if colon and rest.startswith("/") and "/" not in host else None


def seat_of(host: str) -> str:
    """What stands for a whole host where members are listed."""
    return f"{host}:"
