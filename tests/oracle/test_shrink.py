"""The shrinker, without a VM: its predicate decides what a scenario needs."""

from __future__ import annotations

import json
from typing import Any

from tests.oracle.generate import PROFILES, scenario, scenarios
from tests.oracle.shrink import shrink

Json = dict[str, Any]


def crashes_b(candidate: Json) -> bool:
    """Fails if a worker b exists below the root, fails its second start, and crashes."""
    second = [node.get("plan", [])[1:2] for node in candidate["root"]["children"]]
    return ["error"] in second and any(op.get("path") == "root/b" for op in candidate["ops"])


def test_shrinking_keeps_what_the_failure_needs_and_drops_the_rest() -> None:
    crash = {"op": "exit", "path": "root/b", "reason": "boom"}
    noise = [{"op": "junk", "sup": "root"}, {"op": "tick", "s": 1}]
    children = [{"id": id, "restart": "transient", "plan": ["ok", "error", "ok"]} for id in "abc"]
    given = {
        "id": "x",
        "root": {"strategy": "one_for_all", "intensity": 3, "children": children},
        "ops": [*noise, crash, *noise, crash],
        "hooks": [{"path": "root/a", "attempt": 1, "do": noise[:1]}],
    }
    small = shrink(given, crashes_b)
    [child] = small["root"].pop("children")
    assert child["plan"] == ["ok", "error"]
    assert set(child) == {"id", "plan"}
    assert small == {"id": "x", "root": {}, "ops": [crash]}


def test_shrinking_never_leaves_a_short_shutdown_to_a_worker_that_obeys() -> None:
    stubborn = {"id": "a", "shutdown": 4, "on_stop": "ignore"}
    given = {"id": "x", "root": {"children": [stubborn]}, "ops": []}
    seen: list[Json] = []

    def fails(candidate: Json) -> bool:
        seen.append(candidate)
        return True

    shrink(given, fails)
    nodes = [node for candidate in seen for node in candidate["root"]["children"]]
    assert all(node in (stubborn, {"id": "a"}) for node in nodes)


def test_the_same_seed_makes_the_same_scenarios() -> None:
    assert list(scenarios(7, 20)) == [scenario(7, number) for number in range(20)]
    assert scenario(7, 0) != scenario(8, 0)


def test_every_profile_and_operation_is_made() -> None:
    made = list(scenarios(1, 400))
    assert {one["id"].rpartition("-")[2] for one in made} == set(PROFILES)
    text = json.dumps(made)
    ops = ("exit", "batch", "tick", "upgrade", "kill_sup", "signal_sup", "junk", "stop")
    requests = ("start_child", "terminate_child", "restart_child", "delete_child")
    for op in (*ops, *requests, "which_children", "count_children", "parent_terminate"):
        assert f'"op": "{op}"' in text, op
