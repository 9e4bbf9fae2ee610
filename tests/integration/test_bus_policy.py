"""Who may do what on the bus of a real tree: the policy, from the configuration to the refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import supervisor_tree
from supervisor_tree.embed import RunningTree
from supervisor_tree.errors import NotAllowed

HERE = "tests.integration.talkers"


def talker(id: str, name: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "agent": f"{HERE}:{name}", **more}


@pytest.fixture
def start() -> Iterator[Callable[..., RunningTree]]:
    trees: list[RunningTree] = []

    def start(*children: dict[str, Any], **host: Any) -> RunningTree:
        trees.append(supervisor_tree.run({"host": host, "tree": {"children": list(children)}}))
        return trees[-1]

    yield start
    for tree in trees:
        tree.close()


def group(id: str, *children: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "supervisor": {"children": list(children)}}


def refused(tree: RunningTree, by: str, to: str) -> bool:
    try:
        tree.call(by, [to, "hello"])
    except NotAllowed:  # what the agent was told itself
        return True
    return False


def test_the_policy_of_the_host_holds_and_the_agents_own_words_go_before_it(start) -> None:
    guest = talker("a", "Asking")
    favourite = talker("b", "Asking", acl={"may_call": ["/echo", "/lobby"]})
    tree = start(
        talker("echo", "Echo"),
        talker("lobby", "Echo"),
        talker("local", "Asking"),
        group("guests", guest, favourite),
        policy=[{"agents": "/guests/>", "may_call": ["/lobby"]}, {"agents": ">"}],
    )
    refusals = {
        (by, to)
        for by in ("/local", "/guests/a", "/guests/b")
        for to in ("/echo", "/lobby")
        if refused(tree, by, to)
    }
    assert refusals == {("/guests/a", "/echo")}


def test_a_rule_that_names_clients_confines_them(start) -> None:
    rules = [{"agents": "/_/clients/*", "may_call": ["/lobby"]}]
    tree = start(talker("echo", "Echo"), talker("lobby", "Echo"), policy=rules)
    assert tree.call("/lobby", 1) == 1
    with pytest.raises(NotAllowed):
        tree.call("/echo", 1)
    tree.cast("/echo", 1)
