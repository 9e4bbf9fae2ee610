"""What runs in a forked child before the user's code does.

Between the fork and the end of `set_up` all signals are blocked, so that a stop signal that
comes early waits until it can do what it means.  Everything that the child may fail at has a
name (a stage) and a sentence for the operator.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import io
import os
import pwd
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import msgpack

from supervisor_tree.core.specs import ChildSpec, Limits
from supervisor_tree.spawner import kernel
from supervisor_tree.spawner.procfs import MARK_KEY
from supervisor_tree.spawner.title import set_title

__all__ = [
    "GATE_FD",
    "LEASE_FD",
    "STATUS_FD",
    "Order",
    "SetupError",
    "can_fail",
    "go",
    "is_owned",
    "run",
]

LEASE_FD = 3
STATUS_FD = 4
GATE_FD = 5
_OWNED_PREFIXES = ("SUPERVISOR_TREE_", "LISTEN_")
_OWNED_KEYS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
_NO_LIMITS = Limits()
_LENGTH = struct.Struct("!I")
# Made ahead for all agents: descriptor 0 of each is the null device.
_STDIN = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


class SetupError(Exception):
    """A child could not be made ready; `stage` is one of LaunchFailed's."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.message = message


@dataclass(slots=True)
class Order:
    """All that one child has to know.

    `environment` holds what the host owns, `mark` names the scope, `base` is what the host
    itself was started with.  Descriptors of the spawner: 0..2 of the child come from `stdio`;
    `lease`, `status` and `gate` are -1 where there is none.  Behind a gate a spare waits to
    be told which life it is to be.
    """

    path: str
    generation: int
    spec: ChildSpec
    args: Any
    environment: Mapping[str, str]
    base: Mapping[str, str]
    stdio: tuple[int, int, int]
    nofile: tuple[int, int]
    mark: str
    lease: int = -1
    status: int = -1
    gate: int = -1


def is_owned(key: str) -> bool:
    """Keys that only the host sets: they are neither inherited nor overridden."""
    return key in _OWNED_KEYS or key.startswith(_OWNED_PREFIXES)


def can_fail(spec: ChildSpec) -> bool:
    """Whether the set-up depends on anything outside this process."""
    return bool(
        spec.command is not None
        or spec.user
        or spec.group
        or spec.cwd
        or spec.env_file
        or spec.limits != _NO_LIMITS
    )


def run(order: Order, show_mark: Callable[[str], None]) -> int:
    """Become the agent or the program; returns the code to exit with, or raises SetupError."""
    account = _set_up(order)
    if order.gate >= 0:
        set_title(f"{order.path} (spare)")
        order = _wait_at(order)
        show_mark(order.mark)
    if order.spec.command is not None:
        _run_program(order, account)
    return _run_agent(order, account)


def go(order: Order) -> bytes:
    """What to write into the gate of a spare, so that it becomes this life."""
    life = [order.generation, order.args, dict(order.environment), order.mark]
    body: bytes = msgpack.packb(life)
    return _LENGTH.pack(len(body)) + body


def _wait_at(order: Order) -> Order:
    """Wait for `go`; the end of the pipe means that nobody will ever say it."""
    head = _read_exactly(_LENGTH.size)
    generation, args, environment, mark = msgpack.unpackb(
        _read_exactly(*_LENGTH.unpack(head)), strict_map_key=False
    )
    os.close(GATE_FD)
    return replace(order, generation=generation, args=args, environment=environment, mark=mark)


def _read_exactly(size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = os.read(GATE_FD, size - len(parts))
        if not part:
            os._exit(0)
        parts += part
    return bytes(parts)


def _run_agent(order: Order, account: pwd.struct_passwd | None) -> int:
    if order.spec.env_file or account is not None:
        environment = _environment(order, account)
        os.environ.clear()
        os.environ.update(environment)
    else:  # os.environ is `base` already, and each key costs
        os.environ.update(_own_part(order))
    set_title(f"{order.path} #{order.generation}")
    sys.stdin = _STDIN
    if order.status >= 0:
        os.close(STATUS_FD)
    kernel.mask_signals(kernel.NO_SIGNALS)
    from supervisor_tree.agents.bootstrap import run_agent  # noqa: PLC0415 - 30 ms

    return run_agent(
        path=order.path,
        generation=order.generation,
        spec=order.spec,
        args=order.args,
        lease_fd=LEASE_FD if order.lease >= 0 else None,
    )


def _run_program(order: Order, account: pwd.struct_passwd | None) -> NoReturn:
    environment = _environment(order, account)
    for number in _PYTHON_IGNORES:
        signal.signal(number, signal.SIG_DFL)
    kernel.mask_signals(kernel.NO_SIGNALS)
    _execute(order.spec.command or (), environment)


def _set_up(order: Order) -> pwd.struct_passwd | None:
    """Session, descriptors, limits, user, directory; returns the account it runs under now."""
    os.setsid()
    _arrange_descriptors(order)
    spec = order.spec
    if spec.umask is not None:
        os.umask(spec.umask)
    if order.nofile[0] != order.nofile[1]:
        resource.setrlimit(resource.RLIMIT_NOFILE, order.nofile)
    if spec.limits != _NO_LIMITS:
        with _stage("limits"):
            _apply_limits(spec.limits)
    account = None
    if spec.user or spec.group:
        with _stage("user"):
            account = _become(spec.user, spec.group)
    if spec.cwd:
        with _stage("cwd", f"cannot enter directory {spec.cwd!r}"):
            os.chdir(spec.cwd)
    return account


def _arrange_descriptors(order: Order) -> None:
    """0, 1, 2, lease at 3, status pipe at 4, gate at 5; all others are closed."""
    # Out of the way first: each dup2 below must not run over a source still needed.
    sources = [_moved_up(fd) for fd in (*order.stdio, order.lease, order.status, order.gate)]
    for target, source in enumerate(sources):
        if source >= 0:
            os.dup2(source, target, inheritable=target <= 2)
        else:
            os.closerange(target, target + 1)  # which minds no closed one
    kernel.close_from(GATE_FD + 1)


def _moved_up(fd: int) -> int:
    return fd if fd < 0 or fd > GATE_FD else _dup_above(fd)


def _dup_above(fd: int) -> int:
    import fcntl  # noqa: PLC0415 - rarely needed

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, GATE_FD + 1)


