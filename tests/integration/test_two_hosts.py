"""Two hosts on one machine: their agents speak over tcp with CURVE, and over many deaths."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

import supervisor_tree
from supervisor_tree.bus.codec import decode, encode, pack
from supervisor_tree.bus.crossing import Back, Forth, write_header
from supervisor_tree.bus.keys import make_keys, read_secret_key
from supervisor_tree.bus.messages import Call, Hello, Reply
from supervisor_tree.embed import RunningTree
from supervisor_tree.errors import (
    AgentDown,
    CallTimeout,
    NoProcess,
    NotAllowed,
    RemoteError,
    SupervisorTreeError,
)

HERE = "tests.integration.talkers"
DEADLINE_S = 30.0
EVERYTHING = {"may_call": [">"], "may_cast": [">"]}


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for what is to come true; there is nothing to be told by."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if result := condition():
            return result
        threading.Event().wait(0.01)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert isinstance(port, int)
        return port


class Place:
    """Where one host is to run: its name, its port, its keys, its directories."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory / name
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.public = make_keys(self.directory / "keys")

    def bus(self, *peers: Place, **more: Any) -> dict[str, Any]:
        """The `bus` part of its configuration; `more` is said of every peer."""
        rights = EVERYTHING | more
        return {
            "listen": self.address,
            "key": str(self.directory / "keys" / "host.secret"),
            "peers": {
                peer.name: {"address": peer.address, "key": peer.public, **rights} for peer in peers
            },
        }

    @property
    def log(self) -> str:
        """What its gateway has said."""
        file = self.directory / "logs/_/gateway.log"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def run() -> Iterator[Callable[..., RunningTree]]:
    trees: list[RunningTree] = []

    def run(place: Place, bus: dict[str, Any], *children: dict[str, Any]) -> RunningTree:
        tree = {"intensity": 100, "children": list(children)}
        trees.append(
            supervisor_tree.run(
                {"host": {"name": place.name, "bus": bus}, "tree": tree},
                state_dir=place.directory / "state",
                log_dir=place.directory / "logs",
            )
        )
        return trees[-1]

    yield run
    for tree in trees:
        tree.close()


@pytest.fixture
def places(tmp_path: Path) -> tuple[Place, Place]:
    return Place("north", tmp_path), Place("south", tmp_path)


def talker(id: str, name: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "agent": f"{HERE}:{name}", **more}


def kill(tree: RunningTree, path: str) -> None:
    """Kill a life of this child, as soon as there is one."""

    def strike() -> bool:
        pid = tree.status(path)[0]["pid"]
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    until(strike, f"{path} lives")


def answer(tree: RunningTree, to: str, request: Any) -> Any:
    """The answer, once there is a connection; one that is lost with it is asked for again."""

    def ask() -> Any:
        try:
            return [tree.call(to, request, timeout=DEADLINE_S / 3)]
        except (AgentDown, CallTimeout):
            return None

    return until(ask, f"{to} answers")[0]


def test_agents_of_two_hosts_call_each_other_by_name(run, places) -> None:
    north, south = places
    one = run(north, north.bus(south), talker("asking", "Asking"))
    two = run(south, south.bus(north), talker("echo", "Echo"))
    assert answer(one, "south:/echo", {"a": [1, b"x", None]}) == {"a": [1, b"x", None]}
    path, generation = one.call("/asking", ["south:/echo", "who am I"])
    assert path == "north:/asking"
    assert generation > 2**24  # its era is before it
    client, _ = one.call("south:/echo", "who am I")
    assert client.startswith("north:/_/clients/")
    assert two.call("/echo", "who am I")[0].startswith("/_/clients/")
    for number in range(1000):
        one.cast("south:/echo", number)
    assert one.flush(DEADLINE_S)
    assert one.call("south:/echo", "casts") == list(range(1000))


