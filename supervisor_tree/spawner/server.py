"""The spawner's one loop: takes the root's orders, forks, and tells what has ended.

It is told to end in one way only: the root's end of the socket closes, because the root
wants so or has died.  Then every scope is ended, and when the last is empty, so is this.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from supervisor_tree.core.environment import is_owned
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.runtime.cgroups import Cgroup
from supervisor_tree.runtime.launcher import Exited, LaunchFailed, Spawned
from supervisor_tree.runtime.settings import NOFILE_KEY
from supervisor_tree.spawner import child, kernel
from supervisor_tree.spawner.config import Config
from supervisor_tree.spawner.forking import STATUS_BYTES, Birth, Cradle, give_births
from supervisor_tree.spawner.lives import Key, Life, mark_of, terms_of
from supervisor_tree.spawner.protocol import Channel, Frame, SpecUnpacker, from_notice
from supervisor_tree.spawner.scope import Warden
from supervisor_tree.spawner.spares import ANYONE, SparePool
from supervisor_tree.spawner.title import MarkSlot

__all__ = ["Spawner"]

REHEARSAL = "supervisor_tree.agents.bootstrap:rehearsed"
BATCH = 32  # forked at once; later orders wait for so many
END_GRACE_S = 1.0  # SIGTERM to SIGKILL once the root is gone
END_LIMIT_S = 1.9  # all is gone within 2 s of the root's death, or is beyond our power


class Spawner:
    """All of the spawner after its preload."""

    def __init__(self, config: Config, channel: Channel, slot: MarkSlot) -> None:
        self._config = config
        self._channel = channel
        self._poller = select.epoll()
        self._warden = Warden(config.instance, self._poller)
        self._sigchld = kernel.sigchld_fd()
        self._slot = slot
        self._nofile = _raise_nofile()
        self._base = _take_base_environment()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        # Above the places of a child's own, so that no child has to move it out of its way.
        self._lease = fcntl.fcntl(config.lease_read, fcntl.F_DUPFD_CLOEXEC, child.LAST_FD + 1)
        self._specs = SpecUnpacker()
        self._spares = SparePool(self._warden, slot, config.instance, self._anyone())
        self._cradles: dict[Key, Cradle] = {}  # to be forked in this turn
        self._unready: dict[int, Birth] = {}  # by status pipe
        self._retiring = False
        self._end_at: float | None = None
        self._wants_write = False
        self._poller.register(channel.fileno(), select.EPOLLIN)
        self._poller.register(self._sigchld, select.EPOLLIN)

    def tell(self, frame: Frame) -> None:
        """Send the root a frame of its own kind."""
        self._channel.send(frame)

    def run(self) -> None:
        """Serve until the root is gone, or this spawner is retired and its last child is."""
        while not self._is_over():
            events = self._poller.poll(self._timeout())
            if not events:
                self._spares.work(time.monotonic())
            for fd, _ in events:
                if fd == self._channel.fileno():
                    self._serve()
                elif fd == self._sigchld:
                    _drain(fd)
                elif fd in self._unready:
                    self._end_birth(fd)
                else:
                    self._warden.handle(fd)
            self._report()
            self._warden.reap_orphans()
            self._watch_channel()

    def _is_over(self) -> bool:
        if self._end_at is not None:
            now = time.monotonic()
            if not self._warden.lives:  # a last look, for what was forked meanwhile
                self._warden.end_all(now, 0.0)
            return not self._warden.lives or now >= self._end_at
        return self._retiring and not self._warden.lives and not self._channel.backlog

    def _timeout(self) -> float | None:
        dues = (self._warden.deadline(), self._spares.deadline(), self._end_at)
        ends = [due for due in dues if due is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _report(self) -> None:
        """Let the warden act, and tell the root.  An end is final once the socket has it."""
        for notice, life in self._warden.settle(time.monotonic()):
            done = None if life is None else _Release(self._warden, life)
            self._channel.send(from_notice(notice), done=done)
            if isinstance(notice, Exited):
                self._spares.life_ended(notice.path, notice.asked)

    def _watch_channel(self) -> None:
        if self._end_at is not None:
            return
        if self._channel.ended:
            self._poller.unregister(self._channel.fileno())
            self._spares.drop_all()
            now = time.monotonic()
            self._end_at = now + END_LIMIT_S
            self._warden.end_all(now, END_GRACE_S)
            return
        wants = self._channel.backlog > 0
        if wants != self._wants_write:
            self._wants_write = wants
            events = select.EPOLLIN | (select.EPOLLOUT if wants else 0)
            self._poller.modify(self._channel.fileno(), events)

    # --- orders --------------------------------------------------------------------------

    def _serve(self) -> None:
        self._channel.flush()
        frames = self._channel.receive()
        launches = sum(frame[0] == "launch" for frame in frames)
        if launches:
            self._spares.settle()
        for frame in frames:
            if frame[0] != "launch" or len(self._cradles) >= BATCH:
                self._fork()
            match frame:
                case ["launch", *rest]:
                    self._launch(rest, alone=launches == 1)
                case ["stop", path, generation]:
                    self._warden.stop(path, generation)
                case ["kill", path, generation]:
                    self._warden.kill(path, generation)
                case ["signal", path, generation, number]:
                    self._warden.signal(path, generation, number)
                case ["ping"]:
                    self._channel.send(["pong"])
                case ["retire"]:
                    self._retiring = True
                    self._spares.drop_all()
        self._fork()

    def _launch(self, frame: Frame, *, alone: bool) -> None:
        path, generation, packed, args, environment, capture, count, cgroup = frame
        sockets = self._channel.take_fds(count)
        try:
            order = self._read_order((path, generation), packed, args, environment, sockets)
        except (ValueError, TypeError, OSError) as error:
            _close(sockets)
            self._refuse(path, generation, str(error))
            return
        spec = order.spec
        order.cgroup = None if cgroup is None else Cgroup(*cgroup)
        if spec.env_file:
            import dotenv  # noqa: F401, PLC0415 - before the fork, for all later ones
        birth = None if self._retiring else self._spares.take(order, packed, capture)
        if birth is None:
            try:
                cradle = Cradle.make(order, capture)
            except OSError as error:
                self._refuse(path, generation, f"cannot fork: {error.strerror}")
                return
            birth = self._spares.take_any(cradle, packed) if alone else None
            if birth is None:
                self._cradles[path, generation] = cradle
                return
        self._follow(birth)

    def _read_order(
        self, key: Key, packed: bytes, args: Any, own: Mapping[str, str], sockets: list[int]
    ) -> child.Order:
        """Raises ValueError, TypeError or OSError for what cannot be carried out."""
        if key in self._warden.lives or key in self._cradles:
            raise ValueError("this life runs already")
        if -1 in sockets:
            raise OSError("cannot take its sockets: too many open files")
        try:
            spec = self._specs.unpack(packed)
            terms_of(spec)
        except (ValueError, TypeError) as error:
            raise ValueError(f"cannot use its specification: {error}") from None
        return replace(self._order(key, spec, args, own), sockets=tuple(sockets))

    def _order(self, key: Key, spec: ChildSpec, args: Any, own: Mapping[str, str]) -> child.Order:
        return child.Order(
            path=key[0],
            generation=key[1],
            spec=spec,
            args=args,
            environment=own,
            base=self._base,
            stdio=(self._null, 2, 2),
            nofile=self._nofile,
            mark=mark_of(self._config.instance, *key),
            lease=self._lease if spec.command is None else -1,
        )

    def _anyone(self) -> child.Order:
        """Of a spare for any agent.  The place of its status pipe is kept free for one."""
        order = self._order((ANYONE, 0), ChildSpec(id="spare", agent=REHEARSAL), None, {})
        return replace(order, status=self._null, unpack=self._specs.unpack)

    def _fork(self) -> None:
        """Fork for all orders that have come together."""
        if not self._cradles:
            return
        cradles, self._cradles = self._cradles, {}
        results = give_births([*cradles.values()], self._slot)
        for (path, generation), birth in zip(cradles, results, strict=True):
            if isinstance(birth, OSError):
                self._refuse(path, generation, f"cannot fork: {birth.strerror}")
            else:
                self._warden.watch(birth.life)
                self._follow(birth)

    def _follow(self, birth: Birth) -> None:
        """Tell of a birth, now or when its set-up has ended well."""
        if birth.status < 0:
            self._announce(birth)
            return
        self._unready[birth.status] = birth
        self._poller.register(birth.status, select.EPOLLIN)
        birth.life.on_leader_ended = lambda: self._end_birth(birth.status, ended=True)

    def _refuse(self, path: str, generation: int, message: str) -> None:
        failed = LaunchFailed(path=path, generation=generation, stage="fork", message=message)
        self._channel.send(from_notice(failed))

    def _end_birth(self, status: int, *, ended: bool = False) -> None:
        """The set-up of a child has ended: well if it says nothing."""
        birth = self._unready.get(status)
        if birth is None:
            return
        try:
            said = os.read(status, STATUS_BYTES)
        except BlockingIOError:
            if not ended:  # an event of a former descriptor of this number
                return
            said = b""  # one forked together with it has not closed its copy yet
        del self._unready[status]
        birth.life.on_leader_ended = None  # by then, another's pipe may have this number
        self._poller.unregister(status)
        os.close(status)
        if not said:
            self._announce(birth)
            return
        stage, message = msgpack.unpackb(said)
        birth.life.failure = (stage, message)
        for fd in birth.outputs:
            os.close(fd)

    def _announce(self, birth: Birth) -> None:
        life = birth.life
        fds = iter(birth.outputs)
        spawned = Spawned(
            path=life.path,
            generation=life.generation,
            pid=life.pid,
            start_ticks=life.start_ticks,
            stdout=next(fds, -1),
            stderr=next(fds, -1),
        )
        self._channel.send(from_notice(spawned), fds=birth.outputs)


@dataclass(slots=True)
class _Release:
    """What to do when the notice of an end has left."""

    warden: Warden
    life: Life

    def __call__(self) -> None:
        self.warden.release(self.life)


def _take_base_environment() -> dict[str, str]:
    """What children inherit of the host's environment; the rest is taken out of os.environ."""
    for key in list(os.environ):
        if is_owned(key):
            del os.environ[key]
    return dict(os.environ)


def _raise_nofile() -> tuple[int, int]:
    """Take all the descriptors one may have; returns the host's own limits, for children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    given = os.environ.get(NOFILE_KEY)
    if given is not None:
        soft, hard = map(int, given.split(":"))
    return soft, hard


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def _drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(fd, 4096)
