"""The host that ran last in a run directory: where it has left what tells of its end.

Its lock file names the directories for as long as the file is there, however the host ended.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

__all__ = ["FormerHost", "former_host"]


class FormerHost(NamedTuple):
    """What has ended; `log_dir` has its log `host.log` and those of its children."""

    name: str
    state_dir: Path
    log_dir: Path


def former_host(run_dir: Path | str) -> FormerHost | None:
    """None if no host has run here, or its file is gone."""
    try:
        facts = json.loads((Path(run_dir) / "lock").read_bytes())
        return FormerHost(facts["name"], Path(facts["state_dir"]), Path(facts["log_dir"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
