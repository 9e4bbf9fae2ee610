"""The bus between real processes: kills, forgers, rubbish."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from supervisor_tree.bus import client
from supervisor_tree.bus.blocking import BlockingBus
from supervisor_tree.bus.client import Bus
from supervisor_tree.bus.codec import encode
from supervisor_tree.bus.directory import Change, Down, Joined, Member, MemoryDirectory
from supervisor_tree.bus.exchange import main as exchange_main
from supervisor_tree.bus.exchange import publish_address
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.messages import Cast, Hello, Reply, Welcome
from supervisor_tree.bus.meter import Traffic, read_traffic
from supervisor_tree.bus.place import inbox_address, inbox_name
from supervisor_tree.bus.topics import topic_frame
from supervisor_tree.core.specs import Acl
from supervisor_tree.errors import (
    AgentDown,
    CallTimeout,
    Draining,
    MailboxFull,
    NoProcess,
    NotAllowed,
    RemoteError,
)

DEADLINE_S = 30.0
FORK = multiprocessing.get_context("fork")


class Life:
    """A child process of the test: one life of an agent."""

    def __init__(self, member: Member, process: Any, pipe: Connection) -> None:
        self.member = member
        self.process = process
        self.pipe = pipe

    def hear(self) -> Any:
        """What the agent has to say next."""
        assert self.pipe.poll(DEADLINE_S), f"{self.member.path} says nothing"
        return self.pipe.recv()


class World:
    """Starts agents, kills them, and tells all others: a small stand-in for a host."""

    def __init__(self, directory: Path) -> None:
        self.run_dir = directory
        self.lives: dict[str, Life] = {}
        self.members: dict[str, Member] = {}

    def start(self, path: str, agent: Callable[..., Any], *args: Any, **facts: Any) -> Life:
        old = self.members.get(path, Member(path=path))
        member = replace(old, generation=old.generation + 1, **facts)
        ours, theirs = FORK.Pipe()
        process = FORK.Process(target=live, args=(self, member, theirs, agent, args), daemon=True)
        process.start()
        theirs.close()
        member = self.members[path] = replace(member, pid=process.pid)
        life = self.lives[path] = Life(member, process, ours)
        for known in self.members.values():
            ours.send(Joined(known))
        ours.send("all")
        self.tell(Joined(member))
        assert life.hear() == "ready"
        return life

    def kill(self, path: str) -> None:
        life = self.lives.pop(path)
        os.kill(life.member.pid or 0, signal.SIGKILL)
        self.reap(life)

    def reap(self, life: Life) -> None:
        """Wait for its end, and tell."""
        life.process.join(DEADLINE_S)
        assert life.process.exitcode is not None
        life.pipe.close()
        life.process.close()
        path = life.member.path
        self.lives.pop(path, None)
        self.members[path] = replace(life.member, pid=None)
        self.tell(Down(path, life.member.generation, "killed"))

    def tell(self, change: Change) -> None:
        for life in self.lives.values():
            try:
                life.pipe.send(change)
            except OSError:  # it is ending
                continue

    def close(self) -> None:
        for path in list(self.lives):
            self.kill(path)
        for leftover in (self.run_dir / "inbox").glob("*"):
            leftover.unlink()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "inbox").mkdir(mode=0o700)
    world = World(tmp_path)
    yield world
    world.close()


# --- in the children --------------------------------------------------------------------


def live(world: World, member: Member, pipe: Connection, agent: Any, args: Any) -> None:
    """The process of one agent: a loop, a bus, a directory fed through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(in_loop(world, member, pipe, agent(*args)))
    except BaseException:
        traceback.print_exc()
    os._exit(1)


