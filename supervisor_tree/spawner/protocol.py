"""What root and spawner say to each other, and the socket they say it through.

A stream socket pair; each frame is a 4-byte length, then a msgpack list whose first item
names it.  Descriptors ride on the first byte of their frame (SCM_RIGHTS), so they are there
when the frame is.

    root -> spawner   [launch, path, generation, spec, args, environment, capture,
                       sockets, cgroup]  + descriptors
                      [stop|kill, path, generation]   [signal, path, generation, number]
                      [retire]   [ping]
    spawner -> root   [spawned, path, generation, pid, start_ticks, outputs]  + descriptors
                      [failed, path, generation, stage, message]
                      [exited, path, generation, pid, code, signal, asked, oom, cpu, rss, wall]
                      [leaked, path, generation, [[pid, command]...], ended]
                      [importing, module]   before each, as it may be the last
                      [preloaded, modules, seconds]
                      [left_out, module, reason, required]
                      [pong]
"""

from __future__ import annotations

import array
import os
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from supervisor_tree.core.specdata import spec_from_data, to_data
from supervisor_tree.core.specs import ChildSpec
from supervisor_tree.runtime.launcher import (
    Exited,
    Launch,
    LauncherNotice,
    LaunchFailed,
    Leaked,
    Rusage,
    Spawned,
)

__all__ = [
    "HOST_SIGNALS",
    "MAX_FRAME_BYTES",
    "Channel",
    "Frame",
    "ProtocolError",
    "SpecPacker",
    "SpecUnpacker",
    "from_notice",
    "launch_frame",
    "to_notice",
]

Frame = list[Any]

MAX_FRAME_BYTES = 64 << 20

# Never delivered to the spawner: from a terminal or service manager they mean the host.
HOST_SIGNALS = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGTSTP,
        signal.SIGUSR1,
        signal.SIGUSR2,
    }
)
_LENGTH = struct.Struct("!I")
_READ_BYTES = 1 << 18
_KEPT_SPECS = 4096
_FDS_PER_READ = 253  # SCM_MAX_FD


class ProtocolError(Exception):
    """The other side speaks something else, or too much."""


@dataclass(slots=True)
class _Outgoing:
    data: memoryview
    fds: Sequence[int]
    done: Callable[[], None] | None


