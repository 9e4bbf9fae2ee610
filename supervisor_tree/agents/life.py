"""One life of an agent, from its target's name to its last word, inside its own process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from types import FunctionType
from typing import Any

from supervisor_tree.agents.agent import Agent, Ignore
from supervisor_tree.agents.context import Context
from supervisor_tree.agents.heartbeat import Heartbeat
from supervisor_tree.agents.payload import TargetError, load_target
from supervisor_tree.agents.stopping import Stopped, Stopping
from supervisor_tree.notify import Notifier

__all__ = ["WIND_UP_S", "live", "one_line"]

WIND_UP_S = 1.0  # for tasks that were cancelled at the end, and again for threads
_VARARGS = 0x04  # inspect.CO_VARARGS


def live(
    reference: Any,
    context: Context,
    stopping: Stopping,
    notifier: Notifier,
    heartbeat: Heartbeat | None = None,
) -> int:
    """Run the target to its end; returns the exit status, or raises what the code raises."""
    with stopping.interruptible():  # an import may take seconds
        target = load_target(reference)
        if isinstance(target, type):
            target = _instance(target)
    if isinstance(target, Agent):
        return _in_loop(_agent_life(target, context, stopping, notifier), stopping, heartbeat)
    notifier.ready()
    try:
        with stopping.interruptible():
            result = target(context) if _takes_context(target) else target()
        if isinstance(result, Awaitable):
            _in_loop(_robot_life(result, context, stopping), stopping, heartbeat)
    except Stopped:
        context.close()
        raise
    context.close()
    return 0


def one_line(error: BaseException) -> str:
    """An exception as an operator reads it."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its text cannot be had)"
    if isinstance(error, TargetError):
        return text
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name


def _instance(target: type) -> Agent:
    if not issubclass(target, Agent):
        raise TargetError(f"cannot run class {target.__qualname__}: it is no supervisor_tree.Agent")
    return target()


async def _agent_life(
    agent: Agent, context: Context, stopping: Stopping, notifier: Notifier
) -> int:
    import asyncio  # noqa: PLC0415 - a plain robot needs no loop

    fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    bus = context.open_bus(agent, fault.set_exception) if agent.takes_messages else None
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
    notifier.ready(inbox=bus is not None)
    if bus is not None:
        bus.begin()
    try:
        await _main(agent, context, stopping, fault)
    except BaseException as error:
        await _terminate(agent, one_line(error))
        raise
    if bus is not None:
        await bus.end()
    await _terminate(agent, "shutdown" if stopping.is_set() else "normal")
    await context.end()
    return 0


async def _main(agent: Agent, context: Context, stopping: Stopping, fault: Awaitable[None]) -> None:
    """Return when the work is done or a stop is asked for; raise what a handler has raised."""
    import asyncio  # noqa: PLC0415

    run = getattr(agent, "run", None)
    if run is None:
        work: Any = _awaiting(stopping)
    else:
        work = run(context)
        if not isinstance(work, Awaitable):
            raise TypeError(f"{type(agent).__qualname__}.run must be 'async def'")
        work = _finished_or_stopped(work, stopping)
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, fault}, return_when=asyncio.FIRST_COMPLETED)
        await (task if task.done() else fault)
    finally:
        task.cancel()


async def _robot_life(work: Awaitable[Any], context: Context, stopping: Stopping) -> None:
    await _finished_or_stopped(work, stopping)
    await context.end()


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


def _in_loop(
    main: Coroutine[Any, Any, Any], stopping: Stopping, heartbeat: Heartbeat | None
) -> int:
    """Run `main` on a fresh loop, then cancel what it has left behind.

    The signs of life are the loop's from now on: nobody else's looks stand for one that is
    blocked.  Not asyncio.run: that waits for the threads of the default executor without limit.
    """
    import asyncio  # noqa: PLC0415 - a plain robot needs no loop

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    if heartbeat is not None:
        stopping.on_look = None
        heartbeat.begin(loop)
    try:
        loop.run_until_complete(main)
        return 0
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=WIND_UP_S))
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