async def in_loop(world: World, member: Member, pipe: Connection, agent: Any) -> None:
    loop = asyncio.get_running_loop()
    directory = MemoryDirectory([replace(member, pid=os.getpid())])
    reports: list[Any] = []

    def read() -> None:
        while pipe.poll():
            try:
                heard = pipe.recv()
                if isinstance(heard, tuple):
                    agent.orders.append(heard[1:])
                else:
                    directory.apply(heard)
            except EOFError:
                os._exit(0)

    while (known := pipe.recv()) != "all":
        directory.apply(known)
    loop.add_reader(pipe.fileno(), read)
    bus = Bus(
        world.run_dir,
        Sender(member.path, member.generation),
        directory,
        agent,
        on_fault=lambda error: os._exit(1),
        report=lambda kind, facts: reports.append((kind, facts)),
    )
    agent.bus, agent.say, agent.reports = bus, pipe.send, reports
    bus.begin()
    pipe.send("ready")
    await agent.run()
    await asyncio.Event().wait()


class Agent:
    bus: Bus
    say: Callable[[Any], None]
    reports: list[Any]

    async def run(self) -> None:
        """The agent's own work."""

    def handle_call(self, request: Any, sender: Any) -> Any:
        raise NotImplementedError

    def handle_cast(self, message: Any, sender: Any) -> Any: ...

    def handle_info(self, info: Any) -> Any: ...


class Writer(Agent):
    """Writes each cast to a file, which outlives it."""

    def __init__(self, log: Path) -> None:
        self.log = log

    async def run(self) -> None:
        self.fd = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def handle_cast(self, message: Any, sender: Any) -> None:
        row = (self.bus.me.generation, sender.path, message, int(sender.redelivered))
        os.write(self.fd, (" ".join(map(str, row)) + "\n").encode())

    def handle_call(self, request: Any, sender: Any) -> Any:
        return self.bus.stats()


class Caster(Agent):
    """Casts 1..n to one path, waiting when there is no room."""

    def __init__(self, to: str, count: int, pause_every: int = 20) -> None:
        self.to, self.count, self.pause_every = to, count, pause_every

    async def run(self) -> None:
        for number in range(1, self.count + 1):
            while True:
                try:
                    self.bus.cast(self.to, number)
                    break
                except MailboxFull:
                    await asyncio.sleep(0.001)
            if number % self.pause_every == 0:
                await asyncio.sleep(0.001)
        assert await self.bus.flush(DEADLINE_S)
        self.say(("done", self.bus.stats(), self.reports))


def rows_of(log: Path) -> list[tuple[int, str, int, bool]]:
    rows = []
    for line in log.read_text().splitlines():
        generation, sender, number, redelivered = line.split()
        rows.append((int(generation), sender, int(number), redelivered == "1"))
    return rows


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.002)


# --- the tests ----------------------------------------------------------------------------


def test_every_cast_survives_a_receiver_that_is_killed_twenty_times(world, tmp_path):
    senders, each, kills = 10, 10_000, 20
    share = senders * each * 6 // kills  # bytes between two kills; a row has some 13
    log = tmp_path / "log"
    log.touch()
    world.start("/sink", Writer, log)
    casters = [world.start(f"/c{n}", Caster, "/sink", each) for n in range(senders)]
    for kill in range(1, kills + 1):
        size = log.stat().st_size
        wait_for(lambda size=size: log.stat().st_size > size + share, "progress")
        world.kill("/sink")
        world.start("/sink", Writer, log)
        assert world.members["/sink"].generation == kill + 1
    for caster in casters:
        assert caster.hear()[2] == []
    rows = rows_of(log)
    by_life: dict[tuple[int, str], list[int]] = defaultdict(list)
    seen: dict[str, set[int]] = defaultdict(set)
    for generation, sender, number, redelivered in rows:
        by_life[generation, sender].append(number)
        if number in seen[sender]:
            assert redelivered, "handled by a former life, and not marked"
        seen[sender].add(number)
    assert {sender: len(numbers) for sender, numbers in seen.items()} == {
        f"/c{n}": each for n in range(senders)
    }
    for numbers in by_life.values():
        assert numbers == sorted(set(numbers)), "out of order, or twice by one life"
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "with a hole"
    assert len(rows) > senders * each, "and lives have died with acknowledgements still to send"


