"""The way of a message through interceptors: both ends must find the same one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree.bus.ways import comes_from, goes_to, way

GUARDS = (("/a", ("/chat/>",)), ("/b", (">",)))


@pytest.mark.parametrize(
    ("sender", "receiver", "stations"),
    [
        ("/s", "/chat/bot", ("/s", "/a", "/b", "/chat/bot")),
        ("/s", "/other", ("/s", "/b", "/other")),
        ("/s", "/a", ("/s", "/b", "/a")),
        ("/s", "/b", ("/s", "/b")),
        ("/b", "/chat/bot", ("/b", "/chat/bot")),
        ("/a", "/chat/bot", ("/a", "/chat/bot")),
        ("/a", "/other", ("/a", "/b", "/other")),
        ("/s", "/s", ("/s", "/s")),
    ],
)
def test_a_message_meets_whoever_intercepts_its_receiver_in_order(sender, receiver, stations):
    assert way(GUARDS, sender, receiver) == stations


def test_who_has_no_part_in_it_has_no_next_and_no_last():
    assert goes_to(GUARDS, "/s", "/other", "/a") == ""
    assert comes_from(GUARDS, "/s", "/other", "/s") == ""


PATHS = st.sampled_from(["/a", "/b", "/c", "/d/e", "/d/f"])
PATTERNS = st.sampled_from([">", "/*", "/d/>", "/a", "/d/e"])
TABLES = st.dictionaries(PATHS, st.lists(PATTERNS, min_size=1, max_size=2).map(tuple)).map(
    lambda found: tuple(found.items())
)


@given(TABLES, PATHS, PATHS)
def test_following_the_next_leads_to_the_receiver_and_each_expects_the_one_before(
    table, sender, receiver
):
    at, stations = sender, [sender]
    while at != receiver or len(stations) == 1:
        following = goes_to(table, sender, receiver, at)
        assert comes_from(table, sender, receiver, following) == at
        at = following
        stations.append(at)
    assert tuple(stations) == way(table, sender, receiver)
    assert len(set(stations[1:])) == len(stations) - 1
