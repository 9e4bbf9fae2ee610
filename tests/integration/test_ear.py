"""How the root listens to what children say of themselves, over a real socket and loop."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from supervisor_tree.runtime.clock import SystemClock
from supervisor_tree.runtime.ear import Ear
from supervisor_tree.runtime.notify import BEAT, Datagram, NotifySocket
from supervisor_tree.runtime.reactor import Reactor


class Stand:
    """An ear, somebody to hear, and somebody to speak."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "notify.sock"
        self.reactor = Reactor(SystemClock())
        self.socket = NotifySocket(self.path)
        self.expects_word = False
        self.beats = 0
        self.words: list[str] = []
        self.ear = Ear(self.socket, self.reactor, self, self.take)

    def take_beats(self, datagrams: list[Datagram]) -> list[Datagram]:
        rest = [datagram for datagram in datagrams if datagram.fields is not BEAT]
        self.beats += len(datagrams) - len(rest)
        return rest

    def take(self, datagrams: Sequence[Datagram]) -> None:
        assert all(datagram.pid == os.getpid() for datagram in datagrams)
        self.words += [datagram.fields["STATUS"] for datagram in datagrams]

    def say(self, text: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode(), str(self.path))

    def turn_until_heard(self, *words: str) -> None:
        deadline = time.monotonic() + 10
        while self.words != [*words]:
            assert time.monotonic() < deadline, self.words
            self.reactor.turn(0.1)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    stand.reactor.close()
    stand.socket.close()


def test_after_a_beat_what_comes_next_may_wait_a_moment(stand: Stand):
    stand.say("WATCHDOG=1")
    stand.reactor.turn(0)
    assert stand.beats == 1
    stand.say("WATCHDOG=1")
    stand.say("STATUS=well")
    stand.turn_until_heard("well")
    assert stand.beats == 2


def test_whoever_is_about_to_become_ready_is_heard_at_once(stand: Stand):
    stand.say("WATCHDOG=1")
    stand.reactor.turn(0)
    stand.expects_word = True
    stand.say("STATUS=ready")
    stand.reactor.turn(0)
    assert stand.words == ["ready"]
    stand.say("WATCHDOG=1")
    stand.reactor.turn(0)
    stand.say("STATUS=me too")
    stand.reactor.turn(0)
    assert stand.words == ["ready", "me too"]


def test_what_was_said_to_a_deleted_socket_is_heard_and_so_is_the_new_one(stand: Stand):
    stand.say("WATCHDOG=1")
    stand.reactor.turn(0)
    stand.say("STATUS=before")
    stand.path.unlink()
    stand.ear.bind_anew()
    assert stand.words == ["before"]
    stand.say("STATUS=after")
    stand.turn_until_heard("before", "after")
