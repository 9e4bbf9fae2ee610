"""Topics, and patterns over topics and paths."""

from __future__ import annotations

import pytest

from supervisor_tree.bus.topics import topic_frame, topic_prefix
from supervisor_tree.core import patterns
from supervisor_tree.core.patterns import (
    check_path_pattern,
    check_topic,
    check_topic_pattern,
    path_matches,
    path_matches_any,
    topic_matches,
    topic_pattern_within,
)


@pytest.mark.parametrize(
    ("pattern", "topic", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.b", "a.bc", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.*.c", "a.x.c", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("*.>", "a", False),
    ],
)
def test_a_star_is_one_word_and_an_arrow_the_rest(pattern, topic, matches):
    assert topic_matches(pattern, topic) is matches


@pytest.mark.parametrize("pattern", ["a.b", "a.*", "*.b", "a.*.c", "a.>", ">", "*.>"])
@pytest.mark.parametrize("topic", ["a", "a.b", "a.bc", "a.b.c", "a.x.c", "b", "ab.c"])
def test_the_subscription_lets_everything_through_that_matches(pattern, topic):
    if topic_matches(pattern, topic):
        assert topic_frame(topic).startswith(topic_prefix(pattern))


def test_a_subscription_without_wildcards_lets_nothing_else_through():
    assert not topic_frame("a.bc").startswith(topic_prefix("a.b"))
    assert not topic_frame("a.b.c").startswith(topic_prefix("a.b"))


@pytest.mark.parametrize("topic", ["", "a..b", ".a", "a.", "a b", "a.\n", "a.*", ">", "x" * 256])
def test_what_cannot_be_a_topic_is_named_in_the_error(topic):
    with pytest.raises(ValueError, match="topic"):
        check_topic(topic)


@pytest.mark.parametrize(
    ("pattern", "why"), [("a.>.b", "last"), ("a.b*", "own"), ("a..b", "empty")]
)
def test_a_pattern_with_a_misplaced_wildcard_is_refused(pattern, why):
    with pytest.raises(ValueError, match=why):
        check_topic_pattern(pattern)


@pytest.mark.parametrize("pattern", ["a.b", "a.*", "*.b", "a.>", ">", "größe.*"])
def test_a_good_pattern_is_returned_as_it_is(pattern):
    assert check_topic_pattern(pattern) == pattern


@pytest.mark.parametrize("topic", ["a", "a.b.c", "größe.x"])
def test_a_good_topic_is_returned_as_it_is(topic):
    assert check_topic(topic) == topic


@pytest.mark.parametrize(
    ("asked", "allowed", "within"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.*", True),
        ("a.*", "a.*", True),
        ("a.*", "a.b", False),
        ("a.>", "a.*", False),
        ("a.>", "a.>", True),
        ("a.b.c", "a.>", True),
        ("a", "a.>", False),
        ("a", "a.b", False),
        ("a.b", "a", False),
        ("b", "a", False),
    ],
)
def test_a_pattern_is_within_another_that_has_all_its_topics(asked, allowed, within):
    assert topic_pattern_within(asked, allowed) is within


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/chat/bot", "/chat/bot", True),
        ("/chat/*", "/chat/bot", True),
        ("/chat/*", "/chat/a/b", False),
        ("/chat/>", "/chat/a/b", True),
        ("/chat/>", "/chat", False),
        ("south:/*", "south:/bot", True),
        ("south:/*", "south:/chat/bot", False),
        ("south:/>", "south:/chat/bot", True),
        ("south:/*", "/bot", False),
        ("south:/*", "north:/bot", False),
        ("/*", "south:/bot", False),
        ("/*/*", "south:/bot", False),
        (">", "south:/bot", True),
        ("/>", "/chat", True),
        ("/>", "/", False),
        (">", "/", True),
        ("/*", "/chat", True),
        ("/", "/", True),
        ("/", "/a", False),
    ],
)
def test_paths_have_the_same_wildcards(pattern, path, matches):
    assert check_path_pattern(pattern) == pattern
    assert path_matches(pattern, path) is matches
    assert path_matches_any(["/nothing", pattern], path) is matches


@pytest.mark.parametrize("pattern", ["", "chat", "/chat/", "//a", "/a*"])
def test_what_cannot_be_a_path_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match=r"pattern|wildcard"):
        check_path_pattern(pattern)


def test_a_wildcard_is_no_word_of_a_topic() -> None:
    with pytest.raises(ValueError, match="belongs into patterns"):
        patterns.check_topic("a.*")


def test_a_pattern_is_within_another_only_if_all_of_its_topics_are() -> None:
    assert not patterns.topic_pattern_within("a.b.c", "a.b")
    assert not patterns.topic_pattern_within("a.>", "a.b")
    assert not patterns.topic_pattern_within("x.b", "a.b")
    assert patterns.topic_pattern_within("a.b.c", "a.>")