class Channel:
    """One end of the socket pair.  Never blocks; what does not fit yet is queued.

    The queue needs no bound of its own: the spawner says at most a handful of frames per
    order it was given, and the root gives one order at a time per life.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._out: deque[_Outgoing] = deque()
        self._in = bytearray()
        self._fds: deque[list[int]] = deque()  # those of each frame that bears any
        self.ended = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def backlog(self) -> int:
        """Frames that wait for room in the socket."""
        return len(self._out)

    def send(
        self, frame: Frame, fds: Sequence[int] = (), done: Callable[[], None] | None = None
    ) -> None:
        """Queue a frame and send what fits.

        `fds` are closed here, once sent or refused.  `done` is called when the kernel has the whole
        frame: from then on it reaches the other side even if this process dies.
        Raises ProtocolError if it is too large and TypeError if it is no plain data.
        """
        try:
            body = msgpack.packb(frame)
            if len(body) > MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame of {len(body)} bytes is over {MAX_FRAME_BYTES}")
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        self._out.append(_Outgoing(memoryview(_LENGTH.pack(len(body)) + body), fds, done))
        if len(self._out) == 1:
            self.flush()

    def flush(self) -> None:
        """Send what fits; `ended` is set if nobody reads any more."""
        while self._out and not self.ended:
            first = self._out[0]
            try:
                sent = self._send_some(first)
            except BlockingIOError:
                return
            except OSError:
                self.ended = True
                return
            for fd in first.fds:
                os.close(fd)
            first.fds = ()
            first.data = first.data[sent:]
            if not first.data:
                self._out.popleft()
                if first.done is not None:
                    first.done()

    def _send_some(self, first: _Outgoing) -> int:
        if not first.fds:
            return self._socket.send(first.data, socket.MSG_NOSIGNAL)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", first.fds))
        return self._socket.sendmsg([first.data], [rights], socket.MSG_NOSIGNAL)

    def receive(self) -> list[Frame]:
        """All whole frames that have come; `ended` is set once the other side is gone."""
        frames: list[Frame] = []
        while not self.ended and self._read_some():
            frames.extend(self._cut())
        return frames

    def take_fds(self, count: int) -> list[int]:
        """The descriptors of the next frame that bears any.

        Some are -1 if this process had no room for them (MSG_CTRUNC: see recvmsg(2)).
        """
        if count == 0:
            return []
        if not self._fds or len(self._fds[0]) > count:
            raise ProtocolError("descriptors and frames do not match")
        fds = self._fds.popleft()
        return fds + [-1] * (count - len(fds))

    def close(self) -> None:
        self.ended = True
        held = [fd for fds in self._fds for fd in fds]
        for fd in [*held, *(fd for waiting in self._out for fd in waiting.fds)]:
            os.close(fd)
        self._fds.clear()
        self._out.clear()
        self._socket.close()

    def _read_some(self) -> bool:
        room = socket.CMSG_SPACE(_FDS_PER_READ * array.array("i").itemsize)
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(
                _READ_BYTES, room, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError:
            data, ancillary, flags = b"", [], 0
        fds: list[int] = []
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                rights = array.array("i")
                rights.frombytes(payload[: len(payload) - len(payload) % rights.itemsize])
                fds.extend(rights)
        # The kernel gives the descriptors of one sendmsg to one recvmsg, and no others with them.
        if fds or flags & socket.MSG_CTRUNC:
            self._fds.append(fds)
        if not data:
            self.ended = True
            return False
        self._in += data
        return True

    def _cut(self) -> list[Frame]:
        frames: list[Frame] = []
        begin = 0
        while len(self._in) - begin >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._in, begin)
            if length > MAX_FRAME_BYTES:
                raise ProtocolError(f"a frame of {length} bytes is announced")
            end = begin + _LENGTH.size + length
            if len(self._in) < end:
                break
            body = memoryview(self._in)[begin + _LENGTH.size : end]
            frames.append(msgpack.unpackb(body, strict_map_key=False))
            body.release()
            begin = end
        del self._in[:begin]
        return frames


class SpecPacker:
    """Packs a specification once, not at each start."""

    def __init__(self) -> None:
        self._packed: dict[int, tuple[ChildSpec, bytes]] = {}

    def pack(self, spec: ChildSpec) -> bytes:
        """Raises TypeError for what is no plain data."""
        found = self._packed.get(id(spec))
        if found is None or found[0] is not spec:
            if len(self._packed) >= _KEPT_SPECS:
                self._packed.clear()
            found = self._packed[id(spec)] = (spec, msgpack.packb(to_data(spec)))
        return found[1]


class SpecUnpacker:
    """The opposite, at the other end."""

    def __init__(self) -> None:
        self._specs: dict[bytes, ChildSpec] = {}

    def unpack(self, packed: bytes) -> ChildSpec:
        """The specification; the same object for the same bytes."""
        spec = self._specs.get(packed)
        if spec is None:
            if len(self._specs) >= _KEPT_SPECS:
                self._specs.clear()
            spec = self._specs[packed] = spec_from_data(msgpack.unpackb(packed))
        return spec


def launch_frame(launch: Launch, packed: bytes, capture: bool) -> Frame:
    """An order to make a process, whose specification is packed; its sockets go beside it."""
    cgroup = launch.cgroup
    return [
        *("launch", launch.path, launch.generation, packed, launch.args),
        *(dict(launch.environment), capture, len(launch.sockets)),
        None if cgroup is None else [cgroup.directory, dict(cgroup.files)],
    ]


def from_notice(notice: LauncherNotice) -> Frame:
    """A notice as a frame; Spawned's descriptors go beside it."""
    match notice:
        case Spawned(path=path, generation=generation):
            outputs = [notice.stdout >= 0, notice.stderr >= 0]
            return ["spawned", path, generation, notice.pid, notice.start_ticks, outputs]
        case LaunchFailed(path=path, generation=generation):
            return ["failed", path, generation, notice.stage, notice.message]
        case Exited(path=path, generation=generation, rusage=used):
            end = [notice.pid, notice.code, notice.signal, notice.asked, notice.oom]
            return [
                "exited", path, generation, *end,
                used.cpu_s, used.max_rss_bytes, used.wall_s,
            ]  # fmt: skip
        case Leaked(path=path, generation=generation):
            return ["leaked", path, generation, notice.processes, notice.ended]


def to_notice(frame: Frame, channel: Channel) -> LauncherNotice | None:
    """The notice in a frame, None if it holds none; its descriptors come from `channel`."""
    kind, rest = frame[0], frame[1:]
    if kind == "spawned":
        path, generation, pid, start_ticks, outputs = rest
        fds = iter(channel.take_fds(sum(outputs)))
        stdout, stderr = (next(fds) if present else -1 for present in outputs)
        return Spawned(
            path=path,
            generation=generation,
            pid=pid,
            start_ticks=start_ticks,
            stdout=stdout,
            stderr=stderr,
        )
    if kind == "failed":
        path, generation, stage, message = rest
        return LaunchFailed(path=path, generation=generation, stage=stage, message=message)
    if kind == "exited":
        path, generation, pid, code, number, asked, oom, cpu_s, max_rss_bytes, wall_s = rest
        return Exited(
            path=path,
            generation=generation,
            pid=pid,
            code=code,
            signal=number,
            asked=asked,
            oom=oom,
            rusage=Rusage(cpu_s=cpu_s, max_rss_bytes=max_rss_bytes, wall_s=wall_s),
        )
    if kind == "leaked":
        path, generation, processes, ended = rest
        pairs = tuple((pid, command) for pid, command in processes)
        return Leaked(path=path, generation=generation, processes=pairs, ended=ended)
    return None
