"""Which host a command speaks to."""

from __future__ import annotations

import sys
from argparse import Namespace

from supervisor_tree.config.directories import resolve_run_dir
from supervisor_tree.control.client import ControlClient

__all__ = ["connect", "note"]


def connect(options: Namespace) -> ControlClient:
    """A connection to the host of `options`.  Raises NoHost, NotPermitted or ConfigError."""
    return ControlClient(resolve_run_dir(options.run_dir, None))


def note(text: str) -> None:
    """Something beside the answer: on standard error."""
    print(f"supervisor-tree: {text}", file=sys.stderr, flush=True)