class Poisoned(Writer):
    """Dies of the message 13, at once and without a word."""

    def handle_cast(self, message: Any, sender: Any) -> None:
        if message == 13:
            os._exit(9)
        super().handle_cast(message, sender)


def test_a_message_that_kills_three_times_becomes_a_dead_letter_and_no_other(world, tmp_path):
    log = tmp_path / "log"
    world.start("/sink", Poisoned, log)
    caster = world.start("/c", Caster, "/sink", 50)
    for _ in range(3):
        world.reap(world.lives["/sink"])
        world.start("/sink", Poisoned, log)
    _done, stats, reports = caster.hear()
    assert [(kind, facts["seq"], facts["deaths"]) for kind, facts in reports] == [
        ("dead_letter", 13, 3)
    ]
    assert stats["dead_letters"] == 1
    assert {number for _g, _s, number, _r in rows_of(log)} == set(range(1, 51)) - {13}


class Asker(Agent):
    """Asks what it is told to, and says what came of it."""

    def __init__(self, *questions: tuple[str, Any, float]) -> None:
        self.questions = questions
        self.infos: list[Any] = []

    async def run(self) -> None:
        for to, request, timeout in self.questions:
            began = time.monotonic()
            try:
                answer = await self.bus.call(to, request, timeout)
                self.say(("ok", answer))
            except Exception as error:
                self.say((type(error), str(error), time.monotonic() - began))

    def handle_info(self, info: Any) -> None:
        self.say(info)


class Server(Agent):
    def handle_call(self, request: Any, sender: Any) -> Any:
        match request:
            case "who":
                return [sender.path, sender.generation]
            case "wait":
                return self.wait()
            case "fail":
                raise ValueError("not today")
        return request

    async def wait(self) -> None:
        self.say("asked")
        await asyncio.Event().wait()


def test_a_call_is_answered_and_its_sender_is_the_kernels_word(world):
    world.start("/server", Server)
    asker = world.start("/asker", Asker, ("/server", "who", 5), ("/server", {"a": b"\0"}, 5))
    assert asker.hear() == ("ok", ["/asker", 1])
    assert asker.hear() == ("ok", {"a": b"\0"})


def test_a_call_that_cannot_be_answered_raises_what_says_why(world):
    world.start("/server", Server)
    world.start("/drained", Server, draining=True)
    questions = [("/server", "fail", 5), ("/nobody", 1, 5), ("/drained", 1, 5)]
    asker = world.start("/asker", Asker, *questions, ("/server", "wait", 0.05))
    kind, text, _s = asker.hear()
    assert (kind, text) == (RemoteError, "ValueError: not today")
    assert [asker.hear()[0] for _ in range(3)] == [NoProcess, Draining, CallTimeout]


class Lossy(Server):
    """Its first answer is lost on the way, as one is that a breaking connection takes with it."""

    def __init__(self) -> None:
        self.handled = 0

    async def run(self) -> None:
        inbox = self.bus._reception.inbox
        send = inbox._send

        def lose(route: bytes, message: Any) -> bool:
            if not isinstance(message, Reply):
                return send(route, message)
            inbox._send = send  # type: ignore[method-assign]
            return True

        inbox._send = lose  # type: ignore[method-assign]

    def handle_call(self, request: Any, sender: Any) -> Any:
        self.handled += 1
        return self.handled


def test_an_answer_that_was_lost_is_sent_again_and_the_call_handled_once(world):
    world.start("/server", Lossy)
    asker = world.start("/asker", Asker, ("/server", 1, DEADLINE_S), ("/server", 1, DEADLINE_S))
    assert [asker.hear(), asker.hear()] == [("ok", 1), ("ok", 2)]


def test_a_caller_learns_at_once_that_its_callee_has_died(world):
    server = world.start("/server", Server)
    asker = world.start("/asker", Asker, ("/server", "wait", 20), ("/server", "who", 5))
    assert server.hear() == "asked"
    killed = time.monotonic()
    world.kill("/server")
    kind, _text, _s = asker.hear()
    assert kind is AgentDown
    assert time.monotonic() - killed < 1.0
    assert asker.hear()[0] is AgentDown  # between two lives


