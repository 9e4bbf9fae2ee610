"""Each agent runs here in a process of its own, without a host (see lives.py)."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.agents import Agent, Context, Ignore, dump_target
from supervisor_tree.core.exits import ExitKind
from supervisor_tree.notify import Notifier
from tests.integration.lives import Life, Lives

Start = Callable[..., Life]
DEADLINE_S = 10.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    lives = Lives(tmp_path)
    yield lives.start
    lives.close()


def say(*words: object) -> None:
    print(*words)


# -- agents to run ----------------------------------------------------------------------


class Async(Agent):
    async def init(self, ctx: Context) -> None:
        await asyncio.sleep(0)
        say("init", ctx.path, ctx.generation, sorted(ctx.args.items()))

    async def terminate(self, reason: str) -> None:
        await asyncio.sleep(0)
        say("terminate", reason)


class Plain(Agent):
    def init(self, ctx: Context) -> Any:
        say("init", ctx.id)

    def terminate(self, reason: str) -> None:
        say("terminate", reason)


class FailsInInit(Plain):
    def init(self, ctx: Context) -> None:
        raise ValueError("no\ngood")


class Declines(Plain):
    def init(self, ctx: Context) -> None:
        raise Ignore("not on this machine")


class Hangs(Plain):
    async def init(self, ctx: Context) -> None:
        try:
            ctx.notify("in init")
            await asyncio.get_running_loop().create_future()
        finally:
            say("init cancelled")


class Blocks(Plain):
    def init(self, ctx: Context) -> None:
        try:
            ctx.notify("in init")
            threading.Event().wait()
        finally:
            say("init interrupted")


class Runs(Plain):
    async def run(self, ctx: Context) -> None:
        ctx.notify("in run")
        what = ctx.args.get("what")
        try:
            if what == "raise":
                raise LookupError("lost")
            if what == "exit":
                sys.exit(7)
            if what == "trap":
                await ctx.stopping
                say("heeded")
            elif what == "hang":
                await asyncio.get_running_loop().create_future()
        finally:
            say("run ended")


class FailsInTerminate(Agent):
    def terminate(self, reason: str) -> None:
        raise OSError("disk full")


def polite(ctx: Context) -> None:
    stopping = ctx.stopping
    ctx.notify("waiting")
    while not stopping.wait(3600):
        pass
    say("done")


def careless(ctx: Context) -> None:
    try:
        ctx.notify("busy")
        while True:
            pass
    finally:
        say("finally")


def stubborn(ctx: Context) -> None:
    assert not ctx.stopping.is_set()
    ctx.notify("busy")
    while True:
        pass


async def coroutine(ctx: Context) -> None:
    ctx.notify("waiting")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        say("finally")


async def watchful(ctx: Context) -> None:
    ticks = 0
    while not await ctx.stopping.within(0.001):
        ticks += 1
        if ticks == 3:
            ctx.notify("ticking")
    await asyncio.gather(*(asyncio.ensure_future(wait_for(ctx)) for _ in range(3)))
    say("done")


async def wait_for(ctx: Context) -> None:
    await ctx.stopping


# -- starts -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Async, Plain, Plain(), Agent])
def test_an_agent_is_ready_after_init_and_waits_to_be_stopped(start: Start, target: Any) -> None:
    life = start(target)
    life.wait_for("READY")
    life.send(signal.SIGTERM)
    assert life.reason().kind is ExitKind.SHUTDOWN
    assert life.said() == ["READY", "STOPPING"]
    if target is not Agent:
        assert life.output().splitlines()[-1] == "terminate shutdown"


def test_an_agent_is_told_who_it_is_and_with_which_arguments(start: Start) -> None:
    life = start(Async, args={"a": 1, "b": 0}, extra={"b": 2})
    life.wait_for("READY")
    assert life.output() == "init /chat/bot 3 [('a', 1), ('b', 2)]\n"


def test_an_init_that_raises_is_a_failed_start_with_its_reason(start: Start) -> None:
    life = start(FailsInInit)
    assert life.end() == 1
    assert life.notices == [{"STATUS": "ValueError: no good", "ERRNO": "1"}]
    first, *_, last = life.output().splitlines()
    assert (first, last) == ("Traceback (most recent call last):", "good")
    assert "raise ValueError" in life.output()
    assert "bootstrap.py" not in life.output()
    assert "terminate" not in life.output()


def test_an_init_may_decline_the_start(start: Start) -> None:
    life = start(Declines)
    assert life.end() == 0
    assert life.notices == [{"X_SUPERVISOR_TREE_START": "ignore", "STATUS": "not on this machine"}]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:x", "cannot import 'no_such_module'"),
        ("examples.greeter:Nobody", "cannot find 'Nobody' in module 'examples.greeter'"),
        (dict, "cannot run class dict: it is no supervisor_tree.Agent"),
        (b"rubbish", "cannot load the code that the program sent"),
    ],
)
def test_a_target_that_cannot_be_had_is_a_failed_start(
    start: Start, target: Any, message: str
) -> None:
    life = start(target)
    assert life.end() == 1
    assert life.said() == ["ERRNO"]
    assert life.notices[0]["STATUS"].startswith(message)
    assert life.output().startswith(message)


def test_what_a_program_sends_by_value_runs(start: Start) -> None:
    greeting = "hello"
    life = start(dump_target(lambda ctx: print(greeting, ctx.id)))
    assert life.reason().kind is ExitKind.NORMAL
    assert life.output() == "hello bot\n"


def test_a_callable_without_parameters_is_called_without(start: Start) -> None:
    life = start(lambda: say("called"))
    assert life.reason().kind is ExitKind.NORMAL
    assert life.said() == ["READY"]
    assert life.output() == "called\n"


# -- ends -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "code", "reason"),
    [
        ("return", 0, "terminate normal"),
        ("raise", 1, "terminate LookupError: lost"),
        ("exit", 7, None),
    ],
)
def test_the_end_of_run_ends_the_agent(
    start: Start, what: str, code: int, reason: str | None
) -> None:
    life = start(Runs, args={"what": what})
    assert life.end() == code
    lines = life.output().splitlines()
    assert lines[:2] == ["init bot", "run ended"]
    assert reason is None or lines[2] == reason
    assert ("LookupError: lost" in lines) == (what == "raise")


@pytest.mark.parametrize(("what", "said"), [("hang", []), ("trap", ["heeded"])])
def test_a_stop_cancels_run_unless_it_traps_stops(start: Start, what: str, said: list[str]) -> None:
    life = start(Runs, args={"what": what})
    life.wait_for("STATUS", "in run")
    life.send(signal.SIGTERM)
    assert life.end() == -signal.SIGTERM
    assert life.output().splitlines() == [
        "init bot",
        *said,
        "run ended",
        "terminate shutdown",
    ]


@pytest.mark.parametrize(
    ("target", "said"), [(Hangs, "init cancelled"), (Blocks, "init interrupted")]
)
def test_a_stop_during_init_ends_the_start_without_terminate(
    start: Start, target: Any, said: str
) -> None:
    life = start(target)
    life.wait_for("STATUS", "in init")
    life.wait_until_it_sleeps()
    life.send(signal.SIGTERM)
    assert life.reason().kind is ExitKind.SHUTDOWN
    assert "READY" not in life.said()
    assert life.output().splitlines() == [said]


def test_a_terminate_that_raises_is_an_abnormal_end(start: Start) -> None:
    life = start(FailsInTerminate)
    life.wait_for("READY")
    life.send(signal.SIGTERM)
    assert life.reason(asked=True).kind is ExitKind.ABNORMAL
    assert life.notices[-1] == {"STATUS": "OSError: disk full", "ERRNO": "1"}


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        (polite, "waiting", "done"),
        (careless, "busy", "finally"),
        (coroutine, "waiting", "finally"),
        (watchful, "ticking", "done"),
    ],
)
def test_a_plain_callable_stops_in_its_own_way(
    start: Start, target: Any, status: str, said: str
) -> None:
    life = start(target)
    life.wait_for("STATUS", status)
    life.send(signal.SIGTERM)
    assert life.reason().kind is ExitKind.SHUTDOWN
    assert life.said() == ["READY", "STOPPING"]
    assert life.output() == f"{said}\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGUSR1", "SIGQUIT", "SIGHUP"])
def test_the_stop_signal_may_be_another(start: Start, name: str) -> None:
    stop_signal = signal.Signals[name]
    life = start(polite, stop_signal=name)
    life.wait_for("STATUS", "waiting")
    life.send(stop_signal)
    assert life.reason(stop_signal).kind is ExitKind.SHUTDOWN
    assert life.output() == "done\n"


def test_a_stop_signal_that_kills_nobody_ends_with_status_0(start: Start) -> None:
    life = start(polite, stop_signal="SIGWINCH")
    life.wait_for("STATUS", "waiting")
    life.send(signal.SIGWINCH)
    assert life.reason(signal.SIGWINCH, asked=True).kind is ExitKind.SHUTDOWN
    assert life.end() == 0


def test_ctrl_c_is_the_hosts_business(start: Start) -> None:
    life = start(polite)
    life.wait_for("STATUS", "waiting")
    life.send(signal.SIGINT)
    life.send(signal.SIGTERM)
    assert life.end() == -signal.SIGTERM
    assert life.output() == "done\n"


def test_a_second_stop_does_not_disturb_the_first(start: Start) -> None:
    def slow(ctx: Context) -> None:
        stopping = ctx.stopping
        ctx.notify("waiting")
        stopping.wait()
        ctx.notify("tidying")
        signal.sigwait({signal.SIGUSR1})
        say("done")

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        life = start(slow)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    life.wait_for("STATUS", "waiting")
    life.send(signal.SIGTERM)
    life.wait_for("STATUS", "tidying")
    life.send(signal.SIGTERM)
    life.send(signal.SIGUSR1)
    assert life.end() == -signal.SIGTERM
    assert life.output() == "done\n"


def test_threads_left_behind_do_not_hold_the_end_up(start: Start) -> None:
    def leaves_threads(ctx: Context) -> None:
        for daemon in (True, False):
            threading.Thread(target=threading.Event().wait, daemon=daemon, name="left").start()

    life = start(leaves_threads)
    began = time.monotonic()
    assert life.end() == 0
    assert time.monotonic() - began < 5.0
    assert life.output() == "thread 'left' is ended with its process\n"


def test_a_thread_about_to_end_is_waited_for(start: Start) -> None:
    def leaves_work(ctx: Context) -> None:
        gate = threading.Event()
        threading.Thread(target=lambda: (gate.wait(), say("worked"))).start()
        threading.Thread(target=gate.set).start()

    life = start(leaves_work)
    assert life.end() == 0
    assert life.output() == "worked\n"


def test_tasks_left_behind_are_cancelled(start: Start) -> None:
    async def leaves_task(ctx: Context) -> None:
        async def left() -> None:
            try:
                await ctx.stopping
            finally:
                say("cancelled")

        task = asyncio.ensure_future(left())
        await asyncio.sleep(0)
        assert not task.done()

    life = start(leaves_task)
    assert life.end() == 0
    assert life.output() == "cancelled\n"


def test_a_forked_child_of_an_agent_may_be_ended_alone(start: Start) -> None:
    def forks(ctx: Context) -> None:
        stopping = ctx.stopping
        up_read, up_write = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            os.write(up_write, b"!")  # it has let go of its parent's handlers
            stopping.wait()
            os._exit(1)
        os.read(up_read, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status), stopping.is_set(), stopping.wait(0))

    life = start(forks)
    assert life.end() == 0
    assert life.output() == f"{-signal.SIGTERM} False False\n"


def test_lines_are_in_the_log_before_a_kill(start: Start) -> None:
    def prints(ctx: Context) -> None:
        say("last words")
        ctx.notify("said")
        ctx.stopping.wait()

    life = start(prints)
    life.wait_for("STATUS", "said")
    life.send(signal.SIGKILL)
    assert life.reason().term == "killed"
    assert life.output() == "last words\n"


def test_the_log_is_plain_lines_on_stderr(start: Start) -> None:
    def logs(ctx: Context) -> None:
        ctx.log.info("step one")
        ctx.log.bind(more=1).warning("odd")

    life = start(logs)
    assert life.end() == 0
    assert life.output() == "INFO step one\nWARNING odd\n"


# -- the host ---------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Async, polite, careless, coroutine])
def test_an_agent_whose_lease_is_lost_ends_gracefully(start: Start, target: Any) -> None:
    life = start(target)
    life.wait_for("READY" if target is Async else "STATUS")
    life.lose_lease()
    assert life.end() == -signal.SIGTERM
    assert life.output().splitlines()[-1] in ("terminate shutdown", "done", "finally")


def test_an_agent_that_clings_to_life_is_ended_soon_after_its_lease(start: Start) -> None:
    life = start(stubborn)
    life.wait_for("STATUS", "busy")
    life.lose_lease()
    began = time.monotonic()
    assert life.end() == -signal.SIGALRM
    assert time.monotonic() - began < 5.0


def test_a_lease_lost_before_the_start_is_noticed(start: Start) -> None:
    def never_reached(ctx: Context) -> None:
        say("reached")

    life = start(never_reached, lease="lost")
    assert life.end() == -signal.SIGTERM
    assert life.output() == ""


def test_an_agent_lives_while_one_holder_of_its_lease_does(start: Start) -> None:
    life = start(polite)
    life.wait_for("STATUS", "waiting")
    other = os.dup(life.lease)
    life.lose_lease()
    life.send(signal.SIGINT)  # harmless, and handled before the next one
    assert not select.select([life.pidfd], [], [], 0)[0]
    os.close(other)
    assert life.end() == -signal.SIGTERM


def test_an_agent_runs_where_nobody_listens(start: Start) -> None:
    def deaf(ctx: Context) -> None:
        ctx.notify("x")
        say("ran")

    os.environ.pop("NOTIFY_SOCKET", None)
    life = start(deaf, lease="none")
    life.inbox.close()
    life.inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    assert life.end() == 0
    assert life.output() == "ran\n"


def test_a_sender_waits_for_room_and_finds_a_socket_that_was_bound_anew(tmp_path: Path) -> None:
    address = str(tmp_path / "notify.sock")
    with bound(address) as receiver:
        notifier = Notifier(address)
        while notifier.send({"STATUS": "x"}):
            pass
        sender = threading.Thread(target=notifier.ready)
        sender.start()
        heard = receiver.recv(100)
        while b"READY=1" not in heard:
            heard = receiver.recv(100)
        sender.join(DEADLINE_S)
        assert not sender.is_alive()
        # poll(2) tells of room at the receiver's only to a socket that is connected to it.
        assert notifier._socket is not None
        assert notifier._socket.getpeername() == address
    Path(address).unlink()
    with bound(address) as successor:
        assert notifier.status("again")
        assert successor.recv(100) == b"STATUS=again"
    Path(address).unlink()
    notifier.close()


def bound(address: str) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(address)
    receiver.settimeout(DEADLINE_S)
    return receiver
