"""CURVE keys of a host: made once, the secret one kept where its owner alone can read it.

Both are text, 40 characters of Z85 (ZeroMQ RFC 32), one to a file.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import zmq

__all__ = ["PUBLIC_NAME", "SECRET_NAME", "make_keys", "public_key_of", "read_secret_key"]

SECRET_NAME = "host.secret"
PUBLIC_NAME = "host.public"
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}", re.ASCII)


def make_keys(directory: Path, *, force: bool = False) -> str:
    """Make `host.secret` and `host.public` in `directory`; returns the public key.

    Raises FileExistsError if there is a secret key already and `force` was not given, and
    other OSErrors.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret_file = directory / SECRET_NAME
    if secret_file.exists() and not force:
        raise FileExistsError(17, "there is a key already", str(secret_file))
    public, secret = (key.decode() for key in zmq.curve_keypair())
    _write(secret_file, secret, 0o600)
    _write(directory / PUBLIC_NAME, public, 0o644)
    return public


def read_secret_key(file: Path) -> str:
    """The key in Z85.  Raises OSError, or ValueError for a file that is not fit."""
    with file.open("rb") as opened:
        if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
            raise ValueError("others than its owner can read or write it; chmod 600 it")
        key = opened.read(100).decode("ascii", "replace").strip()
    if not _KEY.fullmatch(key):
        raise ValueError("it holds no CURVE key; make one with `supervisor-tree keys`")
    return key


def public_key_of(secret: str) -> str:
    """The public key that belongs to a secret one."""
    return zmq.curve_public(secret.encode()).decode()


def _write(file: Path, key: str, mode: int) -> None:
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w") as opened:
        opened.write(f"{key}\n")
    new.replace(file)
