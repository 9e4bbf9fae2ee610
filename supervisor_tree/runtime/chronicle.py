"""What a host tells: lines for its log, and for whoever looks on at a terminal."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor_tree.control.colour import coloured
from supervisor_tree.control.events import rfc3339
from supervisor_tree.control.render import event_line, tree_lines
from supervisor_tree.control.words import term_words
from supervisor_tree.core.actions import Report, ReportContext
from supervisor_tree.runtime.console import Console

__all__ = ["Chronicle"]

_FOUND = {
    ReportContext.START_ERROR: "has failed to start",
    ReportContext.CHILD_TERMINATED: "has ended",
    ReportContext.SHUTDOWN_ERROR: "was to stop and has ended otherwise",
    ReportContext.SHUTDOWN: "was restarted too often, so this supervisor ends",
}


class Chronicle:
    """Never blocks.  `terminal`: whether to write to standard output too; `wall`: the time of day.

    `as_json`: what is written there is events alone, each as one line of JSON; other words go
    to standard error.
    """

    def __init__(self, wall: Callable[[], float], *, terminal: bool, as_json: bool = False) -> None:
        self._wall = wall
        self._lines: list[str] = []
        self._as_json = as_json
        self._console = Console(sys.stdout.fileno(), verbatim=as_json) if terminal else None
        self._beside = Console(sys.stderr.fileno()) if terminal and as_json else self._console
        self._colour = terminal and coloured(os.environ, terminal=sys.stdout.isatty())

    @property
    def hung_up(self) -> bool:
        """True when there was a terminal and nobody is at it any more."""
        return self._console is not None and self._console.hung_up

    def say(self, line: str) -> None:
        """A line for the host's log; written once per turn, together with others."""
        self._lines.append(line)

    def tell(self, line: str) -> None:
        """A line for the log and for whoever looks on."""
        self.say(line)
        if self._beside is not None:
            told = {"time": rfc3339(self._wall()), "path": "/", "event": "", "words": line}
            self._beside.write(event_line(told, colour=self._colour))

    def report(self, report: Report) -> None:
        """A supervisor report, as OTP's would stand in the log."""
        found, who = _FOUND[report.context], report.id or report.supervisor
        self.say(f"supervisor {report.supervisor}: {who} {found}: {term_words(report.reason)}")

    def fault(self, error: BaseException) -> None:
        """A bug in one verb: it is told, and the host goes on."""
        for line in traceback.format_exception(error):
            self.say(line.rstrip())

    def event(self, record: Mapping[str, Any]) -> None:
        """An event, in one line of each."""
        self.say(event_line(record, clock=False))
        if self._console is not None and self._as_json:
            self._console.write(json.dumps(record, default=repr))
        elif self._console is not None:
            self._console.write(event_line(record, colour=self._colour))

    def show(self, picture: Sequence[Mapping[str, Any]]) -> None:
        """The tree, to whoever looks on; a program asks for it by a verb."""
        if self._console is not None and not self._as_json:
            for line in tree_lines(picture, colour=self._colour):
                self._console.write(line)

    def write_to(self, log: Callable[[str], None]) -> None:
        """Hand the lines over that wait for the log."""
        if self._lines:
            log("\n".join(self._lines))
            self._lines.clear()

    def log_problem(self, problem: str) -> None:
        """Children's lines cannot be written, or, if nothing is the matter, can be again."""
        what = f"cannot be written, and lines are dropped: {problem}" if problem else "are written"
        self.tell(f"log files {what}{'' if problem else ' again'}")

    def flush(self) -> bool:
        """Write to the terminal what fits now.  True if there is more, to be tried again soon."""
        waiting = [console for console in self._consoles() if console.waiting]
        for console in waiting:
            console.flush()
        return any(console.waiting for console in waiting)

    def close(self, log: Callable[[str], None]) -> None:
        """The host ends: the last lines go out as far as there is room for them."""
        self.write_to(log)
        self.flush()
        for console in self._consoles():
            console.close()

    def _consoles(self) -> list[Console]:
        return [console for console in {self._console, self._beside} if console is not None]
