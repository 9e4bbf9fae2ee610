"""Random supervision scenarios (format: see `otp_live`).

A scenario belongs to a profile, which weights one side of a supervisor's life; children
that are significant and starts that fail are made more often than in life, because the
rarest rules are about them.  The same seed and number give the same scenario.

Left out on purpose, since OTP does them concurrently or has a known bug there:

* a supervisor with a finite `shutdown`, killed amid stopping: its orphans race its parent;
* workers that ignore the stop with a shutdown that waits long (slow), or those that obey it
  with one of a few milliseconds (a race);
* under simple_one_for_one, `ignore` at a restart (a crash in OTP 25, erlang/otp issue 8215)
  and a kind that changes between simple_one_for_one and the others at an upgrade;
* an upgrade between temporary and other restart types under simple_one_for_one: OTP 25 has
  not kept the start arguments of the children that are there (their restart: badarg);
* an upgrade that changes a supervisor within a supervisor (it has an upgrade of its own);
* workers that ignore the stop under an id that an upgrade adds: it may be running already, with
  another shutdown, and would then never end, or race;
* one path that is given now a simple_one_for_one and now another supervisor by start_child: a
  request that suits the one is no request to the other.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["PROFILES", "Profile", "scenario", "scenarios"]

Json: TypeAlias = dict[str, Any]

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
SIMPLE = "simple_one_for_one"
IDS = "abcdefg"
ADDED = ("u1", "u2", "n1")  # by upgrades
NAMES = ("d1", "d2", "d3", "d4", "d5")
FAILURES = ("error", "error", "error", "crash", "ignore", "extra")
REASONS: tuple[Any, ...] = ("normal", "shutdown", ["shutdown", "why"], "kill", "boom", "boom")
REQUESTS = {
    "start_child": 5,
    "terminate_child": 5,
    "restart_child": 5,
    "delete_child": 3,
    "which_children": 1,
    "count_children": 1,
    "get_childspec": 1,
}


@dataclass(frozen=True)
class Profile:
    """Weights of operations, and chances (0..1) of what a tree is made of."""

    ops: dict[str, int]
    nested: float = 0.25
    simple: float = 0.06
    failing: float = 0.35
    significant: float = 0.2
    stubborn: float = 0.03
    hooks: float = 0.15
    invalid: float = 0.004
    windows: bool = False
    ops_count: tuple[int, int] = (4, 18)
    depth: int = 2
    strategies: tuple[str, ...] = STRATEGIES


def _ops(**weights: int) -> dict[str, int]:
    usual = {"exit": 10, "batch": 3, "request": 6, "junk": 1, "signal_sup": 1, "tick": 1, "stop": 1}
    return {"kill_sup": 1, "upgrade": 1, **usual, **weights}


PROFILES: dict[str, Profile] = {
    "basic": Profile(_ops(request=2)),
    "requests": Profile(_ops(request=20, exit=5), invalid=0.03),
    "batches": Profile(_ops(batch=12)),
    "failures": Profile(_ops(), failing=0.9),
    "significant": Profile(_ops(exit=14), significant=0.9, failing=0.3),
    "significant_groups": Profile(
        _ops(exit=14, batch=8, request=4),
        significant=0.9,
        failing=0.8,
        nested=0.3,
        strategies=("one_for_all", "rest_for_one"),
    ),
    "significant_simple": Profile(_ops(exit=12), significant=0.95, simple=0.9),
    "simple": Profile(_ops(request=10), simple=0.8, failing=0.5),
    "nested": Profile(_ops(), nested=0.6, depth=3, significant=0.4),
    "killed": Profile(_ops(kill_sup=8), nested=0.5, depth=3, simple=0.15),
    "upgraded": Profile(_ops(upgrade=8), significant=0.5, simple=0.12),
    "hooks": Profile(_ops(batch=4), hooks=0.9, failing=0.7, significant=0.4),
    "stubborn": Profile(_ops(), stubborn=0.4, ops_count=(3, 9)),
    "windows": Profile(_ops(tick=8, exit=14), windows=True, ops_count=(10, 30)),
    "invalid": Profile(_ops(), invalid=0.12),
    "everything": Profile(
        _ops(kill_sup=3, upgrade=3, batch=5, tick=2),
        nested=0.4,
        significant=0.5,
        simple=0.12,
        stubborn=0.06,
        hooks=0.5,
        invalid=0.02,
        failing=0.5,
        ops_count=(8, 25),
    ),
}


@dataclass
class Known:
    """What operations can name: paths that may exist at some time of the scenario."""

    supervisors: dict[str, Json] = field(default_factory=dict)
    workers: list[str] = field(default_factory=list)

    def below(self, path: str) -> list[str]:
        """The workers directly below `path`."""
        return [worker for worker in self.workers if worker.rpartition("/")[0] == path]

    def is_simple(self, path: str) -> bool:
        return self.supervisors[path].get("strategy") == SIMPLE


def scenarios(seed: int, count: int) -> Iterator[Json]:
    """Yield `count` scenarios, their ids `seed-number-profile`."""
    for number in range(count):
        yield scenario(seed, number)


def scenario(seed: int, number: int) -> Json:
    """Return scenario `number` of `seed`."""
    chance = random.Random(f"{seed}/{number}")
    name = chance.choice(list(PROFILES))
    return _Maker(chance, PROFILES[name]).scenario(f"{seed}-{number}-{name}")


class _Maker:
    def __init__(self, chance: random.Random, profile: Profile) -> None:
        self.chance = chance
        self.profile = profile
        self.known = Known()
        self.given: dict[str, Json] = {}  # supervisors that start_child is given

    def likely(self, probability: float) -> bool:
        return self.chance.random() < probability

    def maybe(self, probability: float, **members: Any) -> Json:
        """The members with this probability, else nothing: OTP's default then holds."""
        return members if self.likely(probability) else {}

    def scenario(self, id: str) -> Json:
        root = self.supervisor("root", self.profile.depth)
        ops = [self.operation() for _ in range(self.chance.randint(*self.profile.ops_count))]
        made: Json = {"id": id, "root": root, "ops": ops}
        hooks = self.hooks() if self.likely(self.profile.hooks) else []
        return {**made, "hooks": hooks} if hooks else made

    # --- trees ---------------------------------------------------------------------------

    def supervisor(self, path: str, depth: int) -> Json:
        simple = self.likely(self.profile.simple if path == "root" else self.profile.simple / 2)
        sup = self.flags()
        if simple:
            sup["strategy"] = SIMPLE
        self.known.supervisors[path] = sup
        if simple:
            sup["children"] = [self.template(path, sup)]
            if self.likely(self.profile.invalid):
                sup["children"] = self.chance.choice([[], [{"id": "w"}, {"id": "w2"}]])
            return sup
        ids = IDS[: self.chance.choice((0, 1, 2, 2, 3, 3, 3, 4, 4, 5))]
        sup["children"] = [self.node(path, id, sup, depth) for id in ids]
        if sup["children"] and self.likely(self.profile.invalid / 2):
            sup["children"].append(self.chance.choice(sup["children"]))  # the id twice
        return sup

    def flags(self) -> Json:
        chance = self.chance
        windows = self.profile.windows
        sup: Json = {
            "strategy": chance.choice(self.profile.strategies),
            "intensity": chance.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 10, 10)),
            "period": chance.choice((1, 2, 3, 4)) if windows else 3600,
        }
        if self.likely(0.04) and not windows:
            del sup["intensity"]
        if self.likely(0.5) or self.likely(self.profile.significant):
            modes = ("any_significant", "all_significant", "all_significant", "never")
            sup["auto_shutdown"] = chance.choice(modes)
        if self.likely(self.profile.invalid / 2):
            wrong = [
                ("strategy", "none_for_one"),
                ("intensity", -1),
                ("intensity", "infinity"),
                ("period", 0),
                ("auto_shutdown", "sometimes"),
            ]
            sup.update([chance.choice(wrong)])
        return sup

    def node(self, above: str, id: str, sup: Json, depth: int) -> Json:
        node: Json = {"id": id, **self.restart(sup)}
        if self.likely(self.profile.failing):
            node["plan"] = self.plan()
        if depth > 0 and self.likely(self.profile.nested):
            node["type"] = "supervisor"  # a "worker" would have 5 s for its whole tree
            node["sup"] = self.supervisor(f"{above}/{id}", depth - 1)
        else:
            self.known.workers.append(f"{above}/{id}")
            node.update(self.obeying() if id in ADDED else self.stopping())
        return self.spoil(node) if self.likely(self.profile.invalid) else node

    def template(self, path: str, sup: Json) -> Json:
        self.known.workers.extend(f"{path}/{name}" for name in NAMES)
        node = {"id": "w", **self.restart(sup), **self.stopping()}
        names = [name for name in NAMES if self.likely(self.profile.failing)]
        if names:
            node["plans"] = {name: self.simple_plan() for name in names}
        return node

    def restart(self, sup: Json) -> Json:
        """Members `restart` and `significant`; significant mostly where that is allowed."""
        armed = sup.get("auto_shutdown", "never") in ("any_significant", "all_significant")
        if armed and self.likely(self.profile.significant):
            restart = self.chance.choice(("transient", "transient", "temporary"))
            return {"restart": restart, "significant": True}
        made = self.maybe(
            0.9, restart=self.chance.choice(("permanent", "permanent", "transient", "temporary"))
        )
        return {**made, **self.maybe(0.05, significant=False)}

    def stopping(self) -> Json:
        if self.likely(self.profile.stubborn):
            return {"shutdown": self.chance.choice((4, 4, 4, "brutal_kill")), "on_stop": "ignore"}
        return self.obeying()

    def obeying(self) -> Json:
        shutdown = self.chance.choice((4000, "infinity", "brutal_kill"))
        return {
            **self.maybe(0.7, shutdown=shutdown),
            **self.maybe(0.25, on_stop=self.chance.choice(("normal", "error", "shutdown"))),
            **self.maybe(0.12, type=self.chance.choice(("worker", "supervisor"))),
        }

    def plan(self) -> list[str]:
        """Mostly comes up at first, so that there is a tree to look at."""
        first = "ok" if self.likely(0.985) else self.chance.choice(FAILURES)
        later = [
            self.chance.choice(FAILURES) if self.likely(0.5) else "ok"
            for _ in range(self.chance.randint(1, 5))
        ]
        return [first, *later]

    def simple_plan(self) -> list[str]:
        first, *later = self.plan()
        return [first, *("error" if outcome == "ignore" else outcome for outcome in later)]

    def spoil(self, node: Json) -> Json:
        """A specification that the supervisor refuses (or an unusual one)."""
        wrong: list[Json] = [
            {"restart": "sometimes"},
            {"shutdown": -10},
            {"shutdown": "now"},
            {"significant": "maybe"},
            {"significant": True},
            {"significant": True, "restart": "permanent"},
            {"type": "wrker"},
            {"no_start": True},
        ]
        return {**node, **self.chance.choice(wrong)}

    # --- operations ----------------------------------------------------------------------

    def operation(self) -> Json:
        weights = self.profile.ops
        kind = self.chance.choices(list(weights), list(weights.values()))[0]
        make = getattr(self, f"op_{kind}")
        made: Json = make()
        return made

    def any_supervisor(self) -> str:
        if self.likely(0.5):
            return "root"
        return self.chance.choice(list(self.known.supervisors))

    def op_exit(self) -> Json:
        known = self.known.workers
        if not known or self.likely(0.02):
            path = self.chance.choice(["root/zz", *self.known.supervisors])
        else:
            path = self.chance.choice(known)
        return {"op": "exit", "path": path, "reason": self.chance.choice(REASONS)}

    def op_request(self) -> Json:
        return self.request(self.any_supervisor())

    def op_batch(self) -> Json:
        sup = self.any_supervisor()
        items = [self.item(sup) for _ in range(self.chance.randint(2, 4))]
        return {"op": "batch", "sup": sup, "items": items}

    def op_junk(self) -> Json:
        return {"op": "junk", "sup": self.any_supervisor()}

    def op_signal_sup(self) -> Json:
        reason = self.chance.choice(("normal", "shutdown", "boom"))
        return {"op": "signal_sup", "path": self.any_supervisor(), "reason": reason}

    def op_tick(self) -> Json:
        return {"op": "tick", "s": self.chance.choice((1, 1, 1, 2, 3, 4, 5))}

    def op_stop(self) -> Json:
        if self.likely(0.7):
            return self.op_exit()  # a stop ends the scenario
        reasons = ("shutdown", "normal", "boom", ["shutdown", "why"])
        return {"op": "stop", "reason": self.chance.choice(reasons)}

    def op_kill_sup(self) -> Json:
        nested = [path for path in self.known.supervisors if path != "root"]
        path = self.chance.choice(nested) if nested and self.likely(0.95) else "root"
        return {"op": "kill_sup", "path": path}

    def op_upgrade(self) -> Json:
        sup = self.any_supervisor()
        if self.likely(0.06):
            return {"op": "upgrade", "sup": sup, "to": "ignore"}
        return {"op": "upgrade", "sup": sup, "to": self.upgraded(sup)}

    def upgraded(self, path: str) -> Json:
        """New flags; children kept, changed, dropped, reordered, added."""
        old = self.known.supervisors[path]
        new = self.flags()
        if self.known.is_simple(path):
            new["strategy"] = SIMPLE
            template = self.new_template(old, new)
            wrong: list[list[Json]] = [[], [template, {**template, "id": "w2"}]]
            new["children"] = self.chance.choice(wrong) if self.likely(0.15) else [template]
            return new
        children = [self.changed(node, new) for node in old["children"] if self.likely(0.85)]
        if self.likely(0.3):
            self.chance.shuffle(children)
        if self.likely(0.5):
            added = self.node(path, self.chance.choice(ADDED), new, 0)
            children.insert(self.chance.randint(0, len(children)), added)
        return {**new, "children": children}

    def new_template(self, old: Json, new: Json) -> Json:
        template: Json = old["children"][0] if old["children"] else {"id": "w"}
        changed = {**template, **self.restart(new)}
        before, after = template.get("restart"), changed.get("restart")
        return changed if (before == "temporary") == (after == "temporary") else template

    def changed(self, node: Json, sup: Json) -> Json:
        kept = {key: value for key, value in node.items() if key != "significant"}
        if self.likely(0.4):
            return {**kept, **self.restart(sup)}
        return kept if self.likely(0.2) else node

    def item(self, sup: str) -> Json:
        """One entry of a batch or hook."""
        direct = self.known.below(sup)
        if direct and self.likely(0.6):
            reason = self.chance.choice(REASONS)
            return {"op": "exit", "path": self.chance.choice(direct), "reason": reason}
        return {"op": "junk", "sup": sup} if self.likely(0.06) else self.request(sup)

    def request(self, sup: str) -> Json:
        op = self.chance.choices(list(REQUESTS), list(REQUESTS.values()))[0]
        request: Json = {"op": op, "sup": sup}
        if op in ("which_children", "count_children"):
            return request
        if self.known.is_simple(sup) and (op != "get_childspec"):
            return self.simple_request(request)
        if op == "start_child":
            return {**request, "spec": self.dynamic(sup)}
        ids = [node["id"] for node in self.known.supervisors[sup]["children"] if "id" in node]
        id = self.chance.choice([*ids, *ids, "n1", "n2", "zz"])
        return {**request, "id": id}

    def simple_request(self, request: Json) -> Json:
        sup, op = request["sup"], request["op"]
        if op in ("start_child", "restart_child") and self.likely(0.95):
            return {"op": "start_child", "sup": sup, "name": self.chance.choice(NAMES)}
        if op == "terminate_child" and self.likely(0.9):
            if self.likely(0.85) or not self.known.workers:
                return {**request, "name": self.chance.choice(NAMES)}
            return {**request, "pid_of": self.chance.choice(self.known.workers)}
        return {**request, "op": "delete_child" if op == "start_child" else op, "id": "w"}

    def dynamic(self, sup: str) -> Any:
        """What start_child is given: a new child, one that is there, or nonsense."""
        if self.likely(self.profile.invalid / 3):
            return self.chance.choice(("hello", {"restart": "permanent"}))
        flags = self.known.supervisors[sup]
        if flags["children"] and self.likely(0.3):
            node = self.chance.choice(flags["children"])
            if "sup" not in node:
                return node
        if self.likely(0.15):  # an id that no upgrade gives to a worker
            id = self.chance.choice(("s1", "s2"))
            path = f"{sup}/{id}"
            if path not in self.given:
                self.given[path] = self.node(sup, id, flags, 1)
            return self.given[path]
        return self.node(sup, self.chance.choice(("n1", "n2", "n3")), flags, 0)

    # --- hooks ---------------------------------------------------------------------------

    def hooks(self) -> list[Json]:
        """Things that happen while a supervisor is busy with a start."""
        made: dict[tuple[str, int], Json] = {}
        paths = [*self.known.workers, *self.known.supervisors]
        paths = [path for path in paths if path != "root"]
        for _ in range(self.chance.randint(1, 4) if paths else 0):
            path = self.chance.choice(paths)
            attempt = self.chance.choice((1, 2, 2, 2, 3, 3, 4))
            items = [
                self.hook_item(path.rpartition("/")[0]) for _ in range(self.chance.randint(1, 3))
            ]
            made[path, attempt] = {"path": path, "attempt": attempt, "do": items}
        return list(made.values())

    def hook_item(self, sup: str) -> Json:
        if sup != "root" and self.likely(0.12):
            return {"op": "parent_terminate"}
        return self.item(sup)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.generate")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    for made in scenarios(arguments.seed, arguments.count):
        print(json.dumps(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