def _apply_limits(limits: Limits) -> None:
    for kind, value in (
        (resource.RLIMIT_NOFILE, limits.nofile),
        (resource.RLIMIT_AS, limits.address_space),
        (resource.RLIMIT_CORE, limits.core),
        (resource.RLIMIT_NPROC, limits.nproc),
    ):
        if value is not None:
            resource.setrlimit(kind, (value, value))
    if limits.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, limits.nice)
    if limits.oom_score_adj is not None:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(limits.oom_score_adj))


def _become(user: str | None, group: str | None) -> pwd.struct_passwd | None:
    """Change group, supplementary groups and user for good."""
    account = _account(user) if user else None
    gid = _group_id(group) if group else None
    if account is None:
        if gid is not None and gid != os.getgid():
            os.setgroups([gid])
            os.setresgid(gid, gid, gid)
        return None
    gid = account.pw_gid if gid is None else gid
    if (account.pw_uid, gid) != (os.geteuid(), os.getegid()):
        os.initgroups(account.pw_name, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        kernel.allow_proc_access()
    return account


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        raise SetupError("user", f"there is no user {user!r}") from None


def _group_id(group: str) -> int:
    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise SetupError("user", f"there is no group {group!r}") from None


def _environment(order: Order, account: pwd.struct_passwd | None) -> dict[str, str]:
    """The host's, then the account's, then `env_file`, then `env`, then what the host owns."""
    environment = dict(order.base)
    if account is not None:
        environment |= {
            "HOME": account.pw_dir,
            "LOGNAME": account.pw_name,
            "SHELL": account.pw_shell,
            "USER": account.pw_name,
        }
    for name in order.spec.env_files:
        environment |= _from_file(name)
    return environment | _own_part(order)


def _own_part(order: Order) -> dict[str, str]:
    own = {key: value for key, value in order.spec.env.items() if not is_owned(key)}
    return own | dict(order.environment) | {MARK_KEY: order.mark}


def _from_file(name: str) -> dict[str, str]:
    import dotenv  # noqa: PLC0415 - the spawner has it loaded when a child needs it

    with _stage("environment", f"cannot read env_file {name!r}"):
        with open(name, encoding="utf-8") as file:
            values = dotenv.dotenv_values(stream=file)
    return {key: value for key, value in values.items() if value is not None and not is_owned(key)}


def _execute(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    name = command[0]
    if "/" in name:
        candidates = [name]
    else:
        path = environment.get("PATH", _DEFAULT_PATH)
        candidates = [os.path.join(place or ".", name) for place in path.split(":")]
    refused: tuple[str, OSError] | None = None
    for candidate in candidates:
        try:
            os.execve(candidate, list(command), dict(environment))
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.exists(candidate):
                refused = refused or (candidate, error)
        except PermissionError as error:
            refused = refused or (candidate, error)
        except (OSError, ValueError) as error:
            raise SetupError("exec", _refusal(candidate, error)) from error
    if refused is not None:
        raise SetupError("exec", _refusal(*refused))
    if "/" in name:
        raise SetupError("exec", f"cannot execute {name!r}: there is no such file")
    raise SetupError("exec", f"cannot execute {name!r}: not found on PATH ({path})")


def _refusal(name: str, error: Exception) -> str:
    reason = str(error)
    if isinstance(error, OSError):
        reason = {
            errno.ENOENT: "the interpreter that its first line names is not there",
            errno.ENOEXEC: "neither a binary for this machine nor a script with a #! line",
            errno.EACCES: "permission denied",
        }.get(error.errno or 0, error.strerror or reason)
        if error.errno == errno.EACCES and os.path.isdir(name):
            reason = "it is a directory"
    return f"cannot execute {name!r}: {reason}"


@contextlib.contextmanager
def _stage(stage: str, what: str = "") -> Iterator[None]:
    """Give what goes wrong within its stage and a sentence."""
    try:
        yield
    except (OSError, ValueError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        text = f"{what or f'cannot apply {stage}'}: {reason}"
        raise SetupError(stage, text) from error
