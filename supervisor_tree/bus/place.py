"""Where a member of the bus keeps what in the run directory.

Of its own, so that the root, which only tidies up there, need not load the bus.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterator
from pathlib import Path

__all__ = [
    "COUNT",
    "DEATHS",
    "HAND",
    "binding",
    "inbox_address",
    "inbox_directory",
    "inbox_name",
    "is_shared",
    "known_uids",
    "remove_inbox",
]

HAND = ".hand"  # what is handled just now (`bus.record`)
DEATHS = ".deaths"  # what former lives have died over (`bus.record`)
COUNT = ".count"  # what was sent and received (`bus.meter`)


def inbox_name(path: str) -> str:
    """The file name that stands for a path of any length (a socket's has at most 107 bytes)."""
    import hashlib  # noqa: PLC0415 - 3 MB of libcrypto, and the root seldom asks

    return hashlib.sha256(path.encode()).hexdigest()[:16]


def inbox_directory(run_dir: Path) -> Path:
    """Where all of them listen."""
    return run_dir / "inbox"


def is_shared(run_dir: Path) -> bool:
    """Whether processes of other users are to reach what is in there."""
    try:
        return bool(os.stat(run_dir).st_mode & 0o001)
    except FileNotFoundError:  # what cannot be made in it says so
        return False


def known_uids(run_dir: Path) -> Container[int]:
    """Whose processes are listened to: the owner's, or those of all whom the directory lets in."""
    return range(1 << 32) if is_shared(run_dir) else (0, os.geteuid())


@contextlib.contextmanager
def binding(run_dir: Path) -> Iterator[None]:
    """Sockets that are bound meanwhile are for the owner, or for all who may enter."""
    former = os.umask(0o111 if is_shared(run_dir) else 0o177)
    try:
        yield
    finally:
        os.umask(former)


def inbox_address(run_dir: Path, path: str) -> str:
    """Where the agent of this path listens."""
    return f"ipc://{run_dir}/inbox/{inbox_name(path)}"


def remove_inbox(run_dir: Path, path: str) -> None:
    """Remove what a member that will not come back has left in the run directory."""
    name = inbox_name(path)
    for suffix in ("", HAND, DEATHS, COUNT):
        with contextlib.suppress(OSError):
            (run_dir / "inbox" / f"{name}{suffix}").unlink()
