"""Lets children of other users reach what they need of the host, and nobody else more than that.

The run directory can then be passed through by anybody, but not listed; sockets in it that
anybody may write to know the sender from the kernel.  The bus's own directory is opened to each
such user by name, by an access control list: by the child itself, while it has the right to.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
from pathlib import Path

from supervisor_tree.bus.place import inbox_directory
from supervisor_tree.runtime.notify import NotifySocket
from supervisor_tree.runtime.settings import HostSettings
from supervisor_tree.wire import EVENTS_SOCKET

__all__ = ["admit", "share"]

_ACL = "system.posix_acl_access"
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")  # linux/posix_acl_xattr.h, version 2
_OWNER, _USER, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY = 0xFFFFFFFF


def share(settings: HostSettings, notify: NotifySocket) -> None:
    """By the root, once a child of another user is to start.  Raises OSError."""
    os.chmod(settings.run_dir, 0o711)
    state = settings.state_dir  # in which it has directories of its own
    os.chmod(state, stat.S_IMODE(state.stat().st_mode) | 0o011)
    for file in inbox_directory(settings.run_dir).glob("*"):  # bound while it was not shared
        if file.is_socket():
            file.chmod(0o666)
    notify.open_to_everyone()


def admit(run_dir: Path, uid: int) -> None:
    """Let this user have a mailbox on the bus, too: by a child that is still the host's user.

    Where the file system has no access control lists, it cannot: it is then not on the bus.
    """
    directory = inbox_directory(run_dir)
    with contextlib.suppress(OSError):
        directory.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # others do the same now; the last would win
            _let_in(directory, uid, rights=7)
            # Sticky: nobody removes what is another's.
            os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) | stat.S_ISVTX)
            _let_in(run_dir / EVENTS_SOCKET, uid, rights=6)
        finally:
            os.close(fd)


def _let_in(path: Path, uid: int, *, rights: int) -> None:
    users = _users(path)
    if uid not in users:
        os.setxattr(path, _ACL, _acl({*users, uid}, rights))


def _users(path: Path) -> set[int]:
    """Whom its list names, beside owner and group."""
    try:
        entries = os.getxattr(path, _ACL)[_HEAD.size :]
    except OSError:  # there is none
        return set()
    return {uid for tag, _, uid in _ENTRY.iter_unpack(entries) if tag == _USER}


def _acl(users: set[int], rights: int) -> bytes:
    """Owner and these users have these rights, nobody else any."""
    entries = [
        (_OWNER, rights, _NOBODY),
        *((_USER, rights, uid) for uid in sorted(users)),
        (_GROUP, 0, _NOBODY),
        (_MASK, rights, _NOBODY),
        (_OTHER, 0, _NOBODY),
    ]
    return _HEAD.pack(2) + b"".join(_ENTRY.pack(*entry) for entry in entries)
