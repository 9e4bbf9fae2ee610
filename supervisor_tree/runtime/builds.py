"""Runs the build command of a child, on demand: whatever comes of it, the child lives on.

A build is a temporary child of `/_` with the user, the limits and the environment of the
child it is for.  Its output goes to the log of its own, where whoever has asked reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from supervisor_tree.core.specs import ChildSpec, Readiness, Restart
from supervisor_tree.core.stimuli import StartChildRequested, Stimulus, TerminateChildRequested
from supervisor_tree.core.values import LONGEST_ID
from supervisor_tree.errors import OperationFailed, SupervisorTreeError, TryAgain

__all__ = ["BUILDS", "Builds"]

_ROOT = "/_"
_PREFIX = "build."
BUILDS = f"{_ROOT}/{_PREFIX}"  # how their paths begin
_KEPT = 100  # results
_LAST_LINES_S = 5.0  # for them to reach the log
_STOP_S = 5.0  # between SIGTERM and SIGKILL for one that takes too long

_Answer = Callable[[Mapping[str, Any] | SupervisorTreeError], None]


class _Desk(Protocol):
    """What is needed of the host."""

    def submit(self, make: Callable[[int], Stimulus], answer: Callable[[Any], None]) -> None: ...

    def now(self) -> float: ...

    def call_in(self, key: Hashable, delay_s: float, callback: Callable[[], None]) -> None: ...

    def is_being_logged(self, path: str) -> bool:
        """Whether output of this child is still on its way to its log."""
        ...


@dataclass(slots=True)
class _Build:
    job: str
    generation: int
    pid: int | None
    ended: Mapping[str, Any] | None = None  # its child_exited
    ended_at: float = 0.0
    late: bool = False


class Builds:
    """The builds of one host, those that are over included."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk
        self._builds: dict[str, _Build] = {}  # by job; the newest last

    def begin(self, path: str, spec: ChildSpec, answer: _Answer) -> None:
        """Start the build of this child; answered with {job, generation, pid} when it runs."""
        child = _build_spec(path, spec)
        job = f"{_ROOT}/{child.id}"
        running = self._builds.get(job)
        if running is not None and running.ended is None:
            answer(TryAgain(f"{path} is being built already, see `logs -f {job}`"))
            return
        self._builds.pop(job, None)
        while len(self._builds) >= _KEPT:
            del self._builds[next(iter(self._builds))]
        self._builds[job] = _Build(job, 0, None)

        def started(result: Any) -> None:
            build = self._builds.get(job)
            if result[0] != "ok" or build is None:
                self._builds.pop(job, None)
                answer(OperationFailed(f"cannot build {path}: {_words(result[1])}"))
                return
            answer({"job": job, "generation": build.generation, "pid": build.pid})

        self._desk.submit(lambda request: StartChildRequested(request, _ROOT, child), started)
        timeout = spec.build.timeout if spec.build is not None else None
        if timeout is not None:
            self._desk.call_in((job, "timeout"), timeout, lambda: self._too_late(job))

    def result(self, job: str) -> dict[str, Any] | None:
        """{done, code, signal, timed_out, wall_s} of the last build under this name."""
        build = self._builds.get(job)
        if build is None:
            return None
        ended = build.ended
        if ended is None:
            return {"done": False}
        waited_s = self._desk.now() - build.ended_at
        if waited_s < _LAST_LINES_S and self._desk.is_being_logged(job):
            return {"done": False}
        reason = ended["reason"]
        return {
            "done": True,
            "code": reason["code"],
            "signal": reason["signal"],
            "timed_out": build.late,
            "wall_s": ended["rusage"]["wall_s"],
        }

    def heed(self, event: Mapping[str, Any]) -> None:
        """What has happened to any child."""
        build = self._builds.get(event["path"])
        if build is None:
            return
        if event["event"] == "child_started":
            build.generation, build.pid = event["generation"], event["pid"]
        elif event["event"] == "child_exited":
            build.ended, build.ended_at = event, self._desk.now()

    def _too_late(self, job: str) -> None:
        build = self._builds.get(job)
        if build is not None and build.ended is None:
            build.late = True
            name = job.rpartition("/")[2]
            self._desk.submit(
                lambda request: TerminateChildRequested(request, _ROOT, name), lambda _: None
            )


def _build_spec(path: str, spec: ChildSpec) -> ChildSpec:
    build = spec.build
    assert build is not None
    name = f"{_PREFIX}{path.strip('/').replace('/', '.')}"[:LONGEST_ID]
    return ChildSpec(
        id=name,
        command=build.command,
        description=f"the build of {path}",
        restart=Restart.TEMPORARY,
        readiness=Readiness.NONE,
        shutdown=_STOP_S,
        env=spec.env,
        env_file=spec.env_file,
        cwd=build.cwd or spec.cwd,
        user=spec.user,
        group=spec.group,
        umask=spec.umask,
        limits=spec.limits,
        logs=spec.logs,
    )


def _words(reason: Any) -> str:
    """Of a failed start: `(("exec", "cannot execute 'mak': not found"), "child")`."""
    match reason:
        case ((str(), str(text)), *_):
            return text
        case (inner, "child"):
            return str(inner)
    return str(reason)
