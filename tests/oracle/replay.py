"""Replay recorded scenarios over our core and compare whole traces with OTP's.

    python -m tests.oracle.replay FILE.jsonl[.gz] [--async SEED] [--max N]

Prints the first differences and, last, `N scenarios, M mismatches`; exit status 0 only if M
is 0.  The format is described in README.md beside this file.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from supervisor_tree.core.checks import check_supervisor
from supervisor_tree.core.specs import Strategy, SupervisorSpec
from supervisor_tree.core.stimuli import (
    BootRequested,
    CountChildrenRequested,
    DeleteChildRequested,
    GetChildspecRequested,
    KillRequested,
    RestartChildRequested,
    ShutdownRequested,
    StartChildRequested,
    Stimulus,
    TerminateChildRequested,
    UpgradeRequested,
    WhichChildrenRequested,
)
from supervisor_tree.core.supervisor import Phase, Supervisor
from tests.oracle.scenario import OracleSpec, child_spec, exit_reason, plain, supervisor_spec
from tests.oracle.world import World, core_path, oracle_path

__all__ = ["compare", "main", "read_pairs", "run_scenario"]

_SHOWN = 5  # scenarios whose differences are printed
_TERMINATED_WHILE_DUE = ("backoff", "stopped", "terminated")
_BY_ID: dict[str, Callable[[int, str, str], Stimulus]] = {
    "restart_child": RestartChildRequested,
    "delete_child": DeleteChildRequested,
    "get_childspec": GetChildspecRequested,
}


class Replay:
    """One scenario."""

    def __init__(self, scenario: Mapping[str, Any], seed: int | None) -> None:
        self.scenario = scenario
        self.world = World(seed, self._hook)
        self.hooks = {(h["path"], h["attempt"]): h["do"] for h in scenario.get("hooks", ())}
        self.hooked: list[tuple[str, int, list[Any]]] = []
        self.overrides: dict[str, Any] = {}
        self.results: dict[int, Any] = {}
        self.request = 0

    def run(self) -> dict[str, Any]:
        """The trace."""
        world = self.world
        steps = [self._step({"op": "boot"}, self._boot)]
        came_up = steps[0]["ret"] == ["ok"]
        for number, op in enumerate(self.scenario["ops"], 1):
            if "/" not in world.tree.supervisors:
                break
            steps.append(self._step({"n": number, "op": op["op"]}, lambda op=op: self._do(op)))
        if "/" in world.tree.supervisors:
            steps.append(self._step({"op": "end"}, self._end))
        ended = world.root_exit
        root_exit = plain(ended.term) if came_up and ended is not None else None
        return {"id": self.scenario["id"], "exit": root_exit, "steps": steps}

    def _step(self, head: dict[str, Any], do: Callable[[], Any]) -> dict[str, Any]:
        world = self.world
        self.hooked = []
        ret = do()
        world.rest()
        hooks = [[path, n, [self._result(r) for r in rets]] for path, n, rets in self.hooked]
        return {
            **head,
            "ret": [self._result(item) for item in ret]
            if head["op"] == "batch" and isinstance(ret, list)
            else self._boot_result()
            if head["op"] == "boot"
            else self._result(ret),
            "events": world.take_events(),
            "hooks": hooks,
            "tree": world.picture(),
        }

    def _result(self, ret: Any) -> Any:
        """A request is shown by its reply, once that has come."""
        return self.world.replies[ret.number] if isinstance(ret, Pending) else ret

    # --- operations ----------------------------------------------------------------------

    def _boot(self) -> None:
        spec = supervisor_spec(self.scenario["root"], "root", self.overrides)
        self.world.begin_root(spec)
        self.world.feed([BootRequested("/", spec)])

    def _boot_result(self) -> Any:
        if "/" in self.world.tree.supervisors or self.world.root_up:
            return ["ok"]
        ended = self.world.root_exit
        assert ended is not None
        return ["error", plain(ended.term)]

    def _end(self) -> None:
        self.world.feed([ShutdownRequested("/")])

    def _do(self, op: Mapping[str, Any]) -> Any:
        match op["op"]:
            case "tick":
                self.world.clock += op["s"]
                return "ok"
            case "stop":
                self.world.feed([ShutdownRequested("/", exit_reason(op["reason"]))])
                return "ok"
            case "sleep":
                return "ok"
            case "signal_sup":
                return "ok" if self._supervisor(op["path"]) else "noproc"
            case "kill_sup":
                return self._kill(op["path"])
            case "batch":
                return self._batch(op)
        stimuli: list[Stimulus] = []
        ret = self._item(op, op.get("sup"), stimuli, direct=False)
        self.world.feed(stimuli)
        return ret

    def _kill(self, path: str) -> str:
        sup = self._supervisor(path)
        if sup is None:
            return "noproc"
        self.world.kill_supervisor(sup)
        self.world.feed([KillRequested(self._number(lambda _: None), sup.path)])
        return "ok"

    def _batch(self, op: Mapping[str, Any]) -> Any:
        if self._supervisor(op["sup"]) is None:
            return "noproc"
        stimuli: list[Stimulus] = []
        rets = [self._item(item, op["sup"], stimuli) for item in op["items"]]
        self.world.feed(stimuli)
        return rets

    def _hook(self, path: str, attempt: int) -> None:
        world = self.world
        key = (oracle_path(path), attempt)
        above = path.rpartition("/")[0] or "/"
        sup = world.tree.supervisors[above]
        if key not in self.hooks or (above != "/" and sup.phase is Phase.BOOTING):
            return
        rets: list[Any] = []
        self.hooked.append((*key, rets))
        for item in self.hooks[key]:
            stimuli: list[Stimulus] = []
            if item["op"] == "parent_terminate":
                stimuli.append(self._parent_stop(sup, rets))
            else:
                rets.append(self._item(item, "root" + above.rstrip("/"), stimuli))
            world.feed(stimuli)

    def _parent_stop(self, sup: Supervisor, rets: list[Any]) -> Stimulus:
        if sup.record is None:
            rets.append(["ok"])
            return ShutdownRequested("/")
        parent = sup.record.owner.path
        stop = TerminateChildRequested(self._number(self._shown), parent, sup.record.id)
        rets.append(Pending(self.request))
        return stop

    # --- items ---------------------------------------------------------------------------

    def _item(
        self,
        op: Mapping[str, Any],
        sup_path: str | None,
        stimuli: list[Stimulus],
        *,
        direct: bool = True,
    ) -> Any:
        """Append what the core is told; return the result, or what stands for it."""
        world = self.world
        if op["op"] == "exit":
            process = world.newest.get(op["path"])
            if process is None or not process.alive:
                return "noproc"
            if direct and (process.supervisor or op["path"].rpartition("/")[0] != sup_path):
                return "noproc"
            if process.supervisor:
                return "not_worker"
            stimuli.append(world.exit(process, op["reason"]))
            return "ok"
        sup = self._supervisor(sup_path)
        if sup is None:
            return "noproc"
        if op["op"] == "junk":
            stimuli.append(self._junk(sup))
            return "ok"
        request = self._request(op, sup)
        if isinstance(request, str):
            return request
        stimuli.append(request)
        return Pending(self.request)

    def _supervisor(self, path: str | None) -> Supervisor | None:
        process = self.world.newest.get(path or "")
        if process is None or not process.alive or not process.supervisor:
            return None
        return self.world.tree.supervisors.get(core_path(path or ""))

    def _junk(self, sup: Supervisor) -> Stimulus:
        """The core knows no such message: a read takes its place in the mailbox."""
        process = self.world.processes[sup.path, sup.generation]

        def report(result: Any) -> None:
            if result[:1] != ("exit",):
                who = [process.path, process.incarnation]
                self.world.note(["report", *who, "unexpected_message", None, None])

        return WhichChildrenRequested(self._number(report), sup.path)

    def _number(self, then: Callable[[Any], Any]) -> int:
        self.request += 1
        self.world.on_reply[self.request] = then
        return self.request

    def _request(self, op: Mapping[str, Any], sup: Supervisor) -> Stimulus | str:
        match op["op"]:
            case "which_children":
                simple = sup.simple
                number = self._number(
                    lambda r: plain(r) if _gone(r) else self.world.children_of(r, simple=simple)
                )
                return WhichChildrenRequested(number, sup.path)
            case "count_children":
                number = self._number(
                    lambda r: plain(r) if _gone(r) else self.world.counts_of(sup, r)
                )
                return CountChildrenRequested(number, sup.path)
            case "start_child":
                return self._start_child(op, sup)
            case "terminate_child":
                return self._terminate_child(op, sup)
            case "upgrade":
                return self._upgrade(op, sup)
        return _BY_ID[op["op"]](self._number(self._shown), sup.path, op["id"])

    def _start_child(self, op: Mapping[str, Any], sup: Supervisor) -> Stimulus:
        if isinstance(op.get("spec"), str):
            return self._instead(sup, lambda: ["error", ["invalid_child_spec", op["spec"]]])
        if "name" in op and not sup.simple:
            # Arguments for a template, where there is none: a list is no specification.
            return self._instead(sup, lambda: ["error", ["invalid_child_spec", [op["name"]]]])
        number = self._number(self._shown)
        if sup.simple:
            name = f"{op['name']}~{number}"
            return StartChildRequested(number, sup.path, name=name)
        path = f"root{sup.path.rstrip('/')}/{op['spec'].get('id')}"
        return StartChildRequested(number, sup.path, child_spec(op["spec"], path, self.overrides))

    def _terminate_child(self, op: Mapping[str, Any], sup: Supervisor) -> Stimulus | str:
        if "id" in op and not sup.simple:
            return TerminateChildRequested(self._number(self._shown), sup.path, op["id"])
        if "id" in op:
            return self._instead(sup, lambda: ["error", "simple_one_for_one"])
        path = op.get("pid_of") or f"root{sup.path.rstrip('/')}/{op['name']}"
        process = self.world.newest.get(path)
        if process is None:
            return "no_such_name"
        if not sup.simple:
            return self._instead(sup, lambda: ["error", "not_found"])
        above, _, child_id = process.life[0].rpartition("/")
        if (above or "/") != sup.path or process.supervisor:
            return self._instead(sup, lambda: ["error", "not_found"] if process.alive else ["ok"])
        generation = process.life[1]

        def shown(result: Any) -> Any:
            story = self.world.tree.story(process.life[0])
            if sup.children.get(child_id) is None and story[-1][1:] == _TERMINATED_WHILE_DUE:
                self.world.leaked[process.life[0]] = (sup.path, sup.generation)
            return self._shown(result)

        return TerminateChildRequested(self._number(shown), sup.path, child_id, generation)

    def _instead(self, sup: Supervisor, result: Callable[[], Any]) -> Stimulus:
        """A read takes the place of a request that OTP refuses and the core cannot express."""
        number = self._number(lambda r: plain(r) if _gone(r) else result())
        return WhichChildrenRequested(number, sup.path)

    def _upgrade(self, op: Mapping[str, Any], sup: Supervisor) -> Stimulus:
        path = "root" + sup.path.rstrip("/")
        ignored = op["to"] == "ignore"
        others = {p: o for p, o in self.overrides.items() if p != path}
        spec = None if ignored else supervisor_spec(op["to"], path, others)

        def shown(result: Any) -> Any:
            if result == ("ok",):
                if not ignored:
                    self.overrides[path] = op["to"]
                return ["ok"]
            if not _gone(result) and spec is not None and result[1][0] == "bad_start_spec":
                return ["error", ["error", _template_error(spec)]]
            return plain(result) if _gone(result) else ["error", plain(result)]

        return UpgradeRequested(self._number(shown), sup.path, spec)

    def _shown(self, result: Any) -> Any:
        match result:
            case ("ok", OracleSpec() as spec):
                return ["ok", _shown_spec(spec)]
            case ("ok", int() | str() as handle, *rest):
                process = self.world.process_of(handle)
                # In our core a nested supervisor has no start function that could return more.
                rest = [process.info] if process.info is not None else rest
                return ["ok", process.name, *rest]
            case ("error", ("already_started", handle)):
                return ["error", ["already_started", self.world.name_of(handle)]]
        return plain(result)


class Pending:
    """The reply to a request that has not come yet."""

    def __init__(self, number: int) -> None:
        self.number = number


def _template_error(spec: SupervisorSpec) -> Any:
    """OTP checks a wrong number of templates as if they were children, and lets that slip out."""
    error = check_supervisor(replace(spec, strategy=Strategy.ONE_FOR_ONE))
    if isinstance(error, tuple):
        return plain(error[1])
    return ["ok", [[child.id for child in spec.children], "map"]]


def _gone(result: Any) -> bool:
    return isinstance(result, tuple) and result[:1] == ("exit",)


def _shown_spec(spec: OracleSpec) -> dict[str, Any]:
    shutdown = spec.shutdown
    return {
        "id": spec.id,
        "restart": spec.restart.value,
        "shutdown": round(shutdown * 1000) if isinstance(shutdown, float) else shutdown,
        "significant": spec.significant,
        "type": spec.declared,
    }


# --- the two functions that others use -------------------------------------------------------


def run_scenario(scenario: Mapping[str, Any], async_seed: int | None = None) -> dict[str, Any]:
    """Our core's trace of a scenario, in the recorded format."""
    return Replay(scenario, async_seed).run()


