"""The few system calls that Python 3.11 does not offer.

prctl(2) for subreapers, waitid(2) with the rusage that Python's own leaves out, and
signalfd(2) and timerfd_create(2), so that signals and deadlines are descriptors to poll.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import select
import signal
import struct
import time
from dataclasses import dataclass

__all__ = [
    "ALL_SIGNALS",
    "NO_SIGNALS",
    "Ended",
    "Timer",
    "allow_proc_access",
    "be_woken_when_parent_ends",
    "become_subreaper",
    "boot_time_ticks",
    "close_from",
    "default_internal_signals",
    "disposition",
    "drop_capabilities",
    "forbid_new_privileges",
    "give_back_memory",
    "has_ended",
    "is_ended",
    "last_words",
    "mask_signals",
    "peek_ended",
    "reap",
    "seconds_of",
    "send_signal",
    "set_disposition",
    "sigchld_fd",
    "signal_mask",
    "wait_ended",
]

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITIES = (struct.pack("@Ii", 0x20080522, 0), bytes(24))  # version 3, this thread; none
_CLOCK_MONOTONIC = 1
_FD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # SFD_* and TFD_* are the same bits
_SIGSET_BYTES = 128  # sizeof(sigset_t) of glibc and musl
NO_SIGNALS = bytes(_SIGSET_BYTES)
ALL_SIGNALS = b"\xff" * _SIGSET_BYTES
# waitid as a bare system call takes a fifth argument, struct rusage *, on every port.
_SYS_WAITID = {"x86_64": 247, "aarch64": 95, "riscv64": 95, "loongarch64": 95}
_SYS_RT_SIGACTION = {"x86_64": 13, "aarch64": 134, "riscv64": 134, "loongarch64": 134}
_SIGACTION_BYTES = 256  # more than sizeof(struct sigaction) of any port
_SYS_CLOSE_RANGE = 436  # one number on all ports
_RUSAGE = struct.Struct("@18l")  # two struct timeval and fourteen longs: see getrusage(2)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def become_subreaper() -> None:
    """Have orphaned descendants handed to this process (PR_SET_CHILD_SUBREAPER)."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def be_woken_when_parent_ends() -> None:
    """SIGCONT at the end of the parent: whoever was stopped goes on then (PR_SET_PDEATHSIG)."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0))


def allow_proc_access() -> None:
    """After a change of user: own /proc files again as after an exec (PR_SET_DUMPABLE)."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0))


