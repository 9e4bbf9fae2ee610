"""The first code of an agent's process: find the target, run it, end as the supervisor reads.

How a life ends, as a wait status (read by `core.exits.reason_of_status`):

    the code returned                       status 0          normal
    asked to stop, and has stopped          the stop signal   shutdown, whoever had sent it
    exception                               status 1          abnormal, traceback on stderr
    sys.exit(n)                             status n
    init raised Ignore                      status 0, after X_SUPERVISOR_TREE_START=ignore

As in `multiprocessing`, the caller ends the process by os._exit: atexit handlers do not
run, because those in force are the parent's.  What must be tidied belongs into `terminate`
or a `finally`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from supervisor_tree.agents.context import Context
from supervisor_tree.agents.heartbeat import Heartbeat
from supervisor_tree.agents.lease import watch_lease
from supervisor_tree.agents.life import WIND_UP_S, live, one_line
from supervisor_tree.agents.payload import TargetError
from supervisor_tree.agents.stopping import Stopped, Stopping
from supervisor_tree.notify import Notifier

if TYPE_CHECKING:
    from supervisor_tree.core.specs import ChildSpec

__all__ = ["Standby", "merged_args", "prepare", "rehearsed", "run_agent"]

_STATUS_CHARS = 1000  # of an error's text in STATUS=


class Standby:
    """What a process needs to be an agent, and what needs no agent yet.

    A loss of the lease counts as `stop_signal`.
    """

    def __init__(self) -> None:
        self.stopping = Stopping()
        self.stop_signal = signal.SIGTERM

    def on_lease_lost(self) -> None:
        """The host is gone."""
        self.stopping.request(self.stop_signal)


def prepare(lease_fd: int | None) -> Standby:
    """Make this process, which was forked to become an agent, ready to.  Main thread only.

    `lease_fd` is the read end of the lease pipe, None without one.
    """
    _by_lines(sys.stdout, sys.stderr)
    # The stacks of all threads on SIGABRT, a watchdog's signal, and on what C code dies of.  No
    # Python runs for that, so it works where the interpreter is never given back.
    faulthandler.enable(sys.stderr)
    standby = Standby()
    signal.signal(signal.SIGINT, _pass_over)
    standby.stopping.listen({standby.stop_signal})
    if lease_fd is not None:
        watch_lease(lease_fd, standby.on_lease_lost)
    return standby


def rehearsed() -> None:
    """An agent that does nothing: what a spare runs before it has one."""


def run_agent(
    standby: Standby, *, path: str, generation: int, spec: ChildSpec, args: Any = None
) -> int:
    """Run one life of an agent in this process.  Main thread only.

    `args` is what `start_child` added to `spec.args`.  Returns the exit status, to be given
    to os._exit; after a stop that went well it does not return, as the process then dies of
    the signal that it was stopped by.
    """
    notifier = Notifier.from_environment()
    stopping = standby.stopping
    stopping.on_request = notifier.stopping
    heartbeat = Heartbeat.from_environment(notifier)
    if heartbeat is not None:
        stopping.on_look = heartbeat.look
    stop_signal = signal.Signals[spec.stop_signal]
    if stop_signal != standby.stop_signal:
        standby.stop_signal = stop_signal
        stopping.listen({stop_signal})
    status = 1
    try:
        context = Context(
            path=path,
            generation=generation,
            args=merged_args(spec.args, args),
            stopping=stopping,
            notifier=notifier,
        )
        status = live(spec.agent, context, stopping, notifier, heartbeat)
    except Stopped:
        status = 0
    except SystemExit as end:
        status = _status_of(end)
    except BaseException as error:
        _report(error, notifier)
    _let_threads_end(WIND_UP_S)
    _flush(sys.stdout, sys.stderr)
    if status == 0 and stopping.signal is not None:
        _die_of(stopping.signal)
    return status


def merged_args(args: Mapping[str, Any], extra: Any) -> dict[str, Any]:
    """The arguments of one life: `start_child`'s go over the specification's.

    `extra` is a mapping, None, or OTP's list of extra arguments, mappings each.
    """
    merged = dict(args)
    if extra is None:
        return merged
    if isinstance(extra, Mapping):
        extra = [extra]
    if not isinstance(extra, Sequence) or not all(isinstance(one, Mapping) for one in extra):
        raise TargetError(f"cannot use {extra!r} as arguments: they are given by name")
    for one in extra:
        merged.update(one)
    return merged


# -- the end ----------------------------------------------------------------------------


def _report(error: BaseException, notifier: Notifier) -> None:
    """Tell the host in a line and the log in full why this life fails."""
    import traceback  # noqa: PLC0415 - the way of the failing few

    line = one_line(error)
    notifier.failed(line[:_STATUS_CHARS])
    with contextlib.suppress(OSError, ValueError):
        if isinstance(error, TargetError):
            print(line, file=sys.stderr)
            if error.__cause__ is None:
                return
            error = error.__cause__
        trace = traceback.TracebackException(
            type(error), error, _users_part(error.__traceback__), compact=True
        )
        print("".join(trace.format()), file=sys.stderr, end="")


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without our own frames at its head; whole if there are no others."""
    own = (os.path.dirname(__file__), os.path.dirname(os.__file__))
    rest = trace
    while rest is not None and rest.tb_frame.f_code.co_filename.startswith(own):
        rest = rest.tb_next
    return rest or trace


def _status_of(end: SystemExit) -> int:
    """What the interpreter would exit with (sys.exit): None is 0, text is printed and 1."""
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _let_threads_end(timeout_s: float) -> None:
    """Wait for threads that the code has left, but not for ever: the process is to end."""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    deadline = time.monotonic() + timeout_s
    for thread in threading.enumerate():
        if thread.daemon or thread is threading.main_thread():
            continue
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            print(f"thread {thread.name!r} is ended with its process", file=sys.stderr)


def _die_of(signum: int) -> None:
    """Die of a signal as if it had never been caught; returns if its default is not to kill."""
    _core, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # SIGQUIT as stop signal dumps no core
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    signal.raise_signal(signum)  # to this thread, so that it is delivered before the return


def _pass_over(signum: int, _frame: FrameType | None) -> None:
    """Ctrl-C is the host's business.  A handler, and not SIG_IGN, which exec would hand on."""


def _by_lines(*streams: Any) -> None:
    """Let each line reach the log when it is written: a killed process flushes nothing."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


def _flush(*streams: Any) -> None:
    for stream in streams:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