def compare(ours: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[str]:
    """The differences of two traces, readable; empty if they are equal."""
    found: list[str] = []
    if ours["exit"] != recorded["exit"]:
        found.append(f"exit: ours {_text(ours['exit'])}, OTP {_text(recorded['exit'])}")
    for mine, theirs in zip(ours["steps"], recorded["steps"], strict=False):
        where = f"step {theirs.get('n', theirs['op'])} ({theirs['op']})"
        found.extend(f"{where}: {line}" for line in _differences(mine, theirs))
    if len(ours["steps"]) != len(recorded["steps"]):
        found.append(f"steps: ours {len(ours['steps'])}, OTP {len(recorded['steps'])}")
    return found


def _differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for key in ("op", "ret", "hooks", "tree"):
        if mine[key] != theirs[key]:
            yield f"{key}: ours {_text(mine[key])}\n    OTP {_text(theirs[key])}"
    for index in range(max(len(mine["events"]), len(theirs["events"]))):
        ours, others = mine["events"][index : index + 1], theirs["events"][index : index + 1]
        if ours != others:
            yield f"event {index}: ours {_text(ours)}, OTP {_text(others)}"
            return


def _text(value: Any) -> str:
    return json.dumps(value)


def read_pairs(file: Path) -> Iterator[dict[str, Any]]:
    """The pairs of a recording, one JSON object per line."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        for line in lines:
            yield json.loads(line)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.replay")
    parser.add_argument("file", type=Path)
    parser.add_argument("--async", dest="seed", type=int)
    parser.add_argument("--max", type=int)
    options = parser.parse_args(arguments)
    scenarios = mismatches = 0
    for pair in read_pairs(options.file):
        if options.max is not None and scenarios >= options.max:
            break
        scenarios += 1
        seed = None if options.seed is None else options.seed * 1_000_003 + scenarios
        differences = differences_of(pair, seed)
        if differences:
            mismatches += 1
            if mismatches <= _SHOWN:
                print(f"--- {pair['scenario']['id']}")
                print("\n".join(differences[:4]))
    print(f"{scenarios} scenarios, {mismatches} mismatches")
    return 1 if mismatches else 0


def differences_of(pair: Mapping[str, Any], seed: int | None) -> list[str]:
    """A failure of the replay itself is a difference, too."""
    try:
        return compare(run_scenario(pair["scenario"], seed), pair["trace"])
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]


if __name__ == "__main__":
    sys.exit(main())
