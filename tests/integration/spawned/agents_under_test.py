"""Plain agents for the spawner's tests; loaded by the children, not by pytest."""

from __future__ import annotations

import os
import signal
import stat
import sys
from typing import Any


def tell_descriptors(_ctx: Any) -> None:
    # The agent's runtime has opened its own since: its watch on the lease, its stop event, and
    # both ends of the pipe that signals wake it by.
    seen = [fd for fd in os.listdir("/proc/self/fd") if int(fd) <= 3]
    others = [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if int(fd) > 3 and os.path.lexists(f"/proc/self/fd/{fd}")
    ]
    lease = "pipe" if stat.S_ISFIFO(os.fstat(3).st_mode) else "?"
    wakeup = signal.set_wakeup_fd(-1)
    names = {os.readlink(f"/proc/self/fd/{fd}") for fd in (3, wakeup)}
    own = names | {"anon_inode:[eventfd]"}
    strange = [name for name in others if name not in own]
    print(*sorted(seen), f"lease={lease}", *strange)


def tell_environment(_ctx: Any) -> None:
    environment = os.environ
    print(
        environment.get("TOLD"),
        environment.get("SUPERVISOR_TREE_PATH"),
        f"file:{environment.get('FROM_FILE', 'no')}",
    )


def tell_user(_ctx: Any) -> None:
    leased = stat.S_ISFIFO(os.fstat(3).st_mode)
    print(os.getuid(), "leased" if leased else "lost")


def wait(ctx: Any) -> None:
    print("waiting")
    ctx.stopping.wait()


def finish() -> None:
    pass


def fail() -> None:
    raise ValueError("as it should")


def leave() -> None:
    sys.exit(5)


def die() -> None:
    signal.raise_signal(signal.SIGSEGV)


def leave_a_daemon(ctx: Any) -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        print(os.getpid(), flush=True)
        signal.pause()
    os.wait()
    ctx.stopping.wait()


def tell_life(ctx: Any) -> None:
    print(os.environ["SUPERVISOR_TREE_GENERATION"], ctx.args["number"])
    ctx.stopping.wait()


def tell_home(_ctx: Any) -> None:
    print(*(os.environ[key] for key in ("HOME", "USER", "LOGNAME")))


def try_to_be_root(_ctx: Any) -> None:
    refused = []
    for name, arguments in (
        ("setresuid", (0, 0, 0)),
        ("setresgid", (0, 0, 0)),
        ("setgroups", ([0],)),
    ):
        try:
            getattr(os, name)(*arguments)
        except PermissionError:
            refused.append(name)
    print(*refused, end=": not permitted\n")
