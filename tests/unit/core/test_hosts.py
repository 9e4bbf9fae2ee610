"""Other hosts: their names, and what they may do here."""

from __future__ import annotations

from dataclasses import asdict

import msgpack
import pytest

from supervisor_tree.core.hosts import Links, Peer, host_of, links_from_data, seat_of

PEER = Peer(name="other", key="k", address="tcp://a:1", may_call=("/a",), may_cast=())


def test_links_survive_the_way_to_the_root() -> None:
    links = Links(key="secret", listen="tcp://b:2", peers=(PEER,))
    assert links_from_data(msgpack.unpackb(msgpack.packb(asdict(links)))) == links


def test_a_peer_may_do_what_is_named_and_no_more() -> None:
    assert PEER.acl.may_call == ("/a",)
    assert PEER.acl.may_cast == PEER.acl.may_publish == PEER.acl.may_subscribe == ()


@pytest.mark.parametrize(
    ("path", "host"),
    [("other:/a", "other"), ("/a", None), ("/a:/b", None), ("other:a", None), ("other", None)],
)
def test_the_host_is_what_stands_before_the_path(path: str, host: str | None) -> None:
    assert host_of(path) == host


def test_a_host_has_a_seat_that_is_no_path() -> None:
    assert seat_of("other") == "other:"
