"""SIGHUP: have the host's own file applied, by a program of the host's own.

The root reads no configuration.  It starts `supervisor-tree apply` as a temporary child below
`/_`, which reads and checks the files and then asks for the apply as any operator does.  What
it says is in its log.

Signals that come while one is at work are one more, as who reads the file again needs no count
(and the kernel keeps none).  A file `reload` in the run directory names the only children that are
meant, by ids or paths; empty, or with `*`, all.  They are started anew even if nothing about them
has changed.  It is deleted when it is read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor_tree.core.lifecycle import EventName, LifecycleEvent
from supervisor_tree.core.specs import ChildSpec, Readiness, Restart
from supervisor_tree.core.stimuli import StartChildRequested
from supervisor_tree.files import read_regular
from supervisor_tree.runtime.desk import Desk
from supervisor_tree.runtime.service import Service
from supervisor_tree.runtime.undertakings import Undertakings

__all__ = ["RELOAD_FILE", "Reloader"]

RELOAD_FILE = "reload"
_PATH = "/_/apply"
_LARGEST_TARGET = 64 * 1024  # bytes: hundreds of names
_RETRY_S = 0.2  # while the tree has not begun to start


class Reloader:
    """Of one host.  `tell` takes lines for its log and for whoever looks on.

    `service` is told of the beginning and of the end, however it ends: the service manager waits.
    """

    def __init__(
        self,
        run_dir: Path,
        desk: Desk,
        undertakings: Undertakings,
        service: Service,
        tell: Callable[[str], None],
    ) -> None:
        self._run_dir = run_dir
        self._desk = desk
        self._undertakings = undertakings
        self._tell = tell
        self._service = service
        self._at_work = False
        self._again = False

    def hang_up(self) -> None:
        """SIGHUP has come."""
        self._service.reloading()
        if self._desk.facts()["config"] is None:
            self._tell("SIGHUP: this host was not started from a file; nothing was done")
            self._service.ready()
        elif self._at_work:
            self._again = True
        else:
            self._at_work = True
            self._begin()

    def heard(self, event: LifecycleEvent) -> None:
        """Hear of the end of our program."""
        if event.path != _PATH:
            return
        if event.event is EventName.CHILD_EXITED:
            reason = event.detail["reason"]
            how = f"signal {reason['signal']}" if reason["signal"] else f"code {reason['code']}"
            words = "done" if reason["code"] == 0 else f"ended with {how}; see `logs {_PATH}`"
            self._tell(f"SIGHUP: apply has {'been ' if reason['code'] == 0 else ''}{words}")
        elif event.event is EventName.CHILD_STOPPED:
            self._desk.call_in("hang-up", 0.0, self._ended)

    def _ended(self) -> None:
        self._at_work = False
        if self._again:
            self._again = False
            self.hang_up()
        else:
            self._service.ready()

    def _begin(self) -> None:
        if self._desk.phase == "stopping":
            return
        under_way = self._undertakings.under_way
        if under_way is not None:
            self._undertakings.when_over(under_way, self._begin)
        elif "/" not in self._desk.tree.supervisors:
            self._desk.call_in("hang-up", _RETRY_S, self._begin)
        else:
            self._start(self._take_target())

    def _start(self, names: list[str]) -> None:
        command = [sys.executable, "-P", "-m", "supervisor_tree"]
        command += ["--run-dir", str(self._run_dir), "apply"]
        spec = ChildSpec(
            id="apply",
            command=(*command, *(f"--reload={name}" for name in names)),
            restart=Restart.TEMPORARY,
            readiness=Readiness.NONE,
            shutdown=1.0,
        )
        self._desk.submit(lambda request: StartChildRequested(request, "/_", spec), self._started)

    def _started(self, result: tuple[Any, ...]) -> None:
        if result[0] != "ok":
            self._tell(f"SIGHUP: cannot start `supervisor-tree apply`: {result[1]}")
            self._desk.call_in("hang-up", 0.0, self._ended)

    def _take_target(self) -> list[str]:
        """What the file names; none if there is no file."""
        path = self._run_dir / RELOAD_FILE
        try:
            content = read_regular(path, _LARGEST_TARGET + 1, flags=os.O_NOFOLLOW)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._tell(f"SIGHUP: cannot read {path}: {error.strerror}; all changes are applied")
            return []
        if len(content) > _LARGEST_TARGET:
            self._tell(f"SIGHUP: {path} is too long for names; all changes are applied")
            return []
        path.unlink(missing_ok=True)
        return content.decode(errors="replace").split() or ["*"]
