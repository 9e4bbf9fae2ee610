"""The exceptions that an operator or a user may meet, and the exit code of each.

Codes follow sysexits.h where it has a word, timeout(1) for 124, and supervisord's and
systemctl's habit of 3 for "not running".
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "AgentDown",
    "AlreadyRunning",
    "CallTimeout",
    "ConfigError",
    "ConfigProblem",
    "Draining",
    "MailboxFull",
    "NoHost",
    "NoProcess",
    "NoSuchChild",
    "NotAllowed",
    "NotPermitted",
    "OperationFailed",
    "OrdersFailed",
    "Rejected",
    "RemoteError",
    "SupervisorTreeError",
    "TimedOut",
    "TryAgain",
    "UsageError",
]


class SupervisorTreeError(Exception):
    """Base of all; `exit_code` is what the command line ends with."""

    exit_code = 1

    def facts(self) -> dict[str, Any]:
        """The error as data, as the control socket and `--json` give it."""
        return {"type": type(self).__name__, "message": str(self), "exit_code": self.exit_code}


class OperationFailed(SupervisorTreeError):
    """The order was understood and has failed."""


class OrdersFailed(OperationFailed):
    """Of one order about several children, some could not be carried out.

    `failures` has the reason for each path that failed, `results` the word for each other.
    """

    def __init__(
        self,
        message: str,
        failures: dict[str, str] | None = None,
        results: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.failures = failures or {}
        self.results = results or {}

    def facts(self) -> dict[str, Any]:
        """With `failures` and `results`."""
        return super().facts() | {"failures": self.failures, "results": self.results}


class UsageError(SupervisorTreeError):
    """The words of a call are off."""

    exit_code = 2


class NoSuchChild(SupervisorTreeError):
    """No child has this path."""

    exit_code = 4


class NoHost(SupervisorTreeError):
    """No host runs in this run directory."""

    exit_code = 69


class TryAgain(SupervisorTreeError):
    """The host is busy or about to end."""

    exit_code = 75


class NotPermitted(SupervisorTreeError):
    """The host does not take orders from this user."""

    exit_code = 77


class TimedOut(SupervisorTreeError):
    """The deadline of a wait has passed."""

    exit_code = 124


class NoProcess(NoSuchChild):
    """Nobody of this path or capability is known to the bus."""


class AgentDown(TryAgain):
    """The agent that was asked has ended, or is between two lives."""


class Draining(TryAgain):
    """The agent takes no new work."""


class MailboxFull(TryAgain):
    """The receiver's mailbox, or what this sender may hold for it, is full."""


class NotAllowed(NotPermitted):
    """The policy does not let this agent say that to that one."""


class Rejected(NotAllowed):
    """An interceptor does not let this message through."""


class CallTimeout(TimedOut):
    """The agent that was asked has not answered in time."""


class RemoteError(OperationFailed):
    """The handler of a call has raised: the exception's type, its message and its traceback."""

    def __init__(self, type: str, message: str = "", text: str = "") -> None:
        super().__init__(f"{type}: {message}" if message else type)
        self.type = type
        self.message = message
        self.text = text

    def facts(self) -> dict[str, Any]:
        """With `remote`: {type, message, traceback} of what the handler has raised."""
        remote = {"type": self.type, "message": self.message, "traceback": self.text}
        return super().facts() | {"remote": remote}


class AlreadyRunning(SupervisorTreeError):
    """Another host holds this run directory."""

    exit_code = 78


class ConfigProblem(NamedTuple):
    """One mistake: where (line and column from 1), which key, what was expected.

    Line 0 is a file as a whole, an empty file name is data that came from no file.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (where, self.key, self.message) if part)


class ConfigError(SupervisorTreeError):
    """A configuration that cannot be used; all its problems at once."""

    exit_code = 78

    def __init__(self, problems: list[ConfigProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    def facts(self) -> dict[str, Any]:
        """With `problems`, each {file, line, column, key, message}."""
        return super().facts() | {"problems": [problem._asdict() for problem in self.problems]}
