"""What runs in a forked child before the user's code does.

Between the fork and the end of `set_up` all signals are blocked, so that a stop signal that
comes early waits until it can do what it means.  Everything that the child may fail at has a
name (a stage) and a sentence for the operator.
"""

from __future__ import annotations

import errno
import io
import os
import pwd
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from supervisor_tree.core.environment import is_owned
from supervisor_tree.core.specs import ChildSpec, Limits
from supervisor_tree.runtime.cgroups import Cgroup, enter
from supervisor_tree.spawner import kernel
from supervisor_tree.spawner.directories import own_directories
from supervisor_tree.spawner.gate import Gate, open_gate, pass_letter
from supervisor_tree.spawner.procfs import MARK_KEY
from supervisor_tree.spawner.rights import SetupError, apply_limits, become, stage, who
from supervisor_tree.spawner.title import set_title

if TYPE_CHECKING:
    from supervisor_tree.agents.bootstrap import Standby

__all__ = [
    "LAST_FD",
    "Order",
    "can_fail",
    "letter_of",
    "run",
]

# A child's descriptors: 0, 1, 2, its sockets, then lease, status pipe and gate.
_FIRST_FD = 3
LAST_FD = 5  # of a child without sockets
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
_NO_LIMITS = Limits()
# Made ahead for all agents: descriptor 0 of each is the null device.
_STDIN = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(slots=True)
class Order:
    """All that one child has to know.

    `environment` holds what the host owns, `mark` names the scope, `base` is what the host
    itself was started with.  Descriptors of the spawner: 0..2 of the child come from `stdio`,
    those from 3 on from `sockets`; `lease`, `status` and `gate` are -1 where there is none.
    Behind a gate a spare waits to be told which life it is to be; one for any life reads its
    specification by `unpack`.
    A spare is put into a `cgroup` by the spawner; every other child enters its own itself.
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
    sockets: tuple[int, ...] = ()
    cgroup: Cgroup | None = None
    unpack: Callable[[bytes], ChildSpec] | None = None

    @property
    def lease_fd(self) -> int:
        """In the child: where its lease is, if it has one."""
        return _FIRST_FD + len(self.sockets)

    @property
    def status_fd(self) -> int:
        """In the child: where it tells of a set-up that fails."""
        return self.lease_fd + 1

    @property
    def gate_fd(self) -> int:
        """In the child: where a spare waits; the last that is its own."""
        return self.lease_fd + 2


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


def run(order: Order, become: Callable[[Order], None]) -> int:
    """Become the agent or the program; returns the code to exit with, or raises SetupError.

    `become` is told when a spare is a life.
    """
    _set_up(order)
    if order.cgroup is not None:
        with stage("limits", f"cannot enter cgroup {order.cgroup.directory}"):
            enter(order.cgroup)
    account = _submit(order)
    if order.spec.command is not None:
        if order.gate >= 0:
            order = _wait_at(Gate(order.gate_fd), order)
            become(order)
        _run_program(order, account)
    from supervisor_tree.agents.bootstrap import prepare  # noqa: PLC0415 - 30 ms

    standby = prepare(order.lease_fd if order.lease >= 0 else None)
    sys.stdin = _STDIN
    if order.gate >= 0:
        if order.unpack is not None:
            _rehearse(order, standby)
        life = _wait_at(Gate(order.gate_fd), order)
        become(life)
        if order.unpack is not None:
            account = _submit(life)
        order = life
    return _run_agent(order, account, standby)


def letter_of(order: Order, packed: bytes) -> list[Any]:
    """What to tell a spare, so that it becomes this life."""
    own = dict(order.environment)
    outputs, status = order.stdio[1] != order.stdio[2], order.status >= 0
    return [order.path, order.generation, packed, order.args, own, order.mark, outputs, status]


def _rehearse(order: Order, standby: Standby) -> None:
    """Live a life that does nothing: the pages that every life writes are copied by then."""
    ours, theirs = open_gate()
    pass_letter(ours, letter_of(replace(order, stdio=(0, 1, 2), status=-1), b""), (1, 2))
    life = _wait_at(Gate(theirs), order)
    os.close(ours)
    _take_environment(life, None)
    _live(life, standby)


def _wait_at(gate: Gate, order: Order) -> Order:
    """Wait for the letter; the end of the gate means that nobody will ever send one."""
    set_title(f"{order.path} (spare)")
    letter, fds = gate.wait()
    path, generation, packed, args, environment, mark, outputs, status = letter
    spec = order.spec
    places = [*range(_FIRST_FD, order.lease_fd)]  # its sockets were not there when it was forked
    if order.unpack is not None:
        spec = order.unpack(packed) if packed else spec
        places = [1, 2] * outputs + [order.status_fd] * status
    for source, target in zip(fds, places, strict=True):
        os.dup2(source, target, inheritable=_is_handed_on(target, order))
        os.close(source)
    return replace(
        order,
        path=path,
        generation=generation,
        spec=spec,
        args=args,
        environment=environment,
        mark=mark,
    )


def _run_agent(order: Order, account: pwd.struct_passwd | None, standby: Standby) -> int:
    _take_environment(order, account)
    set_title(f"{order.path} #{order.generation}")
    if order.status >= 0:
        os.close(order.status_fd)
    kernel.mask_signals(kernel.NO_SIGNALS)
    return _live(order, standby)


def _take_environment(order: Order, account: pwd.struct_passwd | None) -> None:
    if order.spec.env_file or account is not None:
        environment = _environment(order, account)
        os.environ.clear()
        os.environ.update(environment)
    else:  # os.environ is `base` already, and each key costs
        os.environ.update(_own_part(order))


def _live(order: Order, standby: Standby) -> int:
    from supervisor_tree.agents.bootstrap import run_agent  # noqa: PLC0415 - 30 ms

    return run_agent(
        standby,
        path=order.path,
        generation=order.generation,
        spec=order.spec,
        args=order.args,
    )


def _run_program(order: Order, account: pwd.struct_passwd | None) -> NoReturn:
    environment = _environment(order, account)
    for number in _PYTHON_IGNORES:
        signal.signal(number, signal.SIG_DFL)
    kernel.mask_signals(kernel.NO_SIGNALS)
    _execute(order.spec.command or (), environment)


def _set_up(order: Order) -> None:
    """What is the same for all: session, descriptors, the host's own limit of them."""
    os.setsid()
    _arrange_descriptors(order)
    if order.nofile[0] != order.nofile[1]:
        resource.setrlimit(resource.RLIMIT_NOFILE, order.nofile)


