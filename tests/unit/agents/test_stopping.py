from __future__ import annotations

import select
import signal
from collections.abc import Iterator

import pytest

from supervisor_tree.agents.stopping import Stopped, Stopping


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    stopping = Stopping()
    yield stopping
    stopping.close()


def test_nobody_is_asked_to_stop_at_first(stopping: Stopping) -> None:
    assert not stopping.is_set()
    assert stopping.signal is None
    assert stopping.wait(0) is False


def test_a_request_ends_every_wait_from_then_on(stopping: Stopping) -> None:
    stopping.request(signal.SIGTERM)
    assert stopping.is_set()
    assert [stopping.wait(), stopping.wait(0), stopping.wait(1e12)] == [True, True, True]


def test_the_first_signal_is_the_one_remembered(stopping: Stopping) -> None:
    stopping.request(signal.SIGUSR1)
    stopping.request(signal.SIGTERM)
    assert stopping.signal == signal.SIGUSR1


def test_the_host_is_told_once(stopping: Stopping) -> None:
    told: list[bool] = []
    stopping.on_request = lambda: told.append(stopping.is_set())
    stopping.request(signal.SIGTERM)
    stopping.request(signal.SIGTERM)
    assert told == [True]


def test_its_descriptor_is_readable_once_set(stopping: Stopping) -> None:
    assert select.select([stopping], [], [], 0)[0] == []
    stopping.request(signal.SIGTERM)
    assert select.select([stopping], [], [], 0)[0] == [stopping]


def test_a_negative_timeout_does_not_wait(stopping: Stopping) -> None:
    assert stopping.wait(-1) is False


def test_code_that_does_not_trap_stops_is_ended_where_it_stands(stopping: Stopping) -> None:
    with pytest.raises(Stopped), stopping.interruptible():
        stopping.request(signal.SIGTERM)


def test_code_that_traps_stops_is_left_alone(stopping: Stopping) -> None:
    stopping.watched = True
    with stopping.interruptible():
        stopping.request(signal.SIGTERM)
    assert stopping.is_set()


def test_only_the_interruptible_block_is_interrupted(stopping: Stopping) -> None:
    with stopping.interruptible():
        pass
    stopping.request(signal.SIGTERM)
    assert stopping.is_set()


def test_a_block_is_not_entered_after_a_stop(stopping: Stopping) -> None:
    stopping.request(signal.SIGTERM)
    with pytest.raises(Stopped), stopping.interruptible():
        pytest.fail("the block was entered")


def test_an_interrupted_block_tidies_up_in_peace(stopping: Stopping) -> None:
    tidied = []

    def work() -> None:
        try:
            stopping.request(signal.SIGTERM)
        finally:
            stopping.request(signal.SIGTERM)  # the impatient one's second
            tidied.append(True)

    with pytest.raises(Stopped), stopping.interruptible():
        work()
    assert tidied