def test_the_next_life_can_be_called_as_soon_as_it_is_there(world):
    remote = world.start("/remote", Remote)
    for life in range(1, 6):
        world.start("/server", Server)
        for _ in range(2):
            remote.pipe.send(("ask", "/server", life))
            assert remote.hear() == life
        world.kill("/server")


class Watcher(Asker):
    async def run(self) -> None:
        self.bus.monitor("/server")
        self.bus.monitor("/nobody")


def test_a_monitor_tells_once_of_the_end_of_a_life(world):
    world.start("/server", Server)
    watcher = world.start("/watcher", Watcher)
    assert watcher.hear() == Down("/nobody", 0, "noproc")
    world.kill("/server")
    assert watcher.hear() == Down("/server", 1, "killed")
    world.start("/server", Server)
    world.kill("/server")
    assert not watcher.pipe.poll(0.1)


# --- topics -----------------------------------------------------------------------------------


def exchange(run_dir: Path) -> None:
    os.environ["SUPERVISOR_TREE_RUN_DIR"] = str(run_dir)
    exchange_main()


class Publishing(Agent):
    """Publishes numbers on a.b, as fast as it is told to, and casts the same to /sink."""

    async def run(self) -> None:
        self.number = 0

    def handle_call(self, count: int, sender: Any) -> int:
        for _ in range(count):
            self.number += 1
            self.bus.publish("a.b", self.number)
            self.bus.publish("a.c.d", self.number)
            self.bus.cast("/sink", self.number)
        return self.number


class Listening(Agent):
    """Has one exchange after the other tell it what it hears."""

    def __init__(self, patterns: list[str]) -> None:
        self.patterns = patterns
        self.heard: list[Any] = []

    async def run(self) -> None:
        for pattern in self.patterns:
            self.bus.subscribe(pattern)

    def handle_event(self, topic: str, event: Any) -> None:
        self.heard.append([topic, event])

    def handle_info(self, info: Any) -> None:
        self.heard.append(list(info))

    def handle_call(self, request: Any, sender: Any) -> Any:
        heard, self.heard = self.heard, []
        return heard


class Remote(Agent):
    """Asks for the test."""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            if self.orders:
                to, request = self.orders.pop(0)
                self.say(await self.bus.call(to, request, DEADLINE_S))

    def __init__(self) -> None:
        self.orders: list[Any] = []

    def handle_info(self, info: Any) -> None: ...


@pytest.fixture
def exchange_process(world: World) -> Iterator[Callable[..., None]]:
    """Start one; each call kills it, does something without it, and starts another."""
    running: list[Any] = []

    def another(meanwhile: Callable[[], object] = lambda: None) -> None:
        for process in running:
            process.kill()
            process.join(DEADLINE_S)
            process.close()
        meanwhile()
        running[:] = [FORK.Process(target=exchange, args=(world.run_dir,), daemon=True)]
        running[0].start()

    another()
    yield another
    running[0].kill()
    running[0].join(DEADLINE_S)
    running[0].close()


def test_a_subscriber_is_told_what_a_killed_exchange_has_lost(world, tmp_path, exchange_process):
    log = tmp_path / "log"
    world.start("/sink", Writer, log)
    world.start("/pub", Publishing)
    world.start("/sub", Listening, ["a.*"])
    remote = world.start("/remote", Remote)

    def ask(to: str, request: Any) -> Any:
        remote.pipe.send(("ask", to, request))
        return remote.hear()

    heard: list[Any] = []

    def hears_more() -> bool:
        ask("/pub", 1)
        heard.extend(ask("/sub", None))
        return bool(heard) and heard[-1][1] == ask("/pub", 0)

    wait_for(hears_more, "the subscription to arrive")
    first = heard[0][1]

    def loses_some() -> bool:
        ask("/pub", 200)
        exchange_process(lambda: [ask("/pub", 10) for _ in range(50)])
        wait_for(hears_more, "the exchange to be back")
        return any(len(row) == 4 for row in heard)

    for _ in range(2):
        loses_some()
    wait_for(loses_some, "an exchange to be killed with something in hand")
    total = ask("/pub", 0)
    wait_for(lambda: heard.extend(ask("/sub", None)) or heard[-1][1] == total, "the last")
    assert {row[0] for row in heard} == {"a.b"}, "a.c.d is not of the pattern"
    expected = first
    gaps = 0
    for row in heard:
        if len(row) == 4:
            assert row[1:3] == ["/pub", 1]
            expected += row[3]
            gaps += row[3]
        else:
            assert row[1] == expected, "a silent gap, or out of order"
            expected += 1
    assert expected == total + 1
    assert gaps > 0
    wait_for(lambda: len(rows_of(log)) == total, "the casts")
    assert [number for _g, _s, number, _r in rows_of(log)] == list(range(1, total + 1))


