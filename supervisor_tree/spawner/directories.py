"""Makes a child's own directories, where it could not or need not do that itself.

A program finds what its environment names, as with systemd's StateDirectory= (systemd.exec(5));
a child of another user finds it to be its own.  An agent of the host's user makes its own
when it first asks for them, as most never do.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

__all__ = ["own_directories"]

_KEYS = ("SUPERVISOR_TREE_DATA_DIR", "SUPERVISOR_TREE_CACHE_DIR")
_FOR_ALL = 0o111  # to pass through; what is there is seen only by who may read it


def own_directories(environment: Mapping[str, str], uid: int = -1, gid: int | None = None) -> None:
    """Make those that `environment` names, for this user and group (-1, None: as we are).

    What cannot be made is left out: a child that never needs it must not fail for it.
    """
    path = environment.get("SUPERVISOR_TREE_PATH", "")
    if path.startswith("/_/"):
        return  # the host's own; nobody would ever clear them
    depth = path.count("/")
    for key in _KEYS:
        directory = environment.get(key)
        if directory:
            with contextlib.suppress(OSError):
                _make(directory, depth, uid, -1 if gid is None else gid)


def _make(directory: str, depth: int, uid: int, gid: int) -> None:
    above = [directory]
    for _ in range(depth):
        above.append(os.path.dirname(above[-1]))
    for folder in reversed(above[1:]):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        if uid >= 0 or gid >= 0:
            mode = os.stat(folder).st_mode & 0o7777
            if mode & _FOR_ALL != _FOR_ALL:
                os.chmod(folder, mode | _FOR_ALL)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    if uid >= 0 or gid >= 0:
        found = os.lstat(directory)
        if (uid >= 0 and found.st_uid != uid) or (gid >= 0 and found.st_gid != gid):
            os.chown(directory, uid, gid, follow_symlinks=False)