def _submit(order: Order) -> pwd.struct_passwd | None:
    """Limits, user, directory; returns the account it runs under now."""
    spec = order.spec
    if spec.umask is not None:
        os.umask(spec.umask)
    if spec.limits != _NO_LIMITS:
        apply_limits(spec.limits)
    account = None
    if spec.user or spec.group:
        with stage("user", f"cannot become {who(spec)}"):
            account = become(spec, order.environment)
    elif spec.command is not None:
        own_directories(order.environment)
    if spec.no_new_privs:
        kernel.forbid_new_privileges()
    if spec.cwd:
        with stage("cwd", f"cannot enter directory {spec.cwd!r}"):
            os.chdir(spec.cwd)
    return account


def _arrange_descriptors(order: Order) -> None:
    """0, 1, 2, sockets, lease, status pipe, gate; all others are closed."""
    # Out of the way first: each dup2 below must not run over a source still needed.
    own = (*order.stdio, *order.sockets, order.lease, order.status, order.gate)
    sources = [_moved_up(fd, order.gate_fd) for fd in own]
    for target, source in enumerate(sources):
        if source >= 0:
            os.dup2(source, target, inheritable=_is_handed_on(target, order))
        else:
            os.closerange(target, target + 1)  # which minds no closed one
    kernel.close_from(order.gate_fd + 1)


def _is_handed_on(target: int, order: Order) -> bool:
    """By exec: to a program what it was given, to what an agent starts its output alone."""
    return target < (_FIRST_FD if order.spec.command is None else order.lease_fd)


def _moved_up(fd: int, last: int) -> int:
    return fd if fd < 0 or fd > last else _dup_above(fd, last)


def _dup_above(fd: int, last: int) -> int:
    import fcntl  # noqa: PLC0415 - rarely needed

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, last + 1)


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
    own |= dict(order.environment) | {MARK_KEY: order.mark}
    if order.sockets:
        own["LISTEN_PID"] = str(os.getpid())  # sd_listen_fds(3): they are for this process alone
    return own


def _from_file(name: str) -> dict[str, str]:
    import dotenv  # noqa: PLC0415 - the spawner has it loaded when a child needs it

    with stage("environment", f"cannot read env_file {name!r}"):
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
    raise SetupError("exec", f"cannot execute {name!r}: not found on PATH")


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
