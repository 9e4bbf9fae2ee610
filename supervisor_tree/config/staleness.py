"""Whether the files of a configuration are still what a host has in force.

Asked with each `status`, so it is cheap: a file whose time and size are the same is taken as
unchanged, and only others are read.  The host itself never looks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["changed_files"]


def changed_files(origin: Mapping[str, Any]) -> list[str]:
    """Files that have changed, gone or come since the host has read them, or who depends on them.

    `origin` is what the host answers to the verb of that name.
    """
    return list(_changed(origin))


def _changed(origin: Mapping[str, Any]) -> Iterator[str]:
    known = {source["path"] for source in origin["sources"]}
    for source in origin["sources"]:
        if _is_changed(source, gone=True):
            yield source["path"]
    for source in origin["beside"]:
        if source["path"] not in known and _is_changed(source, gone=source["mtime_ns"] != 0):
            yield source["path"]
    if origin["patterns"]:
        import glob  # noqa: PLC0415 - and re; few configurations include files

        for pattern in origin["patterns"]:
            for path in sorted(glob.glob(pattern, recursive=True)):
                if path not in known:
                    known.add(path)
                    yield path


def _is_changed(source: Mapping[str, Any], *, gone: bool) -> bool:
    """`gone` is the answer for one that is not there now."""
    try:
        facts = os.stat(source["path"])
    except OSError:
        return gone
    same = (facts.st_mtime_ns, facts.st_size) == (source["mtime_ns"], source["size"])
    return not same and _digest(source["path"]) != source["digest"]


def _digest(path: str) -> str:
    from supervisor_tree.config.contents import source_file  # noqa: PLC0415 - rarely needed

    return source_file(path).digest
