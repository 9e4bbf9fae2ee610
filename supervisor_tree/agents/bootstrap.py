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
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import FrameType, FunctionType, TracebackType
from typing import TYPE_CHECKING, Any

from supervisor_tree.agents.agent import Agent, Ignore
from supervisor_tree.agents.context import Context
from supervisor_tree.agents.lease import watch_lease
from supervisor_tree.agents.notify import Notifier
from supervisor_tree.agents.payload import TargetError, load_target
from supervisor_tree.agents.stopping import Stopped, Stopping

if TYPE_CHECKING:
    from supervisor_tree.core.specs import ChildSpec

__all__ = ["merged_args", "run_agent"]

_WIND_UP_S = 1.0  # for tasks that were cancelled at the end, and again for threads
_STATUS_CHARS = 1000  # of an error's text in STATUS=
_VARARGS = 0x04  # inspect.CO_VARARGS


def run_agent(
    *, path: str, generation: int, spec: ChildSpec, args: Any = None, lease_fd: int | None = None
) -> int:
    """Run one life of an agent in this process, which was forked for it.  Main thread only.

    `args` is what `start_child` added to `spec.args`; `lease_fd` is the read end of the
    lease pipe, None without one.  Returns the exit status, to be given to os._exit;
    after a stop that went well it does not return, as the process then dies of the signal
    that it was stopped by.
    """
    _by_lines(sys.stdout, sys.stderr)
    notifier = Notifier.from_environment()
    stopping = Stopping()
    stopping.on_request = notifier.stopping
    stop_signal = signal.Signals[spec.stop_signal]
    signal.signal(signal.SIGINT, _pass_over)
    stopping.listen({signal.SIGTERM, stop_signal})

    def on_lease_lost() -> None:
        stopping.request(stop_signal)

    status = 1
    try:
        if lease_fd is not None:
            watch_lease(lease_fd, on_lease_lost)
        context = Context(
            path=path,
            generation=generation,
            args=merged_args(spec.args, args),
            stopping=stopping,
            notifier=notifier,
        )
        status = _live(spec.agent, context, stopping, notifier)
    except Stopped:
        status = 0
    except SystemExit as end:
        status = _status_of(end)
    except BaseException as error:
        _report(error, notifier)
    _let_threads_end(_WIND_UP_S)
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


# -- one life ---------------------------------------------------------------------------


def _live(reference: Any, context: Context, stopping: Stopping, notifier: Notifier) -> int:
    with stopping.interruptible():  # an import may take seconds
        target = load_target(reference)
        if isinstance(target, type):
            target = _instance(target)
    if isinstance(target, Agent):
        return _in_loop(_agent_life(target, context, stopping, notifier))
    notifier.ready()
    with stopping.interruptible():
        result = target(context) if _takes_context(target) else target()
    if isinstance(result, Awaitable):
        _in_loop(_finished_or_stopped(result, stopping))
    return 0


def _instance(target: type) -> Agent:
    if not issubclass(target, Agent):
        raise TargetError(f"cannot run class {target.__qualname__}: it is no supervisor_tree.Agent")
    return target()


async def _agent_life(
    agent: Agent, context: Context, stopping: Stopping, notifier: Notifier
) -> int:
    try:
        with stopping.interruptible():
            result = agent.init(context)
        if isinstance(result, Awaitable) and not await _finished_or_stopped(result, stopping):
            return 0
    except Ignore as ignored:
        notifier.ignored(str(ignored))
        return 0
    except Stopped:
        return 0
    notifier.ready()
    try:
        await _main(agent, context, stopping)
    except BaseException as error:
        await _terminate(agent, _one_line(error))
        raise
    await _terminate(agent, "shutdown" if stopping.is_set() else "normal")
    return 0


async def _main(agent: Agent, context: Context, stopping: Stopping) -> None:
    run = getattr(agent, "run", None)
    if run is None:
        await stopping
        return
    work = run(context)
    if not isinstance(work, Awaitable):
        raise TypeError(f"{type(agent).__qualname__}.run must be 'async def'")
    await _finished_or_stopped(work, stopping)


async def _terminate(agent: Agent, reason: str) -> None:
    result = agent.terminate(reason)
    if isinstance(result, Awaitable):
        await result


async def _finished_or_stopped(work: Awaitable[Any], stopping: Stopping) -> bool:
    """Await `work`; if a stop comes and the code does not trap it, cancel.  True if it finished."""
    import asyncio  # noqa: PLC0415 - a plain robot needs no loop

    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(_awaiting(stopping))
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if task.done() or stopping.watched:
            await task
            return True
        task.cancel()
        await asyncio.wait({task})
        if task.cancelled():
            return False
        task.result()
        return False
    finally:
        stop.cancel()


async def _awaiting(stopping: Stopping) -> None:
    await stopping


def _in_loop(main: Coroutine[Any, Any, Any]) -> int:
    """Run `main` on a fresh loop, then cancel what it has left behind.

    Not asyncio.run: that waits for the threads of the default executor without limit.
    """
    import asyncio  # noqa: PLC0415 - a plain robot needs no loop

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
        return 0
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_WIND_UP_S))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


def _takes_context(target: Callable[..., Any]) -> bool:
    """Whether a callable wants `ctx`: anything that takes an argument by position."""
    if isinstance(target, FunctionType) and not hasattr(target, "__wrapped__"):
        code = target.__code__  # what inspect finds as well, for a tenth of the start
        return code.co_argcount > 0 or bool(code.co_flags & _VARARGS)
    import inspect  # noqa: PLC0415 - only other callables need it

    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    try:
        parameters = inspect.signature(target).parameters.values()
        return any(parameter.kind not in by_name for parameter in parameters)
    except (TypeError, ValueError):  # some built-in callables do not tell
        return True


# -- the end ----------------------------------------------------------------------------


def _report(error: BaseException, notifier: Notifier) -> None:
    """Tell the host in a line and the log in full why this life fails."""
    import traceback  # noqa: PLC0415 - the way of the failing few

    line = _one_line(error)
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


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its text cannot be had)"
    if isinstance(error, TargetError):
        return text
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name


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
