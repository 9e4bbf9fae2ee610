"""Why a process ended, in OTP's three classes.

OTP's rules look at an exit reason only through its class: `normal` and `shutdown`
are clean, everything else is abnormal (supervisor manual, "Restart strategy and
maximum restart intensity").  An operating-system process ends with a status code or
a signal instead; `reason_of_status` is the one place where the two meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

__all__ = ["KILLED", "NORMAL", "SHUTDOWN", "ExitKind", "ExitReason", "Term", "reason_of_status"]

# An Erlang term as plain data: atoms and binaries are strings, tuples and lists are tuples.
Term: TypeAlias = "str | int | float | bool | tuple[Term, ...] | None"


class ExitKind(StrEnum):
    """OTP's classes of exit reason."""

    NORMAL = "normal"
    SHUTDOWN = "shutdown"
    ABNORMAL = "abnormal"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitReason:
    """Why a life ended.

    `term` is what OTP would call the reason ("normal", "killed",
    ("shutdown", X), ...); `code` and `signal` are the kernel's words, where a process
    ended; `oom` and `watchdog` name a cause that the status alone does not show: it was killed
    because memory ran out, its own (`limits.memory_max`) or the machine's; the budget that was
    used up, or "trigger" (see `watchdog`).  `start_timeout`: it was killed because it had not
    become ready within so many seconds.
    """

    kind: ExitKind
    term: Term = None
    code: int | None = None
    signal: int | None = None
    oom: bool = False
    watchdog: str | None = None
    start_timeout: float | None = None

    @property
    def clean(self) -> bool:
        """True for `normal`, `shutdown` and `{shutdown, Term}`."""
        return self.kind is not ExitKind.ABNORMAL


NORMAL = ExitReason(kind=ExitKind.NORMAL, term="normal")
SHUTDOWN = ExitReason(kind=ExitKind.SHUTDOWN, term="shutdown")
KILLED = ExitReason(kind=ExitKind.ABNORMAL, term="killed", signal=9)


def reason_of_status(
    *, code: int | None, signal: int | None, stop_signal: int, asked: bool, oom: bool = False
) -> ExitReason:
    """Translate a wait status.

    `asked`: the supervisor had sent the stop signal to this life before it ended.
    Status 0 is `normal`, or `shutdown` when the process was asked to stop; death by the
    stop signal is `shutdown` whoever sent it, as `exit(Pid, shutdown)` is in OTP;
    SIGKILL is `killed`, with `oom` if it was the kernel's for want of memory; all else is
    abnormal.
    """
    if signal is not None:
        if signal == stop_signal:
            return ExitReason(kind=ExitKind.SHUTDOWN, term="shutdown", signal=signal)
        term: Term = "killed" if signal == 9 else ("signal", signal)
        return ExitReason(kind=ExitKind.ABNORMAL, term=term, signal=signal, oom=oom)
    if code == 0:
        kind = ExitKind.SHUTDOWN if asked else ExitKind.NORMAL
        return ExitReason(kind=kind, term=kind.value, code=0)
    return ExitReason(kind=ExitKind.ABNORMAL, term=("status", code or 0), code=code)
