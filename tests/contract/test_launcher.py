"""What every Launcher promises: the same tests for the fake and for the real one."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator

import pytest

from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.runtime.launcher import Exited, Launch, Launcher, LaunchFailed, Spawned
from supervisor_tree.spawner.client import SpawnerLauncher
from supervisor_tree.testing import FakeLauncher, Probe, Script

CHILDREN = {
    "/sleeper": (["sleep", "1000"], Script()),
    "/quick": (["sh", "-c", "exit 3"], Script(exits=3)),
    "/clean": (["true"], Script(exits=0)),
    "/missing": (["no-such-program"], Script(fails=("exec", "cannot execute: not found"))),
    "/deaf": (["sleep", "1000"], Script(obeys=False)),
}


@pytest.fixture(params=["fake", "real"])
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    if request.param == "fake":
        fake = FakeLauncher({path: script for path, (_, script) in CHILDREN.items()})
        yield fake
        fake.close()
        return
    real = SpawnerLauncher.start(instance=uuid.uuid4().hex, uncaptured=CHILDREN)
    yield real
    real.close()
    assert real.wait_closed(20.0)


@pytest.fixture
def probe(launcher: Launcher) -> Probe:
    return Probe(launcher)


def order(path: str, generation: int = 1) -> Launch:
    stop_signal = "SIGWINCH" if path == "/deaf" else "SIGTERM"  # ignored, unless one listens
    spec = ChildSpec(id=path[1:], command=tuple(CHILDREN[path][0]), stop_signal=stop_signal)
    return Launch(path=path, generation=generation, spec=spec)


def test_a_launch_is_answered_by_spawned_with_a_pid(probe: Probe) -> None:
    probe.launcher.launch(order("/sleeper"))
    spawned = probe.wait(Spawned, "/sleeper")
    assert (spawned.generation, spawned.pid > 0, spawned.start_ticks > 0) == (1, True, True)


def test_a_launch_that_cannot_be_is_answered_by_launch_failed_alone(probe: Probe) -> None:
    probe.launcher.launch(order("/missing"))
    failed = probe.wait(LaunchFailed, "/missing")
    assert failed.stage == "exec"
    assert "not found" in failed.message
    assert len(probe.seen) == 1


def test_an_end_is_told_after_the_birth_with_its_code(probe: Probe) -> None:
    probe.launcher.launch(order("/quick"))
    exited = probe.wait(Exited, "/quick")
    assert (exited.code, exited.signal, exited.asked) == (3, None, False)
    assert [type(notice) for notice in probe.seen] == [Spawned, Exited]
    spawned = probe.seen[0]
    assert isinstance(spawned, Spawned)
    assert exited.pid == spawned.pid


def test_a_stop_ends_the_life_by_its_stop_signal_and_is_remembered(probe: Probe) -> None:
    probe.launcher.launch(order("/sleeper"))
    probe.wait(Spawned, "/sleeper")
    probe.launcher.stop("/sleeper", 1)
    exited = probe.wait(Exited, "/sleeper")
    assert (exited.code, exited.signal, exited.asked) == (None, signal.SIGTERM, True)


def test_a_stop_before_the_birth_was_told_is_not_lost(probe: Probe) -> None:
    probe.launcher.launch(order("/sleeper"))
    probe.launcher.stop("/sleeper", 1)
    assert probe.wait(Exited, "/sleeper").signal == signal.SIGTERM
    assert [type(notice) for notice in probe.seen] == [Spawned, Exited]


def test_what_does_not_obey_a_stop_is_ended_by_a_kill(probe: Probe) -> None:
    probe.launcher.launch(order("/deaf"))
    probe.wait(Spawned, "/deaf")
    probe.launcher.stop("/deaf", 1)
    probe.launcher.kill("/deaf", 1)
    exited = probe.wait(Exited, "/deaf")
    assert (exited.code, exited.signal, exited.asked) == (None, signal.SIGKILL, True)


def test_an_operators_signal_is_not_a_request_to_stop(probe: Probe) -> None:
    probe.launcher.launch(order("/sleeper"))
    probe.wait(Spawned, "/sleeper")
    probe.launcher.signal("/sleeper", 1, signal.SIGKILL)
    exited = probe.wait(Exited, "/sleeper")
    assert (exited.signal, exited.asked) == (signal.SIGKILL, False)


def test_orders_for_unknown_and_former_lives_are_passed_over(probe: Probe) -> None:
    probe.launcher.launch(order("/clean"))
    probe.wait(Exited, "/clean")
    for path, generation in (("/clean", 1), ("/nobody", 1), ("/sleeper", 7)):
        probe.launcher.stop(path, generation)
        probe.launcher.kill(path, generation)
        probe.launcher.signal(path, generation, signal.SIGTERM)
    probe.launcher.launch(order("/sleeper"))
    probe.wait(Spawned, "/sleeper")
    assert len(probe.seen) == 3


def test_generations_of_one_path_are_lives_of_their_own(probe: Probe) -> None:
    probe.launcher.launch(order("/sleeper", 1))
    first = probe.wait(Spawned, "/sleeper")
    probe.launcher.kill("/sleeper", 1)
    assert probe.wait(Exited, "/sleeper").generation == 1
    probe.launcher.launch(order("/sleeper", 2))
    second = probe.wait(Spawned, "/sleeper")
    assert (second.generation, second.pid != first.pid) == (2, True)
    probe.launcher.stop("/sleeper", 1)
    probe.launcher.stop("/sleeper", 2)
    assert probe.wait(Exited, "/sleeper").generation == 2


def test_a_life_cannot_begin_twice(probe: Probe) -> None:
    probe.launcher.launch(order("/sleeper"))
    probe.launcher.launch(order("/sleeper"))
    assert probe.wait(LaunchFailed, "/sleeper").stage == "fork"
    probe.launcher.stop("/sleeper", 1)
    assert probe.wait(Exited, "/sleeper").generation == 1
    assert sum(isinstance(notice, Spawned) for notice in probe.seen) == 1


def test_each_notice_is_given_once(probe: Probe) -> None:
    for generation in range(1, 21):
        probe.launcher.launch(order("/quick", generation))
    probe.until(lambda: len(probe.seen) >= 40, "all births and ends")
    assert probe.launcher.collect() == []
    for kind in (Spawned, Exited):
        told = [notice.generation for notice in probe.seen if isinstance(notice, kind)]
        assert sorted(told) == list(range(1, 21))


def test_close_may_be_called_twice(launcher: Launcher) -> None:
    launcher.close()
    launcher.close()
