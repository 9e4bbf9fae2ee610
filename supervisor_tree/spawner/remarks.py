"""What the root is told of its spawners, beside the notices of its children."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ModuleLeftOut", "Preloaded", "Remark", "SpawnerLost", "SpawnerStarted"]


@dataclass(frozen=True, slots=True)
class SpawnerStarted:
    """A spawner process exists; it may still be preloading."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class SpawnerLost:
    """A spawner has died; its children live on under the root.

    `frozen`: it was killed because it did not answer any more.
    """

    pid: int
    adopted: int
    frozen: bool = False

    @property
    def words(self) -> str:
        """For the host's log."""
        how = "did not answer any more and was killed" if self.frozen else "has died"
        return f"spawner {self.pid} {how}; its {self.adopted} children live on"


@dataclass(frozen=True, slots=True)
class Preloaded:
    """A spawner is ready to fork at once."""

    pid: int
    modules: tuple[str, ...]
    seconds: float

    @property
    def words(self) -> str:
        """For the host's log."""
        count = len(self.modules)
        return f"spawner {self.pid} has preloaded {count} modules in {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class ModuleLeftOut:
    """A module is not preloaded, so every child imports it itself.

    `required`: it was asked for by name (`host.preload`).
    """

    module: str
    reason: str
    required: bool


Remark = SpawnerStarted | SpawnerLost | Preloaded | ModuleLeftOut
