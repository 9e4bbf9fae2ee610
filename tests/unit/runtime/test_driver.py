"""What the driver does with what the core says, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from supervisor_tree.control.holds import Asker
from supervisor_tree.core.actions import HoldChanged, Report, TreeEnded
from supervisor_tree.core.lifecycle import LifecycleEvent
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec
from supervisor_tree.core.stimuli import BootRequested
from supervisor_tree.core.tree import Tree
from supervisor_tree.runtime.driver import Driver
from supervisor_tree.runtime.launcher import Launch, Spawned
from supervisor_tree.runtime.lives import Life


class _Shell:
    """The launcher, the loop and the host around a driver: they note what is asked of them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.clock = self

    def now(self) -> float:
        return 0.0

    def call_at(self, key: Hashable, at: float, callback: Callable[[], None]) -> None: ...

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None: ...

    def cancel(self, key: Hashable) -> None: ...

    def launch(self, launch: Launch) -> None:
        self.done.append(f"launch {launch.path}")

    def environment(self, path: str, generation: int) -> Mapping[str, str]:
        return {}

    def sockets(self, path: str, spec: ChildSpec) -> Sequence[Any]:
        return ()

    def note(self, event: LifecycleEvent) -> None:
        self.done.append(f"note {event.event} {event.path}")

    def publish(self, event: LifecycleEvent) -> None:
        self.done.append(f"publish {event.event} {event.path}")

    def report(self, report: Report) -> None: ...

    def attach(self, life: Life, stdout: int, stderr: int) -> None: ...

    def remember(self, change: HoldChanged, asker: Asker | None) -> None: ...

    def tree_ended(self, ended: TreeEnded) -> None: ...


def test_who_is_started_after_another_finds_it_in_the_table_and_waits_for_no_news() -> None:
    shell: Any = _Shell()
    driver = Driver(Tree(), shell, shell, shell)
    children = tuple(ChildSpec(id=id, command=("true",)) for id in ("first", "second"))
    driver.handle(BootRequested("/", SupervisorSpec(children=children)))
    shell.done.clear()
    driver.absorb([Spawned(path="/first", generation=1, pid=77, start_ticks=1)], [])
    assert shell.done == [
        "note child_started /first",
        "note child_ready /first",
        "note child_starting /second",
        "launch /second",
        "publish child_started /first",
        "publish child_ready /first",
        "publish child_starting /second",
    ]
