"""A tree inside another program: its own root process, and a handle to it.

The root is a fresh interpreter, never a fork of the embedding program, so threads, event
loops and test runners around it do not matter.  It lives exactly as long as the handle:
one end of a socket pair is its lifeline, and when that closes (at the end of the `with`
block, on an exception, or because this process was killed) the root stops the tree.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from supervisor_tree import config
from supervisor_tree.bus.speaker import Speaker
from supervisor_tree.control.client import ControlClient, check_limit
from supervisor_tree.control.facts import add_facts
from supervisor_tree.core.specdata import spec_from_data
from supervisor_tree.core.specs import ChildSpec, Logs, SupervisorSpec
from supervisor_tree.core.values import plain_data
from supervisor_tree.errors import (
    ConfigError,
    ConfigProblem,
    NoHost,
    OperationFailed,
    TimedOut,
    UsageError,
)
from supervisor_tree.portable import portable, sound_child, sound_tree
from supervisor_tree.root import command, pack
from supervisor_tree.runtime.settings import HostSettings
from supervisor_tree.runtime.signals import held_back

if TYPE_CHECKING:
    from supervisor_tree.bus.blocking import BlockingBus

__all__ = ["RunningTree", "run"]

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 60.0
_JOIN_LIMIT_S = 10.0

_Condition = Literal["ready", "stopped"]


def run(  # noqa: PLR0913 - a host's settings, all but one with a default
    spec: SupervisorSpec | Mapping[str, Any] | str | os.PathLike[str],
    *,
    name: str = "embedded",
    run_dir: str | os.PathLike[str] | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    log_dir: str | os.PathLike[str] | None = None,
    preload: tuple[str, ...] = (),
    wait_ready: bool = True,
    start_timeout: float = _START_LIMIT_S,
) -> RunningTree:
    """Start a tree in a root process of its own; use as a context manager.

    `spec` is a SupervisorSpec, the mapping that a YAML file's whole text would be, or the
    path of such a file.  What `run_dir`, `state_dir` and `log_dir` do not name lives in a
    temporary directory that goes with the tree.  With `wait_ready` the call returns when
    the tree is ready; it raises OperationFailed if that fails, TimedOut after `start_timeout`
    seconds.  Raises ConfigError for a specification that cannot be used.
    """
    check_limit(start_timeout)
    loaded = None
    if isinstance(spec, SupervisorSpec):
        tree = sound_tree(spec)
    else:
        loaded = config.from_data(spec) if isinstance(spec, Mapping) else config.load(spec)
        if loaded.host.source is not None:
            message = "is for `supervisor-tree run`; a program knows its own tree"
            raise ConfigError([ConfigProblem(loaded.host.file or "", 0, 0, "host.source", message)])
        tree = portable(loaded.tree)
    scratch = Path(tempfile.mkdtemp(prefix="supervisor-tree-"))
    settings = HostSettings(
        name=name if loaded is None else loaded.host.name,
        run_dir=scratch / "run" if run_dir is None else Path(run_dir).absolute(),
        state_dir=scratch / "state" if state_dir is None else Path(state_dir).absolute(),
        log_dir=scratch / "logs" if log_dir is None else Path(log_dir).absolute(),
        preload=(*(() if loaded is None else loaded.host.preload), *preload),
        logs=Logs() if loaded is None else loaded.host.logs,
        policy=() if loaded is None else loaded.host.policy,
        links=None if loaded is None else loaded.host.links,
        sys_path=tuple(os.path.abspath(entry) for entry in sys.path),
    )
    running = RunningTree(settings, scratch)
    try:
        running.begin(tree, start_timeout, wait_ready=wait_ready)
    except BaseException:
        running.close()
        raise
    return running


class RunningTree(Speaker):
    """A handle to a tree that runs: OTP's verbs on it, and those of the bus in it.

    Safe to use from several threads.
    Paths are "/", "/chat", "/chat/bot".  Methods raise NoSuchChild for an unknown path,
    NoHost when the tree has ended, TimedOut past a deadline, OperationFailed with OTP's
    error word (`already_present`, `running`, ...) when an order is refused, UsageError for
    arguments that are off, TryAgain while what is meant is between two lives of its supervisor.
    A call that is refused has changed nothing.
    """

    def __init__(self, settings: HostSettings, scratch: Path) -> None:
        self.run_dir = settings.run_dir
        self.log_dir = settings.log_dir
        self._settings = settings
        self._scratch = scratch
        self._lock = threading.Lock()
        self._idle: list[ControlClient] = []
        self._bus_lock = threading.Lock()
        self._blocking: BlockingBus | None = None
        self._lifeline, self._theirs = socket.socketpair()
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, tree: SupervisorSpec, start_timeout: float, *, wait_ready: bool) -> None:
        """Start the root and wait for it; `run` does this once."""
        with self._theirs as theirs, held_back():
            payload = pack(
                self._settings,
                tree,
                pythonpath=os.environ.get("PYTHONPATH"),
                scratch=str(self._scratch),
            )
            self._process = subprocess.Popen(
                command(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": _python_path()},
            )
        self._lifeline.settimeout(start_timeout)
        # It may have ended already; what it said is read below.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._lifeline.sendall(payload)
        self._await_word("listening", start_timeout)
        if wait_ready:
            self._await_word("ready", start_timeout)

    # --- life -----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The root's process."""
        return 0 if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The root's exit code; None while it runs."""
        return None if self._process is None else self._process.poll()

    def __enter__(self) -> RunningTree:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self, timeout: float = _STOP_LIMIT_S) -> None:
        """Stop the tree in order and wait until nothing of it is left.  Idempotent.

        After `timeout` seconds the root is killed; its spawner then ends what is left.
        In a process that was forked from the one that has started the tree it does nothing.
        """
        check_limit(timeout)
        if os.getpid() != self._owner:
            return
        if self._blocking is not None:
            self._blocking.close()
        with self._lock:
            while self._idle:
                self._idle.pop().close()
        with contextlib.suppress(OSError):  # closed before
            self._lifeline.shutdown(socket.SHUT_RDWR)  # whoever was forked has it open as well
        self._lifeline.close()
        self._theirs.close()
        if self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the tree ends by itself; returns the root's exit code."""
        check_limit(timeout)
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"the tree still runs after {timeout} s") from None

    def _await_word(self, word: str, timeout: float) -> None:
        """Read one line of the root on the lifeline; it is `word`, or an error."""
        deadline = time.monotonic() + timeout
        line = b""
        while not line.endswith(b"\n"):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimedOut(f"cannot start the tree: not {word} after {timeout} s")
            self._lifeline.settimeout(remaining)
            try:
                byte = self._lifeline.recv(1)
            except TimeoutError:
                continue
            except ConnectionResetError:  # it ended before it had read what we sent
                byte = b""
            if not byte:
                code = self.wait(_STOP_LIMIT_S)
                raise OperationFailed(f"cannot start the tree: its root ended with status {code}")
            line += byte
        message = json.loads(line)
        if message.get("word") != word:
            raise OperationFailed(f"cannot start the tree: {message.get('error', message)}")

    # --- OTP's verbs ------------------------------------------------------------------------

    def start_child(
        self,
        supervisor: str,
        spec: ChildSpec | None = None,
        *,
        name: str | None = None,
        args: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
    ) -> int | None:
        """supervisor:start_child/2; returns the new child's pid when it is ready.

        Under simple_one_for_one give `name` and `args` instead of `spec`.  Raises UsageError,
        with all that is wrong with it, for a specification that a file could not have either.
        """
        data = None if spec is None else sound_child(spec, str(supervisor))
        error = None if args is None else plain_data(args)
        if error is not None:
            raise UsageError(f"args: {error}")
        request = {"supervisor": supervisor, "spec": data, "name": name, "args": args}
        return _pid_of(self._otp("start_child", request, timeout))

    def terminate_child(self, supervisor: str, id: str, *, timeout: float = 60.0) -> None:
        """supervisor:terminate_child/2; returns when the child is stopped.

        `id` is the child's name among its siblings, as for the two below: no path and no pid,
        for which UsageError is raised.  Under simple_one_for_one it is the instance's name.
        """
        self._otp("terminate_child", {"supervisor": supervisor, "id": id}, timeout)

    def restart_child(self, supervisor: str, id: str, *, timeout: float = 60.0) -> int | None:
        """supervisor:restart_child/2; returns the new pid."""
        return _pid_of(self._otp("restart_child", {"supervisor": supervisor, "id": id}, timeout))

    def delete_child(self, supervisor: str, id: str, *, timeout: float = 60.0) -> None:
        """supervisor:delete_child/2; the child must be stopped."""
        self._otp("delete_child", {"supervisor": supervisor, "id": id}, timeout)

    def which_children(self, supervisor: str = "/") -> list[tuple[str, Any, str]]:
        """supervisor:which_children/1: (id, pid | None | "restarting", "worker" | "supervisor").

        Last started first, as in OTP.
        """
        children = self._otp("which_children", {"supervisor": supervisor}, 10.0)
        return [(child[0], child[1], child[2]) for child in children]

    def count_children(self, supervisor: str = "/") -> dict[str, int]:
        """supervisor:count_children/1: specs, active, supervisors, workers."""
        counts = self._otp("count_children", {"supervisor": supervisor}, 10.0)
        return {str(key): int(value) for key, value in dict(counts).items()}

    def get_childspec(self, supervisor: str, id: str) -> ChildSpec:
        """supervisor:get_childspec/2."""
        answer = self._otp("get_childspec", {"supervisor": supervisor, "id": id}, 10.0)
        return spec_from_data(answer[1])

    # --- an operator's verbs ------------------------------------------------------------------

    def start(self, *paths: str, timeout: float = 60.0) -> None:
        """Want these children up; returns when they are ready."""
        self._request("start", {"paths": list(paths)}, timeout)

    def stop(self, *paths: str, timeout: float = 60.0) -> None:
        """Want these children down; returns when they are stopped.  See `close` for the tree."""
        self._request("stop", {"paths": list(paths)}, timeout)

    def restart(self, *paths: str, timeout: float = 60.0) -> None:
        """Stop and start anew; counts no restart."""
        self._request("restart", {"paths": list(paths)}, timeout)

    def kill(self, *paths: str) -> None:
        """SIGKILL to the scopes; the restart rules follow."""
        self._request("kill", {"paths": list(paths)}, 10.0)

    def status(self, path: str = "/") -> list[dict[str, Any]]:
        """The rows that `supervisor-tree status --json` shows."""
        rows: list[dict[str, Any]] = self._request("status", {"path": path}, 10.0)
        add_facts(rows)
        return rows

    def wait_for(
        self, path: str, condition: _Condition = "ready", *, timeout: float = 60.0
    ) -> None:
        """Return when `path` is ready, or stopped; TimedOut after `timeout` seconds."""
        check_limit(timeout)
        arguments = {"path": path, "for": condition, "timeout": timeout}
        self._request("wait", arguments, timeout + 5.0)

    def events(
        self, since: int = 0, *, timeout: float | None = None
    ) -> Generator[dict[str, Any], None, None]:
        """Lifecycle events numbered above `since`: the past ones, then those to come.

        None is missing and none comes twice.  Ends with the tree; raises TimedOut when
        none has come for `timeout` seconds.
        """
        with ControlClient(self.run_dir) as client:
            yield from client.subscribe_events(since, timeout=timeout)

    # --- how it is asked ------------------------------------------------------------------------

    def _speaks(self) -> BlockingBus:
        """Made when it is first needed: most embedding programs only look on."""
        with self._bus_lock:
            if self._blocking is None:
                from supervisor_tree.control.bus_client import join_bus  # noqa: PLC0415 - 20 ms

                self._blocking = join_bus(
                    self.run_dir, lambda verb, args: self._request(verb, args, _JOIN_LIMIT_S)
                )
            return self._blocking

    def _request(self, verb: str, arguments: Mapping[str, Any], timeout: float) -> Any:
        """One request on a connection of its own, so that no thread waits for another's."""
        with self._lock:
            client = self._idle.pop() if self._idle else None
        if client is None:
            try:
                client = ControlClient(self.run_dir)
            except NoHost:
                raise self._ended() from None
        try:
            answer = client.request(verb, arguments, timeout=timeout)
        except NoHost:
            client.close()
            raise self._ended() from None
        except BaseException:
            client.close()
            raise
        with self._lock:
            self._idle.append(client)
        return answer

    def _ended(self) -> NoHost:
        """What to raise when nobody answers any more."""
        code = self.exit_code
        return NoHost(
            "the tree has ended" if code is None else f"the tree has ended with exit code {code}"
        )

    def _otp(self, verb: str, arguments: Mapping[str, Any], timeout: float) -> Any:
        answer = self._request(verb, arguments, timeout)
        if isinstance(answer, (list, tuple)) and answer and answer[0] == "error":
            raise OperationFailed(f"{verb} of {_whom(arguments)} is refused: {_term(answer[1])}")
        return answer


def _pid_of(answer: Any) -> int | None:
    """The pid in OTP's {ok, Pid} or {ok, Pid, Info}."""
    pid = answer[1]
    return int(pid) if isinstance(pid, int) else None


def _whom(arguments: Mapping[str, Any]) -> str:
    """The path that one of OTP's verbs is about."""
    id = arguments.get("id") or arguments.get("name") or (arguments.get("spec") or {}).get("id")
    supervisor = str(arguments["supervisor"])
    return supervisor if id is None else f"{supervisor.rstrip('/')}/{id}"


def _term(term: Any) -> str:
    """An OTP term as people write it."""
    if isinstance(term, (list, tuple)):
        return "{" + ", ".join(_term(item) for item in term) + "}"
    return str(term)


def _python_path() -> str:
    """PYTHONPATH under which the root finds this very package; it puts back what was there."""
    here = str(Path(__file__).resolve().parent.parent)
    rest = os.environ.get("PYTHONPATH")
    return here if not rest else os.pathsep.join((here, rest))
