"""The directory that is told what it knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from supervisor_tree.bus.directory import (
    Change,
    Down,
    Joined,
    Left,
    Member,
    MemoryDirectory,
)
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.core.specs import Acl

BOT = Member(path="/bot", generation=1, pid=100)


def test_a_process_is_known_until_the_next_life_of_its_agent():
    directory = MemoryDirectory([BOT])
    directory.apply(Down("/bot", 1, "killed"))
    assert directory.member("/bot") == replace(BOT, pid=None)
    assert directory.identify(100) == Sender("/bot", 1)
    directory.apply(Joined(replace(BOT, generation=2, pid=101)))
    assert directory.identify(100) is None
    assert directory.identify(101) == Sender("/bot", 2)


def test_the_end_of_an_older_life_does_not_end_the_present_one():
    directory = MemoryDirectory([replace(BOT, generation=2, pid=101)])
    directory.apply(Down("/bot", 1, "killed"))
    member = directory.member("/bot")
    assert member is not None
    assert member.pid == 101


def test_a_member_that_has_left_is_forgotten_and_watchers_are_told():
    directory = MemoryDirectory([BOT])
    seen: list[Change] = []
    unwatch = directory.watch(seen.append)
    directory.apply(Left("/bot"))
    unwatch()
    directory.apply(Joined(BOT))
    assert seen == [Left("/bot")]
    assert directory.members() == [BOT]


@pytest.mark.parametrize(
    ("allowed", "asked", "answer"),
    [
        ((">",), ">", True),
        (("a.>",), "a.b", True),
        (("a.>",), "a.*", True),
        (("a.>",), "a.>", True),
        (("a.>",), ">", False),
        (("a.*",), "a.>", False),
        ((), "a", False),
    ],
)
def test_a_subscription_may_ask_for_no_more_than_the_policy_shows(allowed, asked, answer):
    assert Acl(may_subscribe=allowed).allows_subscribe(asked) is answer
