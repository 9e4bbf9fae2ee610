"""What has to change so that one tree becomes another."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from supervisor_tree.core.diff import (
    ASKED,
    IN_PLACE,
    ChangeAction,
    diff,
    drift_between,
)
from supervisor_tree.core.specs import (
    Backoff,
    ChildSpec,
    Need,
    Reload,
    StartMode,
    Strategy,
    SupervisorSpec,
)


def agent(id: str, **said: Any) -> ChildSpec:
    return ChildSpec(id=id, agent="a:b", **said)


def tree(*children: ChildSpec, **flags: Any) -> SupervisorSpec:
    return SupervisorSpec(children=children, **flags)


def told(old: SupervisorSpec, new: SupervisorSpec, drift: Any = (), **more: Any) -> list[str]:
    """Each change in one line."""
    changes = diff(old, new, dict(drift), **more)
    return [f"{change.action} {change.path}: {'; '.join(change.why)}" for change in changes]


def test_equal_trees_have_no_difference():
    spec = tree(agent("a", args={"x": [1]}), agent("b", env={"K": "v"}), intensity=5)
    same = tree(agent("a", args={"x": [1]}), agent("b", env={"K": "v"}), intensity=5)
    assert told(spec, same) == []


def test_what_goes_is_stopped_first_and_in_reverse_order():
    old = tree(agent("a"), agent("b"), agent("c"))
    assert told(old, tree(agent("new"), agent("c"))) == [
        "stop /b: removed",
        "stop /a: removed",
        "create /new: new",
    ]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("agent", "a:c", "agent a:b -> a:c"),
        ("args", {"k": 1}, "args k added"),
        ("cwd", "/srv", "cwd (default) -> /srv"),
        ("user", "me", "user (default) -> me"),
        ("umask", 18, "umask (default) -> 18"),
        ("env_file", "/e", "env_file (default) -> /e"),
        ("type", "robot", "type agent -> robot"),
    ],
)
def test_what_makes_the_process_needs_a_new_life(key, value, why):
    assert told(tree(agent("a")), tree(replace(agent("a"), **{key: value}))) == [
        f"restart /a: {why}"
    ]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("restart", "transient", "restart permanent -> transient"),
        ("shutdown", 2.0, "shutdown (default) -> 2 s"),
        ("start_timeout", None, "start_timeout 60 s -> (default)"),
        ("backoff", Backoff(), "backoff changed"),
        ("needs", (Need(child="b"),), "needs changed"),
        ("description", "words", "description changed"),
        ("capabilities", ("talk",), "capabilities changed"),
        ("stop_signal", "SIGINT", "stop_signal SIGTERM -> SIGINT, from its next life"),
    ],
)
def test_what_the_rules_alone_look_at_is_put_in_force_in_place(key, value, why):
    assert told(tree(agent("a")), tree(replace(agent("a"), **{key: value}))) == [
        f"update /a: {why}"
    ]


def test_every_key_that_is_put_in_force_in_place_is_one_of_a_child():
    assert {each.name for each in fields(ChildSpec)} >= IN_PLACE


def test_values_that_may_be_secrets_are_not_shown():
    old = tree(agent("a", env={"TOKEN": "old", "GONE": "x", "K": "v"}, args={"password": "1"}))
    new = tree(agent("a", env={"TOKEN": "new", "MORE": "y", "K": "v"}, args={"password": "2"}))
    (line,) = told(old, new)
    assert line == (
        "restart /a: args password changed; env TOKEN changed; env GONE removed; env MORE added"
    )
    program = ChildSpec(id="p", command=("run", "--password", "1"))
    other = replace(program, command=("run", "--password", "2"))
    assert told(tree(program), tree(other)) == ["restart /p: command changed"]


def test_only_those_that_have_left_the_order_are_moved():
    old = tree(*(agent(name) for name in "abcde"))
    new = tree(*(agent(name) for name in "eabcd"))
    assert told(old, new) == ["move /e: another place among its siblings"]
    assert told(new, tree(*(agent(name) for name in "abcdnew"))) == [
        "create /n: new",
        "move /e: another place among its siblings",
        "create /w: new",
    ]


def test_a_change_of_a_moved_child_is_told_once_with_both_reasons():
    old = tree(agent("a"), agent("b"))
    new = tree(agent("b", user="me"), agent("a"))
    assert told(old, new)[0].startswith("restart /b: user (default) -> me")


def test_a_child_that_has_changed_its_supervisor_stops_here_and_is_created_there():
    inner = ChildSpec(id="s", supervisor=tree())
    full = ChildSpec(id="s", supervisor=tree(agent("a")))
    assert told(tree(agent("a"), inner), tree(full)) == [
        "stop /a: removed",
        "create /s/a: new",
    ]


def test_a_child_of_another_kind_is_started_anew():
    nested = ChildSpec(id="a", supervisor=tree(agent("x")))
    assert told(tree(agent("a")), tree(nested)) == [
        "restart /a: agent a:b -> (default); supervisor changed"
    ]
    assert told(tree(nested), tree(agent("a"))) == [
        "restart /a: agent (default) -> a:b; supervisor changed"
    ]


def test_the_flags_of_a_supervisor_are_put_in_force_in_place():
    old = tree(ChildSpec(id="s", supervisor=tree(agent("x"))))
    new = tree(ChildSpec(id="s", supervisor=tree(agent("x"), intensity=9)), period=9.0)
    assert told(old, new) == ["update /: period 5 s -> 9 s", "update /s: intensity 3 -> 9"]


def test_a_supervisor_of_another_shape_is_started_anew_and_nothing_below_it_by_itself():
    old = tree(ChildSpec(id="s", supervisor=tree(agent("x"))))
    shape = tree(agent("x", user="me"), agent("y"), start=StartMode.CONCURRENT)
    new = tree(ChildSpec(id="s", supervisor=shape))
    assert told(old, new) == ["restart /s: start sequential -> concurrent"]


def test_the_shape_of_the_top_is_told_and_nothing_else():
    old, new = tree(agent("a")), tree(agent("b"), start=StartMode.CONCURRENT)
    (change,) = diff(old, new, {})
    assert (change.path, change.action) == ("/", ChangeAction.RESTART)


def test_enabling_creates_and_disabling_stops():
    on, off = tree(agent("a")), tree(agent("a", enabled=False))
    assert told(off, on) == ["create /a: enabled"]
    assert told(on, off) == ["stop /a: disabled"]
    assert told(off, off) == []


def test_a_changed_file_is_a_signal_only_where_one_is_named():
    spec = tree(agent("a", reload=Reload(files=("/f",), signal="SIGHUP")), agent("b"))
    drift = {"/a": ("file /f",), "/b": ("file /f",)}
    assert told(spec, spec, drift) == ["signal /a: file /f changed", "restart /b: file /f changed"]
    both = {"/a": ("file /f", "code")}
    assert told(spec, spec, both) == ["restart /a: code changed; file /f changed"]


def test_who_is_asked_for_is_started_anew():
    assert told(tree(agent("a")), tree(agent("a")), {"/a": (ASKED,)}) == ["restart /a: asked for"]


def test_instances_are_compared_with_their_template_one_by_one():
    def workers(**said: Any) -> SupervisorSpec:
        return tree(strategy=Strategy.SIMPLE_ONE_FOR_ONE, child=agent("w", **said))

    old = tree(ChildSpec(id="s", supervisor=workers()))
    new = tree(ChildSpec(id="s", supervisor=workers(user="me")))
    there = {"one": agent("w"), "two": agent("w", user="me")}
    lines = told(old, new, instances=lambda path: there if path == "/s" else {})
    assert lines == [
        "update /s: template: user (default) -> me",
        "restart /s/one: user (default) -> me",
    ]
    drift = {"/s/*": ("code",), "/s/two": (ASKED,)}
    lines = told(new, new, drift, instances=lambda path: {"two": agent("w", user="me")})
    assert lines == ["restart /s/two: code changed; asked for"]


def test_what_could_not_be_read_then_or_now_has_not_changed():
    was = {"/a": {"code": "1", "file /f": "1"}, "/b": {"code": "1"}}
    now = {"/a": {"code": "2"}, "/b": {"code": "1"}, "/c": {"code": "3"}}
    assert drift_between(was, now) == {"/a": ("code",)}
