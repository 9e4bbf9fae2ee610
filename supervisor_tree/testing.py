"""Public doubles: a clock that stands still and a launcher that a test plays by hand.

`FakeLauncher` keeps every promise of `runtime.launcher.Launcher` and makes no process;
`Probe` waits for the notices of any launcher, the real one included.
"""

from __future__ import annotations

import os
import select
import signal as signals
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

from supervisor_tree.runtime.launcher import (
    Exited,
    Launch,
    Launcher,
    LauncherNotice,
    LaunchFailed,
    Leaked,
    Rusage,
    Spawned,
)

__all__ = ["FakeLauncher", "Probe", "Script", "VirtualClock"]

_N = TypeVar("_N", bound=LauncherNotice)
_NOTHING_USED = Rusage(cpu_s=0.0, max_rss_bytes=0, wall_s=0.0)


class VirtualClock:
    """A Clock that moves only when it is told to."""

    def __init__(self, now: float = 0.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._wall = wall

    def now(self) -> float:
        """Seconds since the clock was made, or what `now` began with."""
        return self._now

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._wall

    def advance(self, seconds: float) -> float:
        """Let time pass; the new `now`."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now += seconds
        self._wall += seconds
        return self._now


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the processes of one path do of themselves.

    `fails`: stage and message of a launch that comes to nothing.  `exits`: status with
    which a process ends as soon as it exists.  `obeys`: it dies of its stop signal.
    """

    fails: tuple[str, str] | None = None
    exits: int | None = None
    obeys: bool = True


@dataclass(slots=True)
class _FakeLife:
    launch: Launch
    pid: int = 0
    asked: bool = False


class FakeLauncher:
    """Launcher without processes.

    A path without a Script waits for the test: `spawn`, `fail`, `exit`.  With one, its
    lives go by the script.  `orders` is the log of all that was asked of it: (verb, path,
    generation, detail).
    """

    def __init__(self, scripts: dict[str, Script] | None = None) -> None:
        self.scripts = dict(scripts or {})
        self.orders: list[tuple[str, str, int, int]] = []
        self._lives: dict[tuple[str, int], _FakeLife] = {}
        self._notices: list[LauncherNotice] = []
        self._pids = count(1_000_000)  # above any real one, should somebody signal it
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    # --- what the test does ----------------------------------------------------------------

    def spawn(self, path: str) -> Spawned:
        """The newest life of `path` gets its process."""
        life = self._life(path)
        life.pid = next(self._pids)
        spawned = Spawned(
            path=path, generation=life.launch.generation, pid=life.pid, start_ticks=life.pid
        )
        self._tell(spawned)
        return spawned

    def fail(self, path: str, stage: str = "exec", message: str = "cannot execute") -> None:
        """The newest life of `path` comes to nothing."""
        launch = self._life(path).launch
        del self._lives[path, launch.generation]
        self._tell(
            LaunchFailed(path=path, generation=launch.generation, stage=stage, message=message)
        )

    def exit(self, path: str, code: int | None = 0, signal: int | None = None) -> None:
        """The process of the newest life of `path` ends: with `signal` if that is given."""
        life = self._life(path)
        del self._lives[path, life.launch.generation]
        self._tell(
            Exited(
                path=path,
                generation=life.launch.generation,
                pid=life.pid,
                code=None if signal is not None else code,
                signal=signal,
                asked=life.asked,
                rusage=_NOTHING_USED,
            )
        )

    def leak(self, path: str, *processes: tuple[int, str], ended: bool = True) -> None:
        """Escaped processes of the newest life of `path` are found."""
        generation = self._life(path).launch.generation
        self._tell(Leaked(path=path, generation=generation, processes=processes, ended=ended))

    def launches(self, path: str) -> list[Launch]:
        """Lives of `path` that have begun and not ended, oldest first."""
        return [life.launch for (of, _), life in self._lives.items() if of == path]

    # --- Launcher --------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._ready

    def launch(self, launch: Launch) -> None:
        key = (launch.path, launch.generation)
        if key in self._lives:
            message = "this life has begun already"
            self._tell(LaunchFailed(path=key[0], generation=key[1], stage="fork", message=message))
            return
        self.orders.append(("launch", *key, 0))
        self._lives[key] = _FakeLife(launch)
        script = self.scripts.get(launch.path)
        if script is None:
            return
        if script.fails is not None:
            self.fail(launch.path, *script.fails)
            return
        self.spawn(launch.path)
        if script.exits is not None:
            self.exit(launch.path, script.exits)

    def stop(self, path: str, generation: int) -> None:
        life = self._ask("stop", path, generation)
        if life is not None:
            number = signals.Signals[life.launch.spec.stop_signal]
            script = self.scripts.get(path)
            if script is not None and script.obeys:
                self.exit(path, signal=number)

    def kill(self, path: str, generation: int) -> None:
        life = self._ask("kill", path, generation)
        if life is not None and path in self.scripts:
            self.exit(path, signal=signals.SIGKILL)

    def signal(self, path: str, generation: int, signal: int) -> None:
        if (path, generation) in self._lives:
            self.orders.append(("signal", path, generation, int(signal)))
            if path in self.scripts and signal == signals.SIGKILL:
                self.exit(path, signal=signal)

    def collect(self) -> list[LauncherNotice]:
        notices, self._notices = self._notices, []
        if notices:
            os.eventfd_read(self._ready)
        return notices

    def close(self) -> None:
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1

    # --- inside ----------------------------------------------------------------------------

    def _life(self, path: str) -> _FakeLife:
        generations = [generation for of, generation in self._lives if of == path]
        if not generations:
            raise LookupError(f"{path} has no life: it was not launched, or has ended")
        return self._lives[path, max(generations)]

    def _ask(self, verb: str, path: str, generation: int) -> _FakeLife | None:
        life = self._lives.get((path, generation))
        if life is not None:
            self.orders.append((verb, path, generation, 0))
            self._lives[path, generation] = life = replace(life, asked=True)
        return life

    def _tell(self, notice: LauncherNotice) -> None:
        self._notices.append(notice)
        os.eventfd_write(self._ready, 1)


class Probe:
    """Collects a launcher's notices and waits for the one that a test is about."""

    def __init__(self, launcher: Launcher, timeout_s: float = 10.0) -> None:
        self.launcher = launcher
        self.seen: list[LauncherNotice] = []  # all there ever were
        self._untaken: list[LauncherNotice] = []
        self._timeout_s = timeout_s

    def wait(self, kind: type[_N], path: str) -> _N:
        """The next notice of this kind about `path`; AssertionError if none comes in time."""
        found = self._find(kind, path)
        end = time.monotonic() + self._timeout_s
        while found is None:
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no {kind.__name__} for {path}; seen: {self.seen}")
            self.turn(left)
            found = self._find(kind, path)
        return found

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Collect until a condition holds; AssertionError naming `what` if it never does."""
        end = time.monotonic() + self._timeout_s
        while not holds():
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not in {self._timeout_s} s; seen: {self.seen}")
            self.turn(0.02)

    def turn(self, timeout_s: float) -> None:
        """Wait for the launcher to have something, at most so long, and take it."""
        poll = select.poll()
        poll.register(self.launcher.fileno(), select.POLLIN)
        poll.poll(timeout_s * 1000)
        notices = self.launcher.collect()
        self.seen += notices
        self._untaken += notices

    def _find(self, kind: type[_N], path: str) -> _N | None:
        for notice in self._untaken:
            if isinstance(notice, kind) and notice.path == path:
                self._untaken.remove(notice)
                return notice
        return None
