"""What the contestants are told to run."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHECKOUT", "NOISY", "TRIVIAL", "USUAL", "Workload"]

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Workload:
    """One of the modules in `children`, as an agent and as a command."""

    name: str
    needs_packages: bool

    @property
    def module(self) -> str:
        return f"benchmarks.children.{self.name}"

    @property
    def agent(self) -> str:
        return f"{self.module}:live"

    def command(self, fifo: Path) -> list[str]:
        """For those who exec: the interpreter below any virtual environment.

        It is spared the .pth files of ours, which cost a millisecond or two at each start.
        """
        script = CHECKOUT / "benchmarks" / "children" / f"{self.name}.py"
        return [_base_interpreter(), str(script), str(fifo)]

    def environment(self) -> dict[str, str]:
        """For the same: this one's packages by PYTHONPATH, for a child that needs them."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        if self.needs_packages:
            environment["PYTHONPATH"] = sysconfig.get_path("purelib")
        return environment


def _base_interpreter() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


TRIVIAL = Workload("trivial", needs_packages=False)
NOISY = Workload("noisy", needs_packages=False)
USUAL = Workload("usual", needs_packages=True)