class Confined(Agent):
    async def run(self) -> None:
        for verb, name in (("publish", "b"), ("subscribe", "b.>"), ("cast", "/b"), ("call", "/b")):
            try:
                result = getattr(self.bus, verb)(name, *([] if verb == "subscribe" else [1]))
                if verb == "call":
                    await result
                self.say((verb, "done"))
            except NotAllowed:
                self.say((verb, "not allowed"))


def test_the_policy_holds_for_each_verb(world):
    acl = Acl(may_call=("/a",), may_cast=("/a",), may_publish=("a.>",), may_subscribe=("a.>",))
    world.start("/b", Server)
    confined = world.start("/confined", Confined, acl=acl)
    for verb in ("publish", "subscribe", "cast", "call"):
        assert confined.hear() == (verb, "not allowed")


class Lawless(Agent):
    """Has a runtime that lets it do everything; its receivers' runtimes do not."""

    async def run(self) -> None:
        mine = self.bus._directory.member("/lawless")
        self.bus._directory.apply(Joined(replace(mine, acl=Acl())))  # type: ignore
        for number in range(3):
            self.bus.cast("/sink", number)
        try:
            await self.bus.call("/sink", 1)
        except NotAllowed:
            self.say((await self.bus.flush(), len(self.bus._channels)))


def test_the_receiver_enforces_the_policy_upon_a_sender_that_does_not(world, tmp_path):
    log = tmp_path / "log"
    world.start("/sink", Writer, log)
    lawless = world.start("/lawless", Lawless, acl=Acl(may_call=(), may_cast=()))
    assert lawless.hear() == (True, 1)
    assert stats_of(world, "/sink")["not_allowed"] == 4
    assert log.read_text() == ""


class Steady(Asker):
    """Casts and calls over one connection, each time it is told to."""

    def __init__(self) -> None:
        self.orders: list[Any] = []

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            if self.orders:
                (to,) = self.orders.pop(0)
                mine = self.bus._directory.member("/steady")
                self.bus._directory.apply(Joined(replace(mine, acl=Acl())))  # type: ignore
                self.bus.cast(to, "cast")
                try:
                    self.say((await self.bus.call(to, "bye", 5), self.bus.stats()["connections"]))
                except NotAllowed:
                    self.say(("not allowed", self.bus.stats()["connections"]))


def test_a_changed_policy_holds_on_a_connection_that_is_there_already(world):
    world.start("/server", Server)
    steady = world.start("/steady", Steady)
    for acl, answer in (
        (Acl(), "bye"),
        (Acl(may_call=(), may_cast=()), "not allowed"),
        (Acl(), "bye"),
    ):
        world.tell(Joined(replace(steady.member, acl=acl)))
        stats_of(world, "/server")  # has heard of it
        steady.pipe.send(("ask", "/server"))
        assert steady.hear() == (answer, 1)


# --- strangers ------------------------------------------------------------------------------


