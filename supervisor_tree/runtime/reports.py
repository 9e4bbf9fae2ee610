"""Diagnostic reports: one JSON document each, the last twenty kept in the state directory.

Written in one go under another name and renamed, mode 0600, so that a report is whole or not
there.  What has no room is counted and told; nobody waits for it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from supervisor_tree.files import write_whole

__all__ = ["KEPT", "Reports", "read_report", "report_files"]

KEPT = 20
MOST_BYTES = 4_000_000

_SUFFIX = ".json"
_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-\d+-[a-z_]+(-[A-Za-z0-9._-]+)?\.json")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 60


class Reports:
    """Those of one host.  `lost` counts what could not be written; `problem` says why."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lost = 0
        self.problem = ""
        self._count = 0

    def write(self, content: Mapping[str, Any], wall: float) -> Path | None:
        """Write one, named after its `kind` and `path`; the oldest goes.  None: it is lost."""
        self._count += 1
        stamp = datetime.fromtimestamp(wall, UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        whose = _UNSAFE.sub(".", str(content["path"]).strip("/"))[:_LONGEST]
        name = f"{stamp}Z-{self._count}-{content['kind']}{f'-{whose}' if whose else ''}{_SUFFIX}"
        path = self.directory / name
        data = json.dumps(content, default=repr).encode("utf-8", "backslashreplace")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, data[:MOST_BYTES])
            for old in report_files(self.directory)[:-KEPT]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self.lose(error.strerror or str(error))
            return None
        self.problem = ""
        return path

    def lose(self, problem: str) -> None:
        """One could not be written."""
        self.lost += 1
        self.problem = problem


def report_files(directory: Path) -> list[Path]:
    """All that are there, oldest first."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return [directory / name for name in sorted(names) if _NAME.fullmatch(name)]


def read_report(path: Path) -> dict[str, Any]:
    """One report.  Raises OSError, or ValueError for what is none."""
    with open(path, "rb") as file:
        try:
            content = json.loads(file.read(MOST_BYTES))
        except RecursionError:
            raise ValueError(f"{path} is no report") from None
    if not isinstance(content, dict) or "kind" not in content:
        raise ValueError(f"{path} is no report")
    return content
