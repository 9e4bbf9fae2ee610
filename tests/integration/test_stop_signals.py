"""A stop that a signal asks for, whichever thread the signal comes to."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from supervisor_tree.agents.stopping import Stopping


@pytest.fixture
def listening() -> Iterator[Stopping]:
    stopping = Stopping()
    stopping.listen([signal.SIGUSR1])
    yield stopping
    stopping.close()


@pytest.fixture
def elsewhere(listening: Stopping) -> Iterator[Stopping]:
    """A signal comes to another thread while this one sleeps: no wait of this is interrupted."""
    main = threading.get_native_id()

    def strike() -> None:
        deadline = time.monotonic() + 10
        while not _sleeps(main) and time.monotonic() < deadline:
            os.sched_yield()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    thread = threading.Thread(target=strike)
    thread.start()
    yield listening
    thread.join()


def _sleeps(thread: int) -> bool:
    with open(f"/proc/self/task/{thread}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"


def test_a_wait_does_not_miss_a_signal_that_did_not_interrupt_it(elsewhere: Stopping) -> None:
    assert elsewhere.wait(10) is True


def test_a_loop_does_not_miss_a_signal_that_did_not_interrupt_it(elsewhere: Stopping) -> None:
    assert asyncio.run(elsewhere.within(10)) is True


def test_other_signals_do_not_end_a_wait(listening: Stopping) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda signum, _frame: seen.append(signum))
    try:
        signal.raise_signal(signal.SIGUSR2)
        assert listening.wait(0.01) is False
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert seen == [signal.SIGUSR2]


def test_a_forked_process_has_no_handler_of_its_parent(listening: Stopping) -> None:
    pid = os.fork()
    if pid == 0:
        signal.raise_signal(signal.SIGUSR1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGUSR1
    assert not listening.is_set()


def test_what_it_took_it_gives_back() -> None:
    stopping = Stopping()
    stopping.listen([signal.SIGUSR1])
    stopping.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1
