"""The bus in a real tree: agents, robots, embedding programs, and the deaths between them."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import supervisor_tree
from supervisor_tree import ChildSpec, SupervisorSpec
from supervisor_tree.bus.directory import Down
from supervisor_tree.bus.inbasket import Published
from supervisor_tree.bus.meter import read_traffic
from supervisor_tree.bus.place import inbox_name
from supervisor_tree.core.specs import Strategy
from supervisor_tree.embed import RunningTree
from supervisor_tree.errors import (
    AgentDown,
    CallTimeout,
    MailboxFull,
    NoProcess,
    RemoteError,
    TimedOut,
)

HERE = "tests.integration.talkers"
DEADLINE_S = 30.0


def talker(id: str, name: str, **more: Any) -> ChildSpec:
    return ChildSpec(id=id, agent=f"{HERE}:{name}", **more)


@pytest.fixture
def start() -> Iterator[Callable[..., RunningTree]]:
    trees: list[RunningTree] = []

    def start(*children: ChildSpec, **flags: Any) -> RunningTree:
        spec = SupervisorSpec(children=children, intensity=100, period=5.0, **flags)
        trees.append(supervisor_tree.run(spec))
        return trees[-1]

    yield start
    for tree in trees:
        tree.close()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for what is to come true; there is nothing to be told by."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if result := condition():
            return result
        threading.Event().wait(0.01)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def pid_of(tree: RunningTree, path: str) -> int:
    pid = tree.status(path)[0]["pid"]
    assert isinstance(pid, int)
    return pid


def test_a_program_calls_and_casts_to_an_agent(start) -> None:
    tree = start(talker("echo", "Echo"))
    assert tree.call("/echo", {"a": [1, b"x", None]}) == {"a": [1, b"x", None]}
    path, generation = tree.call("/echo", "who am I")
    assert path.startswith(f"/_/clients/{os.getpid()}-")
    assert generation == 1
    for number in range(100):
        tree.cast("/echo", number)
    assert tree.flush()
    assert tree.call("/echo", "casts") == list(range(100))


def test_a_tree_that_was_spoken_to_ends_within_a_running_event_loop() -> None:
    async def main() -> Path:
        spec = SupervisorSpec(children=(talker("echo", "Echo"),))
        tree = await asyncio.to_thread(supervisor_tree.run, spec)
        with tree:
            assert tree.call("/echo", 1) == 1
        return tree.run_dir.parent

    assert not asyncio.run(main()).exists()


def test_agents_call_each_other_and_are_known_by_their_paths(start) -> None:
    tree = start(talker("echo", "Echo"), talker("asking", "Asking"))
    assert tree.call("/asking", ["/echo", "who am I"]) == ["/asking", 1]


def test_what_cannot_be_reached_is_said_at_once(start) -> None:
    tree = start(
        talker("echo", "Echo"),
        ChildSpec(id="program", command=("sleep", "1000")),
        ChildSpec(id="robot", agent="tests.integration.test_embed:waits"),
    )
    with pytest.raises(NoProcess, match="/nobody"):
        tree.cast("/nobody", 1)
    with pytest.raises(NoProcess, match="takes no messages"):
        tree.call("/program", 1)
    with pytest.raises(NoProcess, match="takes no messages"):
        tree.cast("/robot", 1)
    with pytest.raises(RemoteError, match="as was asked") as failure:
        tree.call("/echo", "raise")
    assert failure.value.type == "ValueError"
    assert "talkers.py" in failure.value.text
    tree.stop("/echo")
    with pytest.raises(AgentDown):
        tree.call("/echo", 1)


def test_a_plain_robot_has_the_verbs_too(start) -> None:
    plain = ChildSpec(
        id="plain", agent=f"{HERE}:Plain", type="robot", args={"ask": "/echo", "tell": "/echo"}
    )
    tree = start(talker("echo", "Echo"), plain)
    assert until(lambda: tree.call("/echo", "casts"), "the robot speaks") == [["/plain", 1]]


def test_a_handler_of_a_cast_that_raises_ends_the_life_and_the_rules_go_on(start) -> None:
    tree = start(talker("echo", "Echo"))
    tree.cast("/echo", "raise")
    tree.cast("/echo", "after")
    # It is redelivered until it has cost three lives, and what waited behind it is handled.
    assert until(lambda: answered(tree, "/echo", "casts"), "it goes on") == ["after"]
    assert tree.status("/echo")[0]["restarts"] == 3


def test_a_cast_that_ends_life_after_life_at_once_is_counted_each_time(start) -> None:
    tree = start(talker("echo", "Echo"))
    tree.cast("/echo", "exit")
    tree.cast("/echo", "after")
    assert until(lambda: answered(tree, "/echo", "casts"), "it goes on") == ["after"]
    found = read_traffic(tree.run_dir / "inbox", inbox_name("/echo"), time.time())
    assert found is not None
    assert found.redelivered >= 2


def answered(tree: RunningTree, path: str, request: Any) -> Any:
    try:
        return tree.call(path, request, timeout=DEADLINE_S)
    except AgentDown:
        return None


def test_topics_reach_those_who_have_subscribed(start) -> None:
    tree = start(
        talker("one", "Hearing", args={"patterns": ["news.*"]}),
        talker("all", "Hearing", args={"patterns": ["news.>"]}),
    )
    tree.subscribe("news.local")
    numbers = itertools.count(1)

    def hears() -> Any:
        tree.publish("news.local", next(numbers))
        heard = [event for event in tree.call("/one", "") if event[0] == "news.local"]
        return heard and [event for event in tree.call("/all", "") if event[0] == "news.local"]

    until(hears, "both subscriptions hold")
    tree.publish("news.far.away", "x")
    until(lambda: ["news.far.away", "x"] in tree.call("/all", ""), "the rest of a pattern")
    assert ["news.far.away", "x"] not in tree.call("/one", "")
    first = tree.receive(timeout=10)
    assert isinstance(first, Published)
    assert first.topic == "news.local"


def test_the_death_of_the_exchange_leaves_the_rest_untouched_and_is_told_as_a_gap(start) -> None:
    tree = start(talker("all", "Hearing", args={"patterns": ["n.>"]}), talker("echo", "Echo"))
    numbers = itertools.count(1)

    def heard() -> list[Any]:
        return [event for event in tree.call("/all", "") if event[0] in ("n.x", "Gap")]

    def publish_until_heard() -> Any:
        before = len(heard())
        tree.publish("n.x", next(numbers))
        return len(heard()) > before

    until(publish_until_heard, "the subscription holds")
    tree.kill("/_/exchange")
    lost = [next(numbers) for _ in range(50)]
    for number in lost:
        tree.publish("n.x", number)
        assert tree.call("/echo", number) == number
    until(publish_until_heard, "the subscription holds again")
    seen: list[int] = []
    for event in heard():
        if event[0] == "Gap":
            topic, publisher, generation, count = event[1]
            assert [topic, publisher, generation] == ["n.x", *tree.call("/echo", "who am I")]
            seen += range(seen[-1] + 1, seen[-1] + 1 + count)
        else:
            seen.append(event[1])
    assert seen == list(range(seen[0], seen[-1] + 1)), "each is heard, or counted as lost"


def test_a_monitor_is_told_once_why_a_life_has_ended(start) -> None:
    tree = start(talker("echo", "Echo"), talker("all", "Hearing", args={"monitors": ["/echo"]}))
    tree.monitor("/echo")
    os.kill(pid_of(tree, "/echo"), signal.SIGKILL)
    assert tree.receive(timeout=10) == Down("/echo", 1, "signal 9")
    down = ["Down", ["/echo", 1, "signal 9"]]
    until(lambda: down in tree.call("/all", ""), "the agent is told as well")
    until(lambda: ["str", "a timer"] in tree.call("/all", ""), "its timer has run out")
    tree.monitor("/nobody")
    assert tree.receive(timeout=10) == Down("/nobody", 0, "noproc")
    with pytest.raises(TimedOut):
        tree.receive(timeout=0.01)


def test_a_caller_learns_at_once_that_its_callee_has_died(start) -> None:
    tree = start(talker("echo", "Echo"), talker("asking", "Asking"))
    with pytest.raises(AgentDown):
        tree.call("/echo", "exit", timeout=DEADLINE_S)
    until(lambda: answered(tree, "/echo", "back"), "it is restarted")
    with pytest.raises(RemoteError) as failure:
        tree.call("/asking", ["/echo", "exit"], timeout=DEADLINE_S)
    assert failure.value.type == "AgentDown"


def test_an_agent_that_is_stopped_still_gets_its_last_words_out(start) -> None:
    tree = start(talker("echo", "Echo"), talker("sending", "Sending", args={"to": "/echo"}))
    tree.stop("/sending")
    until(lambda: tree.call("/echo", "casts") == ["last words: shutdown"], "they arrive")


def test_casts_wait_for_a_receiver_that_is_held_down(start) -> None:
    tree = start(talker("echo", "Echo"))
    tree.stop("/echo")
    for number in range(10):
        tree.cast("/echo", number)
    assert not tree.flush(0.05)
    tree.start("/echo")
    assert tree.flush()
    assert tree.call("/echo", "casts") == list(range(10))


def test_a_pool_is_addressed_one_member_in_turn(start) -> None:
    tree = start(*(talker(f"w{n}", "Echo", capabilities=("work",)) for n in range(3)))
    pids = [tree.call("pool:work", "pid") for _ in range(9)]
    assert sorted(set(pids)) == sorted(pid_of(tree, f"/w{n}") for n in range(3))
    assert pids[:3] * 3 == pids
    assert [member.path for member in tree.find("work")] == ["/w0", "/w1", "/w2"]
    with pytest.raises(NoProcess):
        tree.call("pool:nothing", 1)


def test_a_child_that_has_yet_to_start_is_a_member_already(start) -> None:
    tree = start(talker("early", "Early", args={"to": "/echo"}), talker("echo", "Echo"))
    until(lambda: tree.call("/echo", "casts") == ["early"], "what was cast ahead arrives")


def test_members_that_have_left_leave_nothing_in_the_run_directory(start) -> None:
    template = talker("instance", "Echo", restart="temporary")
    pool = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, child=template)
    tree = start(ChildSpec(id="pool", supervisor=pool))
    inboxes = Path(tree.run_dir) / "inbox"
    before = set(inboxes.iterdir())
    for name in ("one", "two"):
        tree.start_child("/pool", name=name)
        assert tree.call(f"/pool/{name}", 7) == 7
    assert set(inboxes.iterdir()) > before
    tree.terminate_child("/pool", "one")
    os.kill(tree.status("/pool/two")[0]["pid"], signal.SIGKILL)
    until(lambda: set(inboxes.iterdir()) <= before, "their files are gone")


def test_members_that_join_and_leave_are_seen_by_all(start) -> None:
    tree = start(talker("echo", "Echo"), talker("asking", "Asking"))
    assert tree.start_child("/", talker("late", "Echo")) is not None
    assert tree.call("/asking", ["/late", "who am I"]) == ["/asking", 1]
    tree.terminate_child("/", "late")
    tree.delete_child("/", "late")
    with pytest.raises(NoProcess):
        tree.call("/late", 1)
    with pytest.raises(RemoteError) as failure:
        tree.call("/asking", ["/late", 1])
    assert failure.value.type == "NoProcess"


def test_a_forged_name_is_refused_and_named_in_an_event(start) -> None:
    tree = start(talker("echo", "Echo"), talker("asking", "Asking"), talker("wishing", "Wishing"))
    forged = {"as": "/asking", "to": "/echo"}
    assert tree.call("/wishing", forged, timeout=DEADLINE_S) == 0
    assert tree.call("/echo", "casts") == []
    refused = next(e for e in tree.events(timeout=DEADLINE_S) if e["event"] == "message_refused")
    assert (refused["path"], refused["why"], refused["claimed"]) == ("/echo", "forged", "/asking")


def test_a_message_that_kills_three_times_becomes_a_dead_letter(start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    tree = start(talker("fragile", "Fragile", args={"file": str(log)}))
    tree.cast("/fragile", 1)
    tree.cast("/fragile", "poison")
    tree.cast("/fragile", 2)
    assert tree.flush(DEADLINE_S)
    # A later life may be given again what a former one has handled.
    messages = [line.split()[2] for line in log.read_text().splitlines()]
    assert list(dict.fromkeys(messages)) == ["1", "2"]
    letters = (e for e in tree.events(timeout=DEADLINE_S) if e["event"] == "dead_letter")
    letter = next(letters)
    assert letter["path"] == "/fragile"
    assert letter["sender"].startswith("/_/clients/")
    assert letter["deaths"] == 3


def test_every_cast_survives_a_receiver_that_is_killed_again_and_again(start, tmp_path) -> None:
    log = tmp_path / "log"
    tree = start(talker("ledger", "Ledger", args={"file": str(log)}))
    count = 20_000

    def cast_all() -> None:
        for number in range(count):
            while True:
                try:
                    tree.cast("/ledger", number)
                    break
                except MailboxFull:
                    threading.Event().wait(0.001)

    sender = threading.Thread(target=cast_all)
    sender.start()
    for generation in range(1, 11):
        until(lambda g=generation: answered(tree, "/ledger", "") == g, f"life {generation}")
        os.kill(pid_of(tree, "/ledger"), signal.SIGKILL)
    sender.join(DEADLINE_S)
    assert tree.flush(DEADLINE_S)
    rows = [line.split() for line in log.read_text().splitlines()]
    last: dict[int, int] = {}
    seen: set[int] = set()
    for generation, _sender, message, redelivered in rows:
        number = int(message)
        assert last.get(int(generation), -1) < number, "in order, and once per life"
        last[int(generation)] = number
        assert number not in seen or redelivered == "1"
        seen.add(number)
    assert seen == set(range(count))


def test_a_program_that_has_ended_is_no_member_any_more(start) -> None:
    tree = start(talker("echo", "Echo"))
    code = (
        "import sys; from pathlib import Path\n"
        "from supervisor_tree.control.client import ControlClient\n"
        "from supervisor_tree.control.bus_client import join_bus\n"
        f"client = ControlClient({str(tree.run_dir)!r})\n"
        f"bus = join_bus(Path({str(tree.run_dir)!r}), client.request)\n"
        "print(bus.call('/echo', 'who am I')[0])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    path = run.stdout.strip()
    assert path.startswith("/_/clients/")
    until(lambda: path not in [m.path for m in tree.find()], "it has left")


def test_a_call_that_is_not_answered_in_time_says_so(start) -> None:
    tree = start(talker("echo", "Echo"))
    pid = pid_of(tree, "/echo")
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(CallTimeout):
            tree.call("/echo", 1, timeout=0.1)
    finally:
        os.kill(pid, signal.SIGCONT)
