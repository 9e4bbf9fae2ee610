"""The verb `keys`: what two hosts know each other by."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from supervisor_tree.cli.connecting import note
from supervisor_tree.cli.output import say
from supervisor_tree.errors import OperationFailed

__all__ = ["keys"]


def keys(options: Namespace) -> int:
    """`keys [--dir DIR] [--force]`: prints the public key alone, for a script to take.

    What it is, and where the secret is, stands on standard error.
    """
    from supervisor_tree.bus.keys import SECRET_NAME, make_keys  # noqa: PLC0415

    directory = Path(options.dir or "keys").absolute()
    try:
        public = make_keys(directory, force=options.force)
    except FileExistsError as error:
        raise OperationFailed(
            f"{error.filename}: there is a key already; --force makes another, and every host "
            "that knows this one must be told of it"
        ) from None
    except OSError as error:
        raise OperationFailed(f"{error.filename or directory}: {error.strerror}") from None
    secret = os.fspath(directory / SECRET_NAME)
    if not options.json:
        note(
            f"the secret key is in {secret}, for this host alone; others are given the public key:"
        )
    say(options, {"public": public, "secret_file": secret}, [public])
    return 0