def test_what_goes_wrong_abroad_comes_back_as_it_does_at_home(run, places) -> None:
    north, south = places
    one = run(north, north.bus(south))
    two = run(
        south,
        south.bus(north),
        talker("echo", "Echo"),
        talker("once", "Echo", restart="temporary"),
        {"id": "program", "command": ["sleep", "1000"]},
    )
    answer(one, "south:/echo", 1)
    with pytest.raises(RemoteError, match="as was asked") as failure:
        one.call("south:/echo", "raise")
    assert failure.value.type == "ValueError"
    assert "talkers.py" in failure.value.text
    with pytest.raises(NoProcess, match="no other host is called west"):
        one.cast("west:/echo", 1)
    with pytest.raises(NoProcess, match="south:/nobody"):
        one.call("south:/nobody", 1)
    with pytest.raises(NoProcess):
        one.call("south:/program", 1)
    with pytest.raises(NoProcess, match="cannot be monitored"):
        one.monitor("south:/echo")
    with pytest.raises(AgentDown):
        one.call("south:/echo", "exit", timeout=DEADLINE_S)  # it dies of it
    two.stop("/once")
    with pytest.raises(AgentDown):
        one.call("south:/once", 1, timeout=DEADLINE_S)
    two.close()
    with pytest.raises(AgentDown):
        until(lambda: one.call("south:/echo", 1, timeout=DEADLINE_S) is None, "it is noticed")


def test_no_death_of_a_gateway_or_a_receiver_loses_a_cast_or_its_order(run, places) -> None:
    north, south = places
    file = south.directory / "ledger"
    one = run(north, north.bus(south))
    two = run(south, south.bus(north), talker("ledger", "Ledger", args={"file": str(file)}))
    answer(one, "south:/ledger", 0)
    victims = [(one, "/_/gateway"), (two, "/_/gateway"), (two, "/ledger")]
    sent = 0
    for _round in range(3):
        for victim in victims:
            for _ in range(500):
                one.cast("south:/ledger", sent)
                sent += 1
            kill(*victim)
    assert one.flush(DEADLINE_S), one.status("/_/gateway", all=True)
    lives: dict[str, list[int]] = {}
    for line in file.read_text().splitlines():
        generation, _sender, number, _redelivered = line.split()
        lives.setdefault(generation, []).append(int(number))
    handled = {number for numbers in lives.values() for number in numbers}
    assert handled == set(range(sent))
    for numbers in lives.values():  # each life: in order, and nothing twice
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_host_that_comes_back_is_another_life_to_those_who_knew_it(run, places) -> None:
    north, south = places
    one = run(north, north.bus(south), talker("echo", "Echo"))
    two = run(south, south.bus(north), talker("echo", "Echo"))
    for tree, to in ((one, "south:/echo"), (two, "north:/echo")):
        answer(tree, to, 1)
        for number in range(100):
            tree.cast(to, number)
        assert tree.flush(DEADLINE_S)
    first = one.call("south:/echo", "who am I")
    two.close()
    for number in range(100, 110):
        one.cast("south:/echo", number)  # kept while nobody is there
    again = run(south, south.bus(north), talker("echo", "Echo"))
    assert one.flush(DEADLINE_S)
    assert again.call("/echo", "casts") == list(range(100, 110))
    again_asks = answer(again, "north:/echo", "who am I")
    assert again_asks[1] > first[1]
    one.close()
    anew = run(north, north.bus(south))
    answer(anew, "south:/echo", 1)
    for number in range(110, 120):  # numbered from 1 by a client that is called as the former was
        anew.cast("south:/echo", number)
    assert anew.flush(DEADLINE_S)
    assert again.call("/echo", "casts") == list(range(100, 120))


def test_a_peer_may_do_what_is_named_and_nothing_else(run, places) -> None:
    north, south = places
    one = run(north, north.bus(south))
    rights = {"may_call": ["/open/*"], "may_cast": []}
    group = {"strategy": "one_for_one", "children": [talker("echo", "Echo")]}
    two = run(
        south,
        south.bus(north, **rights),
        {"id": "open", "supervisor": group},
        talker("closed", "Echo"),
    )
    assert answer(one, "south:/open/echo", 7) == 7
    with pytest.raises(NotAllowed):
        one.call("south:/closed", 1)
    one.cast("south:/open/echo", "refused")
    assert one.flush(DEADLINE_S)  # refused for good, and not kept
    assert one.call("south:/open/echo", "casts") == []
    del two


