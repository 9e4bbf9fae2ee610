from __future__ import annotations

import pytest

import supervisor_tree
from supervisor_tree.agents import Agent, agent
from supervisor_tree.core import specs


def test_public_names_are_sorted_and_each_has_a_home() -> None:
    names = supervisor_tree.__all__
    assert names == sorted(set(names))
    homes = {name for names in supervisor_tree._HOMES.values() for name in names}
    assert homes < set(names)


def test_names_load_when_they_are_asked_for() -> None:
    vars(supervisor_tree).pop("Agent", None)
    assert supervisor_tree.Agent is Agent
    assert supervisor_tree.ChildSpec is specs.ChildSpec
    assert supervisor_tree.NoHost.exit_code == 69
    assert supervisor_tree.Ignore is agent.Ignore


def test_a_misspelt_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Agnet'"):
        _ = supervisor_tree.Agnet  # type: ignore[attr-defined]


def test_dir_shows_all_public_names() -> None:
    assert set(supervisor_tree.__all__) <= set(dir(supervisor_tree))


def test_an_agent_as_it_stands_answers_no_calls_and_minds_nothing_else() -> None:
    plain = Agent()
    with pytest.raises(NotImplementedError, match="Agent answers no calls"):
        plain.handle_call({}, None)
    assert plain.handle_cast({}, None) is None
    assert plain.handle_event("a.b", {}) is None
    assert plain.handle_info(None) is None
    assert plain.terminate("normal") is None