def stranger(world: World, path: str, frames: list[list[bytes]], id: bytes = b"") -> list[bytes]:
    """Send raw frames to an inbox from this process; what comes back within a moment."""
    context = zmq.Context()
    sock = context.socket(zmq.DEALER)
    if id:
        sock.setsockopt(zmq.ROUTING_ID, id)
    sock.connect(inbox_address(world.run_dir, path))
    for parts in frames:
        sock.send_multipart(parts)
    answers = []
    while sock.poll(300):
        answers.append(sock.recv())
    context.destroy(linger=0)
    return answers


def stats_of(world: World, path: str) -> Any:
    life = world.start(f"/asker{len(world.members)}", Asker, (path, "stats", 5))
    word, stats = life.hear()
    assert word == "ok"
    return stats


def test_rubbish_is_counted_and_dropped_and_hurts_nobody(world, tmp_path):
    log = tmp_path / "log"
    world.start("/sink", Writer, log)
    caster = world.start("/c", Caster, "/sink", 2000)
    good = encode([Hello("/c", 1, 1), Cast(1, b"\x01")])
    stranger(world, "/sink", [[b"\xc1" * 50], [os.urandom(200)], [good[:-3]], [b"", b"", b""]])
    stranger(world, "/sink", [[msgpack.packb([2, [3, 1, b""]])], [good, b"\0abcd", good]])
    stranger(world, "/sink", [[bytes(17 * 1024 * 1024)], [b"and on the same connection"]])
    assert stranger(world, "/sink", [[good]], id=b"my own name") == []
    assert stranger(world, "/sink", [[good]]) != []
    caster.hear()
    stats = stats_of(world, "/sink")
    assert stats["malformed"] == 8
    assert stats["strangers"] == 1  # a name of its own choice
    assert stats["unknown"] >= 1  # a process that is nobody's life
    assert [number for _g, _s, number, _r in rows_of(log)] == list(range(1, 2001))