def test_the_sending_host_keeps_its_own_policy_too(run, places) -> None:
    north, south = places
    one = run(
        north,
        north.bus(south),
        talker("homely", "Asking", acl={"may_call": ["/>", "/*/*", "/echo"]}),
        talker("curious", "Asking", acl={"may_call": ["south:/*"]}),
    )
    run(south, south.bus(north), talker("echo", "Echo"))
    answer(one, "south:/echo", 1)
    assert one.call("/curious", ["south:/echo", 1]) == 1
    with pytest.raises(NotAllowed, match="may not call south:/echo"):
        one.call("/homely", ["south:/echo", 1])  # a path without a host is of one's own


def test_strangers_are_refused_by_the_handshake_and_counted(run, places, tmp_path) -> None:
    north, south = places
    stranger = Place("stranger", tmp_path)
    two = run(south, south.bus(north), talker("echo", "Echo"))
    three = run(stranger, stranger.bus(south))  # knows south's key, but south does not know it
    with pytest.raises(AgentDown):
        three.call("south:/echo", 1)
    until(lambda: "strangers" in south.log, "the strangers are told of")
    assert "connected" not in stranger.log
    assert two.call("/echo", "casts") == []


def test_a_client_without_curve_gets_nothing(run, places) -> None:
    north, south = places
    run(south, south.bus(north), talker("echo", "Echo"))
    with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.setsockopt(zmq.LINGER, 0)
        plain.setsockopt(zmq.IMMEDIATE, 1)
        monitor = plain.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        plain.connect(south.address)
        assert monitor.poll(10_000)
        event = parse_monitor_message(monitor.recv_multipart())
        assert event["event"] == zmq.EVENT_DISCONNECTED
        with pytest.raises(zmq.Again):
            plain.send(b"hello", zmq.NOBLOCK)
        plain.disable_monitor()
        monitor.close(linger=0)
    until(lambda: "strangers" in south.log, "it is told of")


def test_rubbish_from_a_peer_is_counted_and_dropped_and_hurts_nobody(run, places) -> None:
    north, south = places
    two = run(south, south.bus(north), talker("echo", "Echo"))
    pid = two.status("/_/gateway")[0]["pid"]
    header = write_header(Forth("/echo", "/me", 1))
    good = [header, encode([Hello("/me", 1, 1), Call(1, pack("who am I"))])]
    rubbish: list[list[bytes]] = [
        [b""],
        [b"x", b"y", b"z"],
        [b"\xc1", good[1]],
        [write_header(Forth("/echo", "me", 1)), good[1]],
        [write_header(Forth("/echo", "/me\n", 1)), good[1]],
        [header, b"\xff" * 100],
        [header, encode([Reply(1, b"")])],
        [write_header(Back("/echo", "/me", 1)), good[1]],
        [msgpack.packb([1, -1, "/echo", "/me", 1]), good[1]],
    ]
    with zmq.Context() as context, dealer(context, north, south) as sock:
        for frames in rubbish:
            sock.send_multipart(frames)
        sock.send_multipart([header, bytes(17 * 1024 * 1024)])  # the connection ends of it
        until(lambda: sock.poll(100) or sock.send_multipart(good), "it is answered all the same")
        _header, frame = sock.recv_multipart()
        assert decode(frame)
    until(lambda: "malformed" in south.log, "it is told of")
    assert two.status("/_/gateway")[0]["pid"] == pid


def dealer(context: Any, who: Place, to: Place) -> Any:
    """A peer's bare socket, with its true keys."""
    sock = context.socket(zmq.DEALER)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.RECONNECT_IVL, 10)
    sock.curve_secretkey = read_secret_key(who.directory / "keys/host.secret").encode()
    sock.curve_publickey = who.public.encode()
    sock.curve_serverkey = to.public.encode()
    sock.connect(to.address)
    return sock


def test_a_host_with_peers_does_not_run_without_its_key(run, places) -> None:
    north, south = places
    bus = north.bus(south)
    (north.directory / "keys/host.secret").chmod(0o644)
    with pytest.raises(SupervisorTreeError, match="chmod 600"):
        run(north, bus)
    (north.directory / "keys/host.secret").unlink()
    with pytest.raises(SupervisorTreeError, match="supervisor-tree keys"):
        run(north, bus)
