"""The spawner's process: `python -m supervisor_tree.spawner SOCKET CONFIG`, two descriptors.

Only `SpawnerLauncher` starts it; there is nothing here for people to run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from supervisor_tree.spawner import kernel
from supervisor_tree.spawner.config import Config
from supervisor_tree.spawner.preload import Preload, StartsThreads, preload
from supervisor_tree.spawner.protocol import HOST_SIGNALS, Channel
from supervisor_tree.spawner.server import Spawner
from supervisor_tree.spawner.title import MarkSlot, set_title

__all__ = ["main"]

# Raised by what the process itself does, and not to be held back.
_FAULTS = {
    *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP),
}


def main() -> None:
    """Preload, then serve the root."""
    socket_fd, config_fd = map(int, sys.argv[1:])
    # What is meant for the host (Ctrl-C, a service manager's TERM) is the root's to handle.
    signal.pthread_sigmask(signal.SIG_BLOCK, HOST_SIGNALS)
    # Nothing to undo in each child, which has a handler of its own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    kernel.default_internal_signals()
    with contextlib.suppress(PermissionError):  # after a re-exec it has its session already
        os.setsid()
    _open_standard_descriptors()
    sys.stdin = None  # each child makes its own
    slot = MarkSlot()
    set_title("spawner")
    kernel.become_subreaper()
    kernel.be_woken_when_parent_ends()  # one that was stopped has the tree to end then
    for fd in (socket_fd, config_fd):
        os.set_inheritable(fd, False)
    config = Config.load(config_fd)
    for fd in (config.lease_read, config.lease_write):
        os.set_inheritable(fd, False)
    sys.path[:0] = config.sys_path
    channel = Channel(socket.socket(fileno=socket_fd))
    done = _preload(config, channel, config_fd)
    # What nobody can mean for it; a module's own processes have not inherited this.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
    os.close(config_fd)
    _open_standard_descriptors()  # a module may have closed some
    spawner = Spawner(config, channel, slot)
    required = {name for name, must in config.modules if must}
    for name, reason in [*config.left_out, *done.left_out]:
        spawner.tell(["left_out", name, reason, name in required])
    spawner.tell(["preloaded", done.modules, done.seconds])
    spawner.run()
    os._exit(0)  # nothing of the preloaded modules is to run now


def _open_standard_descriptors() -> None:
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)


def _preload(config: Config, channel: Channel, config_fd: int) -> Preload:
    """Import what can be; a module that starts threads is left out of a fresh interpreter.

    The root hears of each import before it is tried, so it knows which one was the last.
    """
    import supervisor_tree.agents.bootstrap  # noqa: F401, PLC0415 - part of what is shared

    excluded = {name for name, _ in config.left_out}
    names = [name for name, _ in config.modules if name not in excluded]
    try:
        return preload(names, lambda name: channel.send(["importing", name]))
    except StartsThreads as found:
        config.left_out.append((found.module, "it starts a thread when it is imported"))
        config.save(config_fd)
        fd = channel.fileno()
        for kept in (fd, config_fd, config.lease_read, config.lease_write):
            os.set_inheritable(kept, True)
        flags = ["-P", "-m", "supervisor_tree.spawner"]
        os.execv(sys.executable, [sys.executable, *flags, str(fd), str(config_fd)])


if __name__ == "__main__":
    main()
