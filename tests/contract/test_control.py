"""The control protocol over real ZeroMQ sockets: server and client keep their promises."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgpack
import pytest
import zmq

from supervisor_tree.control import server as server_module
from supervisor_tree.control.client import ControlClient, host_answers
from supervisor_tree.control.server import ControlServer
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.errors import (
    AlreadyRunning,
    ConfigError,
    NoHost,
    NoSuchChild,
    NotPermitted,
    OperationFailed,
    TimedOut,
    UsageError,
)
from supervisor_tree.wire import read_reply, request_frame
from tests.contract.answering import AnsweringHost
from tests.unit.control.stage import StagedHost, program

EVENT = LifecycleEvent(event=EventName.CHILD_READY, path="/a")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def answering(run_dir: Path) -> Iterator[AnsweringHost]:
    host = StagedHost(program("a"), program("b")).boot()
    with AnsweringHost(host, run_dir) as answering:
        yield answering


@pytest.fixture
def client(answering: AnsweringHost) -> Iterator[ControlClient]:
    with ControlClient(answering.run_dir) as client:
        yield client


class Stranger:
    """A peer that sends what it likes."""

    def __init__(self, run_dir: Path) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(f"ipc://{run_dir / 'control.sock'}")

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.destroy(linger=0)

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def receive(self):
        assert self.socket.poll(5000), "no answer"
        return read_reply(self.socket.recv())


# --- asking ---------------------------------------------------------------------------------------


def test_a_request_is_answered(client):
    assert client.request("ping")["pid"] == 4711
    assert [row["path"] for row in client.status()] == ["/", "/a", "/b"]


def test_an_error_is_raised_as_the_class_it_is(client):
    with pytest.raises(NoSuchChild, match="/nowhere"):
        client.request("show", {"path": "/nowhere"})
    with pytest.raises(UsageError, match="unknown verb"):
        client.request("frobnicate")
    assert client.request("ping"), "the connection is good for the next request"


def test_a_slow_order_holds_up_nobody(answering, client):
    answering.host.stubborn = {"/a"}
    with pytest.raises(TimedOut):
        client.request("stop", {"paths": ["/a"]}, timeout=0.05)
    with ControlClient(answering.run_dir) as other:
        assert other.request("ping")
    answering.do(lambda: answering.host.exit("/a"))
    assert client.request("ping")["name"] == "demo", "the late answer was taken for this one"


def test_a_wait_is_answered_when_its_time_comes(answering, client):
    asked = threading.Event()
    answers = []

    def ask() -> None:
        with ControlClient(answering.run_dir) as waiting:
            asked.set()
            answers.append(waiting.request("wait", {"path": "/b", "for": "stopped"}))

    thread = threading.Thread(target=ask)
    thread.start()
    assert asked.wait(5)
    client.request("stop", {"paths": ["/b"]})
    thread.join(5)
    assert answers == [{"/b": "stopped"}]


def test_many_requests_in_one_breath_are_all_answered(answering):
    """The edge of the descriptor comes once; what a turn leaves over must not be forgotten."""
    count = 3 * server_module._FRAMES_PER_TURN
    with Stranger(answering.run_dir) as stranger:
        stranger.socket.setsockopt(zmq.RCVHWM, 0)
        for number in range(count):
            stranger.send(request_frame(number, "ping", {}))
        assert [stranger.receive()[0] for _ in range(count)] == list(range(count))


def test_requests_that_are_not_answered_yet_hide_none_behind_them(answering):
    """As above, but no answer goes out that would make the server look at its socket again."""
    with Stranger(answering.run_dir) as stranger:
        waiting = {"path": "/a", "for": "stopped"}
        for number in range(server_module._FRAMES_PER_TURN):
            stranger.send(request_frame(number, "wait", waiting))
        stranger.send(request_frame(-1, "ping", {}))
        assert stranger.receive()[0] == -1


# --- who is there, and who may speak --------------------------------------------------------------


def test_sockets_are_for_the_owner_alone(answering):
    for name in ("control.sock", "events.sock"):
        mode = (answering.run_dir / name).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


def test_the_umask_of_the_process_is_as_before(run_dir):
    before = os.umask(0o027)
    try:
        with AnsweringHost(StagedHost(), run_dir):
            assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_peer_of_another_user_is_answered_that_it_may_not(answering, client):
    def somebody_else() -> None:
        answering.server._uids = {os.geteuid() + 1}

    answering.do(somebody_else)
    with pytest.raises(NotPermitted):
        client.request("ping")
    assert answering.server.counters["not_permitted"] == 1


def test_the_kernel_says_who_a_peer_is(run_dir):
    seen = []
    context = zmq.Context()
    run_dir.mkdir()
    router = context.socket(zmq.ROUTER)
    router.bind(f"ipc://{run_dir / 'control.sock'}")
    try:
        with Stranger(run_dir) as stranger:
            stranger.send(b"hello")
            assert router.poll(5000)
            frames = router.recv_multipart(copy=False)
            seen.append(server_module._credentials(frames[-1]))
    finally:
        context.destroy(linger=0)
        (run_dir / "control.sock").unlink()
    assert seen == [(os.geteuid(), os.getpid())]


def test_without_a_host_a_client_says_so_at_once(run_dir):
    with pytest.raises(NoHost, match="supervisor-tree run"):
        ControlClient(run_dir)
    run_dir.mkdir()
    assert not host_answers(run_dir)


def test_a_socket_that_nobody_listens_to_is_no_host(run_dir):
    run_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(run_dir / "control.sock"))
    with pytest.raises(NoHost):
        ControlClient(run_dir)
    (run_dir / "control.sock").unlink()


def test_a_host_that_ends_is_noticed_before_the_deadline(run_dir):
    with AnsweringHost(StagedHost(program("a")).boot(), run_dir) as answering:
        answering.host.stubborn = {"/a"}
        client = ControlClient(run_dir)
    with client, pytest.raises(NoHost):
        client.request("stop", {"paths": ["/a"]}, timeout=30.0)


def test_a_second_server_takes_nothing_from_the_first(answering, client):
    with pytest.raises(AlreadyRunning):
        ControlServer(answering.run_dir, lambda request: None)
    assert client.request("ping")


def test_a_socket_left_by_a_dead_host_is_replaced(run_dir):
    run_dir.mkdir()
    for name in ("control.sock", "events.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(run_dir / name))
    with AnsweringHost(StagedHost(), run_dir), ControlClient(run_dir) as client:
        assert client.request("ping")
    assert list(run_dir.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/run", "x" * 120])
def test_a_directory_that_cannot_hold_sockets_is_a_configuration_error(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot listen"):
        ControlServer(tmp_path / name, lambda request: None)


# --- what is malformed ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"\xc1garbage"],
        [b"", msgpack.packb([1, 1, "ping", {}])],
        [msgpack.packb([1, "one", "ping", {}])],
        [msgpack.packb({"verb": "ping"})],
        [b"\x91" * 5000],
        [b"x" * 17_000_000],
    ],
)
def test_a_frame_that_is_no_request_hurts_nobody(answering, client, frames):
    with Stranger(answering.run_dir) as stranger:
        stranger.send(*frames)
        stranger.socket.poll(50)
    assert client.request("ping")


def test_a_malformed_request_with_a_number_is_told_what_is_wrong(answering):
    with Stranger(answering.run_dir) as stranger:
        stranger.send(msgpack.packb([1, 7, "ping", "args"]))
        id, status, facts = stranger.receive()
    assert (id, status, facts["type"]) == (7, "error", "UsageError")
    assert answering.server.counters["malformed"] == 1


def test_a_verb_that_breaks_inside_the_host_breaks_only_itself(answering, client):
    def facts():
        raise ZeroDivisionError("a bug")

    original = answering.host.facts
    answering.host.facts = facts
    with pytest.raises(OperationFailed, match="a bug"):
        client.request("ping")
    answering.host.facts = original
    assert client.request("ping")
    assert answering.server.counters["faults"] == 1


def test_an_answer_to_a_client_that_is_gone_is_counted(answering):
    answering.do(lambda: answering.server.reply(b"nobody", 1, "too late"))
    assert answering.server.counters["replies_unreachable"] == 1


def test_a_client_that_never_reads_does_not_stop_the_host(answering, client):
    count = 5000
    with Stranger(answering.run_dir) as stranger:
        stranger.socket.setsockopt(zmq.SNDHWM, 0)
        for number in range(count):
            stranger.send(request_frame(number, "status", {}))
        for _ in range(10):
            assert client.request("ping", timeout=5.0)


# --- events ---------------------------------------------------------------------------------------


def publish(answering: AnsweringHost, count: int) -> None:
    def act() -> None:
        for _ in range(count):
            answering.host.publish(EVENT)

    answering.do(act)


def test_a_subscriber_gets_the_past_and_then_the_present(answering, client):
    written = answering.host.log.seq
    with closing(client.subscribe_events(0, timeout=5.0)) as events:
        seen = [next(events)["seq"] for _ in range(written)]
        publish(answering, 3)
        seen += [next(events)["seq"] for _ in range(3)]
    assert seen == list(range(1, written + 4))


def test_a_subscriber_may_begin_with_what_is_to_come(answering, client):
    with closing(client.subscribe_events(timeout=5.0)) as events:
        first = answering.host.log.seq + 1
        publish(answering, 2)
        assert [next(events)["seq"] for _ in range(2)] == [first, first + 1]


def test_an_event_that_the_subscription_missed_is_read_afterwards(answering, client):
    """Nothing arrives on the event socket any more: the record alone must give every event."""
    with closing(client.subscribe_events(timeout=10.0)) as events:
        publish(answering, 1)
        last = next(events)["seq"]
        answering.do(lambda: setattr(answering.host, "on_publish", lambda event: None))
        publish(answering, 2)
        assert [next(events)["seq"] for _ in range(2)] == [last + 1, last + 2]


def test_a_gap_in_the_live_stream_is_filled_from_the_record(answering, client):
    last = answering.host.log.seq
    with closing(client.subscribe_events(last, timeout=10.0)) as events:
        publish(answering, 1)
        assert next(events)["seq"] == last + 1
        tell = answering.server.publish

        def lossy(event) -> None:
            if event["seq"] % 2:
                tell(event)

        answering.do(lambda: setattr(answering.host, "on_publish", lossy))
        publish(answering, 50)
        assert [next(events)["seq"] for _ in range(50)] == list(range(last + 2, last + 52))


def test_what_the_host_no_longer_keeps_is_reported_as_a_gap(run_dir):
    host = StagedHost(program("a")).boot()
    host.log = type(host.log)("demo", "life-1", kept=5)
    for _ in range(20):
        host.publish(EVENT)
    gaps = []
    with AnsweringHost(host, run_dir), ControlClient(run_dir) as client:
        gap = lambda first, last: gaps.append((first, last))  # noqa: E731
        with closing(client.subscribe_events(3, timeout=5.0, on_gap=gap)) as events:
            seen = [next(events)["seq"] for _ in range(5)]
    assert seen == [16, 17, 18, 19, 20]
    assert gaps == [(4, 15)]


def test_a_stream_ends_with_its_host(run_dir):
    with AnsweringHost(StagedHost(program("a")).boot(), run_dir) as answering:
        client = ControlClient(run_dir)
        events = client.subscribe_events(answering.host.log.seq - 1)
        assert next(events)["seq"] == answering.host.log.seq
    with client:
        assert list(events) == []


def test_silence_beyond_the_timeout_is_told(answering, client):
    with closing(client.subscribe_events(timeout=0.1)) as events, pytest.raises(TimedOut):
        next(events)


def test_a_subscriber_that_does_not_read_stops_nobody(answering, client):
    context = zmq.Context()
    try:
        deaf = context.socket(zmq.SUB)
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.setsockopt(zmq.SUBSCRIBE, b"")
        deaf.connect(f"ipc://{answering.run_dir / 'events.sock'}")
        last = answering.host.log.seq
        with closing(client.subscribe_events(last, timeout=10.0)) as events:
            publish(answering, 3000)
            assert [next(events)["seq"] for _ in range(3000)] == list(range(last + 1, last + 3001))
    finally:
        context.destroy(linger=0)


def test_the_topic_of_an_event_is_its_path(answering):
    context = zmq.Context()
    try:
        one = context.socket(zmq.SUB)
        one.setsockopt(zmq.SUBSCRIBE, b"/b")
        one.connect(f"ipc://{answering.run_dir / 'events.sock'}")
        other = LifecycleEvent(event=EventName.CHILD_READY, path="/b")
        while not one.poll(20):  # until the subscription has arrived; bounded by the test's limit
            answering.do(lambda: answering.host.publish(EVENT))
            answering.do(lambda: answering.host.publish(other))
        topic, body = one.recv_multipart()
        assert topic == b"/b"
        assert msgpack.unpackb(body)["path"] == "/b"
    finally:
        context.destroy(linger=0)


def test_an_idle_server_does_not_turn(answering, client):
    """Neither the edge nor the look-again may make a busy loop."""
    client.request("ping")
    answering.do(lambda: None)
    before = answering.turns
    threading.Event().wait(0.2)
    assert answering.turns - before <= 3
