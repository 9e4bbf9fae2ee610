"""Whatever a file holds, `load` answers with a Config or a ConfigError."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from supervisor_tree.config import from_data
from supervisor_tree.config.document import READINGS
from supervisor_tree.config.source import parse
from supervisor_tree.config.units import format_duration, format_size, parse_duration, parse_size
from supervisor_tree.core.checks import check_supervisor
from supervisor_tree.core.needs import find_cycle
from supervisor_tree.core.problems import problems_of_tree
from supervisor_tree.core.specdata import to_data
from supervisor_tree.core.specs import SupervisorSpec
from supervisor_tree.core.values import LONGEST_S, shown
from supervisor_tree.errors import ConfigError

KEYS = [
    *("version", "host", "defaults", "tree", "name", "preload", "logs", "http", "listen"),
    *("children", "child", "strategy", "intensity", "period", "auto_shutdown", "start", "id"),
    *("agent", "command", "supervisor", "args", "restart", "shutdown", "significant", "needs"),
    *("condition", "backoff", "initial", "max", "jitter", "env", "limits", "as", "nofile"),
    *("umask", "stop_signal", "warm", "enabled", "type", "<<", "cwd", "start_timeout"),
    *("ready", "tcp", "log", "delay", "watchdog", "idle", "busy"),
]
WORDS = [
    *("one_for_all", "simple_one_for_one", "m:C", "a", "b", "/a", "5s", "infinity", "1 MB"),
    *("permanent", "temporary", "yes", "012", "SIGINT", "concurrent", "any_significant", ""),
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=5)
)
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=40,
)


def child(ids: st.SearchStrategy[str], inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nearly right: the interesting mistakes are those inside a plausible tree."""
    names = st.sampled_from(["a", "b", "c", "/a", "/b/c", "nobody"])
    return st.fixed_dictionaries(
        {"id": ids},
        optional={
            "agent": st.just("m:C"),
            "command": st.just(["x"]) | LEAVES,
            "supervisor": inner,
            "needs": st.lists(names, max_size=2),
            "restart": st.sampled_from(["transient", "permanent", "always"]),
            "significant": st.booleans(),
            "backoff": st.just({"initial": "1h"}) | LEAVES,
        },
    )


SUPERVISORS: st.SearchStrategy[Any] = st.recursive(
    st.just({}),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "children": st.lists(child(st.sampled_from("abc"), inner), max_size=3),
            "child": child(st.just("t"), inner),
            "strategy": st.sampled_from(["one_for_one", "rest_for_one", "simple_one_for_one"]),
            "start": st.sampled_from(["sequential", "concurrent"]),
            "auto_shutdown": st.sampled_from(["never", "any_significant"]),
        },
    ),
    max_leaves=8,
)


def answer(build: Callable[[], Any]) -> Any:
    """The config, or None if it was refused with problems that can be shown."""
    try:
        return build()
    except ConfigError as error:
        problems = error.problems
    assert problems
    assert all(problem.message and "\n" not in str(problem) for problem in problems)
    return None


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(DATA | st.fixed_dictionaries({"tree": DATA}))
@example({"tree": {"children": [{1: 2, "id": "a"}]}})
def test_any_data_is_a_config_or_a_config_error(data: Any) -> None:
    answer(lambda: from_data(data))


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(SUPERVISORS)
def test_a_tree_that_is_accepted_is_one_that_the_core_can_start(tree: Any) -> None:
    config = answer(lambda: from_data({"tree": tree}))
    if config is not None:
        assert problems_of_tree(config.tree) == []
        assert problems_of_tree(to_data(config.tree)) == []
        assert find_cycle(config.tree) is None
        assert all(check_supervisor(spec) is None for spec in supervisors(config.tree))


def supervisors(tree: SupervisorSpec) -> list[SupervisorSpec]:
    inner = [child.supervisor for child in tree.children if child.supervisor is not None]
    return [tree, *(found for spec in inner for found in supervisors(spec))]


@settings(max_examples=300)
@given(st.text() | st.text(alphabet="ab:- \n\t[]{}&*!|>'\"#%?,0_~<", max_size=60) | st.binary())
@example("a: &a [*a]")
@example("? {a: b}\n: c")
@example("{<<: {<<: {a: 1}}}")
@example("- !!binary x")
@example('{"a\\nb": 1}')
@example("&a &b c")
@example("%TAG ! tag:x,2000:\n---\n!a b")
def test_any_text_is_data_or_a_config_error(text: str | bytes) -> None:
    content = text.encode() if isinstance(text, str) else text
    source = answer(lambda: parse(content, "f.yaml", READINGS))
    if source is not None and not source.problems:
        answer(lambda: from_data(source.data))


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(DATA.filter(lambda data: isinstance(data, dict)))
def test_what_a_writer_of_yaml_writes_has_a_place_for_every_value(data: Any) -> None:
    content = yaml.safe_dump(data, allow_unicode=True).encode()
    source = answer(lambda: parse(content, "f.yaml", READINGS))
    if source is not None:
        assert source.line(()) > 0


@given(st.integers(0, 10**9).map(lambda ms: ms / 1000) | st.floats(0, LONGEST_S))
@example(math.inf)
def test_a_duration_survives_being_written(seconds: float) -> None:
    assert parse_duration(format_duration(seconds), infinity=True) == seconds


@given(st.integers(0, 2**62))
def test_a_size_survives_being_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(DATA)
def test_any_value_is_shown_in_one_short_line(value: Any) -> None:
    assert "\n" not in shown(value)
    assert len(shown(value)) <= 60
