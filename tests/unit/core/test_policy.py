"""What one policy comes to for one agent."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from supervisor_tree.core.policy import PolicyRule, resolve, rule_from_data
from supervisor_tree.core.specs import Acl

GUESTS = PolicyRule(agents="/guests/>", acl=Acl(may_call=("/lobby",), may_cast=()))
ALL = PolicyRule(agents=">", acl=Acl(may_publish=("a.>",)))
SILENT = Acl()


def test_nothing_said_is_everything_allowed():
    acl = resolve((), "/a", SILENT)
    assert acl.allows_call("/b")
    assert acl.allows_cast("/")
    assert acl.allows_publish("x")
    assert acl.allows_subscribe(">")


def test_an_empty_list_allows_nothing():
    nothing = Acl(may_call=(), may_cast=(), may_publish=(), may_subscribe=())
    assert not nothing.allows_call("/b")
    assert not nothing.allows_cast("/b")
    assert not nothing.allows_publish("x")
    assert not nothing.allows_subscribe("x")


@pytest.mark.parametrize(
    ("path", "acl"),
    [
        ("/guests/a", GUESTS.acl),
        ("/guests/a/b", GUESTS.acl),
        ("/guests", ALL.acl),
        ("/_/clients/1-1", SILENT),
    ],
)
def test_the_first_rule_that_has_the_path_is_in_force_and_only_that(path, acl):
    assert resolve((GUESTS, ALL), path, SILENT) == acl


def test_what_an_agent_says_itself_goes_before_the_rule_key_by_key():
    own = Acl(may_call=("/x",), may_subscribe=())
    assert resolve((GUESTS,), "/guests/a", own) == Acl(
        may_call=("/x",), may_cast=(), may_subscribe=()
    )


def test_clients_from_outside_are_named_on_purpose_or_not_at_all():
    rule = PolicyRule(agents="/_/clients/>", acl=Acl(may_cast=()))
    assert resolve((ALL, rule), "/_/clients/1-1", SILENT) == rule.acl
    assert resolve((rule,), "/a", SILENT) == SILENT


def test_a_rule_survives_the_way_to_the_root():
    for rule in (GUESTS, ALL):
        assert rule_from_data(asdict(rule)) == rule