def test_rubbish_is_told_of_in_the_log_of_who_got_it(world, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(client, "_REMARK_TICKS", 1)  # a tick for the minute
    world.start("/sink", Writer, tmp_path / "log")
    good = encode([Hello("/c", 1, 1), Cast(1, b"\x01")])
    rubbish = [
        [b"\xc1" * 50],
        [good[:-3]],
        [msgpack.packb([2, [3, 1, b""]])],
        [bytes(17 * 1024 * 1024)],
    ]
    stranger(world, "/sink", [*rubbish, [good]])
    stranger(world, "/sink", [[good]], id=b"my own name")
    words = "bus: dropped in the last minute: "
    wanted = {
        "malformed": len(rubbish),
        "from strangers": 1,
        "from processes that are no members": 1,
    }
    said, deadline = "", time.monotonic() + DEADLINE_S

    def told() -> Counter[str]:
        lines = [line.removeprefix(words) for line in said.splitlines() if line.startswith(words)]
        counts = [part.split(" ", 1) for line in lines for part in line.split(", ")]
        return sum((Counter({what: int(count)}) for count, what in counts), Counter())

    while told().total() < sum(wanted.values()):
        assert time.monotonic() < deadline, said
        said += capfd.readouterr().err
    assert told() == wanted, "each is told of once"
    assert stats_of(world, "/sink")["malformed"] == len(rubbish)


def test_a_receiver_that_answers_rubbish_hurts_only_itself(world):
    """Its inbox is this process's; between the rubbish it answers as one does."""
    context = zmq.Context()
    inbox = context.socket(zmq.ROUTER)
    inbox.bind(inbox_address(world.run_dir, "/babbler"))
    inbox.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
    try:
        world.start("/server", Server)
        world.members["/babbler"] = Member(path="/babbler", generation=1, pid=os.getpid())
        caller = world.start("/caller", Asker, ("/babbler", 1, DEADLINE_S), ("/server", 2, 5))
        for answer in (Welcome(1, 0, 0, 10), Reply(1, b"\x07")):
            route, _frame = inbox.recv_multipart()
            for frame in (b"\xc1" * 50, encode([Cast(1, b"\x01")])[:-1], bytes(17 << 20)):
                inbox.send_multipart([route, frame])
            inbox.send_multipart([route, encode([answer])])
        assert [caller.hear(), caller.hear()] == [("ok", 7), ("ok", 2)]
        assert traffic_of(world, "/caller", dropped=6).dropped == 6
    finally:
        context.destroy(linger=0)


def test_rubbish_on_a_topic_is_counted_and_dropped(world, tmp_path, exchange_process):
    world.start("/sink", Writer, tmp_path / "log")
    world.start("/sub", Listening, ["a.>"])
    world.start("/pub", Publishing)
    remote = world.start("/remote", Remote)
    context = zmq.Context()
    rubbish = context.socket(zmq.PUB)
    rubbish.connect(publish_address(world.run_dir))

    def hears_between_rubbish() -> bool:
        for frames in ([b"\xc1" * 50], [encode([Cast(1, b"")])], [], [b"", b""]):
            rubbish.send_multipart([topic_frame("a.b"), *frames])
        remote.pipe.send(("ask", "/pub", 1))
        remote.hear()
        remote.pipe.send(("ask", "/sub", None))
        return bool(remote.hear()) and traffic_of(world, "/sub").dropped >= 4

    try:
        wait_for(hears_between_rubbish, "both to arrive")
    finally:
        context.destroy(linger=0)


def traffic_of(world: World, path: str, **wanted: int) -> Traffic:
    """What its file says as soon as it has counted so many."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = read_traffic(world.run_dir / "inbox", inbox_name(path), time.time()) or Traffic()
        if all(getattr(found, name) >= number for name, number in wanted.items()):
            return found
        assert time.monotonic() < deadline, found


def test_counts_of_a_life_that_was_killed_are_still_there(world, tmp_path):
    world.start("/sink", Writer, tmp_path / "log")
    world.start("/c", Caster, "/sink", 2000).hear()
    assert traffic_of(world, "/sink", received=2000).received == 2000
    world.kill("/sink")
    world.start("/sink", Writer, tmp_path / "log")
    world.start("/d", Caster, "/sink", 500).hear()
    found = traffic_of(world, "/sink", received=2500)
    assert (found.received, found.queued, found.dropped) == (2500, 0, 0)
    assert traffic_of(world, "/c", sent=2000).sent == 2000


class Forger(Agent):
    """A member that says it is another one."""

    async def run(self) -> None:
        self.bus.me = Sender("/c", 1)
        self.bus.cast("/sink", 666)
        assert not await self.bus.flush(0.2)
        self.say("tried")


class Reporting(Writer):
    def handle_call(self, request: Any, sender: Any) -> Any:
        return self.reports


def test_a_forged_name_is_refused_and_reported_by_the_true_one(world, tmp_path):
    log = tmp_path / "log"
    world.start("/sink", Reporting, log)
    forger = world.start("/forger", Forger)
    assert forger.hear() == "tried"
    (kind, facts), *_rest = stats_of(world, "/sink")
    assert kind == "forged"
    assert (facts["sender"], facts["claimed"]) == ("/forger", "/c")
    assert facts["pid"] == forger.member.pid
    assert log.read_text() == ""


def test_a_program_without_a_loop_has_the_same_verbs(world, tmp_path):
    log = tmp_path / "log"
    server = world.start("/server", Server)
    sink = world.start("/sink", Writer, log)
    me = Member(path="/program", generation=1, pid=os.getpid())
    world.tell(Joined(me))
    directory = MemoryDirectory([me, server.member, sink.member])
    program = Sender("/program", 1)

    def opened(ours: Any) -> Bus:
        return Bus(world.run_dir, program, directory, ours, inbox=False)

    with BlockingBus.start(opened) as bus:
        assert bus.call("/server", "who") == ["/program", 1]
        for number in range(100):
            bus.cast("/sink", number)
        assert bus.flush()
        with pytest.raises(NoProcess):
            bus.cast("/nobody", 1)
        assert [member.path for member in bus.find()] == ["/program", "/server", "/sink"]
    assert [number for _g, _s, number, _r in rows_of(log)] == list(range(100))