def drop_capabilities() -> None:
    """Give up all that this process has or could pass on at an exec (capabilities(7))."""
    _checked(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    _checked(_libc.capset(*_CAPABILITIES))


def forbid_new_privileges() -> None:
    """No later exec gives rights, as set-user-id files do (PR_SET_NO_NEW_PRIVS)."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def close_from(first: int) -> None:
    """Close every descriptor from `first` on."""
    if _libc.syscall(_SYS_CLOSE_RANGE, first, 0xFFFFFFFF, 0) < 0:  # before Linux 5.9
        for name in os.listdir("/proc/self/fd"):
            if int(name) >= first:
                os.closerange(int(name), int(name) + 1)


def give_back_memory() -> None:
    """What is free on the heap goes to the kernel (malloc_trim(3)); only glibc has it."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def default_internal_signals() -> None:
    """Give back the C library's own two signals, which glibc's posix_spawn sets to ignored.

    sigaction(3) refuses to touch them, so it takes the bare system call.
    """
    number = _SYS_RT_SIGACTION.get(platform.machine())
    if number is not None:
        for internal in (32, 33):
            _libc.syscall(number, internal, bytes(32), None, 8)


def signal_mask() -> bytes:
    """The sigset_t of what this thread blocks."""
    mask = ctypes.create_string_buffer(_SIGSET_BYTES)
    _libc.pthread_sigmask(signal.SIG_BLOCK, None, mask)
    return mask.raw


def mask_signals(mask: bytes) -> None:
    """Block exactly the signals of this sigset_t in this thread.

    signal.pthread_sigmask makes an enum of each former signal, which costs most right after
    a fork.
    """
    _libc.pthread_sigmask(signal.SIG_SETMASK, mask, None)


def disposition(number: int) -> bytes:
    """The struct sigaction of a signal, whoever has set it; compare it, or give it back."""
    action = ctypes.create_string_buffer(_SIGACTION_BYTES)
    _checked(_libc.sigaction(number, None, action))
    return action.raw


def set_disposition(number: int, action: bytes) -> None:
    """Give back what `disposition` has returned."""
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        _checked(_libc.sigaction(number, action, None))


def sigchld_fd() -> int:
    """Block SIGCHLD and return a descriptor that is readable while one is pending."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    mask = (1 << (signal.SIGCHLD - 1)).to_bytes(_SIGSET_BYTES, "little")
    return _checked(_libc.signalfd(-1, mask, _FD_FLAGS))


class Timer:
    """A descriptor that is readable once a moment of time.monotonic() has come."""

    def __init__(self) -> None:
        self.fd = _checked(_libc.timerfd_create(_CLOCK_MONOTONIC, _FD_FLAGS))
        self._set_for: float | None = None

    def set(self, deadline: float | None) -> None:
        """Be readable from `deadline` on; None: never."""
        if deadline == self._set_for:
            return
        nanoseconds = 0 if deadline is None else max(1, int(deadline * 1e9))
        spec = struct.pack("@4l", 0, 0, *divmod(nanoseconds, 1_000_000_000))
        _checked(_libc.timerfd_settime(self.fd, 1, spec, None))  # 1: TFD_TIMER_ABSTIME
        self._set_for = deadline

    def clear(self) -> None:
        """Take note that it has come; it is readable again only if set again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 8)
        self._set_for = None

    def close(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: `code` or `signal`; CPU seconds with those of children it waited for."""

    code: int | None
    signal: int | None
    cpu_s: float
    max_rss_bytes: int


def peek_ended(pidfd: int) -> Ended | None:
    """How the child ended, or None if it lives.  It stays a zombie, so its pid stays taken.

    Raises ChildProcessError if the process is not, or no longer, a child of this one.
    """
    number = _SYS_WAITID.get(platform.machine())
    if number is None:
        return _peek_without_rusage(pidfd)
    info = ctypes.create_string_buffer(128)
    usage = ctypes.create_string_buffer(_RUSAGE.size)
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    _checked(_libc.syscall(number, os.P_PIDFD, pidfd, info, flags, usage))
    # siginfo_t of SIGCHLD: signo, errno, code, (pad), pid, uid, status
    signo, _, code, _, pid, _, status = struct.unpack_from("@7i", info)
    if signo == 0 or pid == 0:
        return None
    user_s, user_us, system_s, system_us, max_rss_kb, *_ = _RUSAGE.unpack(usage.raw)
    cpu_s = user_s + system_s + (user_us + system_us) / 1e6
    return _ended(code, status, cpu_s, max_rss_kb * 1024)


def last_words(pidfd: int) -> Ended | None:
    """How a child ended, None if that cannot be known (any more)."""
    try:
        return peek_ended(pidfd)
    except OSError:
        return None


def _peek_without_rusage(pidfd: int) -> Ended | None:
    info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return None if info is None else _ended(info.si_code, info.si_status, 0.0, 0)


def _ended(code: int, status: int, cpu_s: float, max_rss_bytes: int) -> Ended:
    if code == os.CLD_EXITED:
        return Ended(status, None, cpu_s, max_rss_bytes)
    return Ended(None, status, cpu_s, max_rss_bytes)


def is_ended(pidfd: int) -> bool:
    """True once all threads of the process have ended, whoever's child it is."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _is_readable(pidfd)


def has_ended(pid: int) -> bool:
    """True for a child that has ended and waits to be reaped."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def reap(pid: int) -> bool:
    """Take a zombie child out of the process table; False if it is none of ours, or lives."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def send_signal(pidfd: int, number: int) -> bool:
    """Signal exactly that process; False if it has ended or may not be signalled."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def boot_time_ticks() -> int:
    """Now, in the unit and from the zero of a process's `start_ticks`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_S)


def seconds_of(ticks: int) -> float:
    """Clock ticks as seconds."""
    return ticks / _TICKS_PER_S


def wait_ended(pid: int, deadline: float) -> bool:
    """Wait for an unreaped child until `deadline` of time.monotonic(), and reap it."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        return reap(pid)
    finally:
        os.close(pidfd)
