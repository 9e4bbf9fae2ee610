"""What the files around a configuration hold now: digests, to be compared with those of later.

No module of an agent is imported for it: its file is found as the import system would find it,
and read.  What cannot be read has no digest, and so never counts as changed; but that a file of
`reload` is not there, is content too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.machinery import PathFinder
from typing import Any

from supervisor_tree.config.hostconfig import Config
from supervisor_tree.core.origin import Origin, SourceFile, origin_to_data
from supervisor_tree.core.specdata import to_data
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec
from supervisor_tree.files import open_regular

__all__ = ["contents_of", "origin_of", "proposal", "source_file"]

_LARGEST = 1 << 30  # bytes; a larger file is no source, and nobody would wait for it
_ABSENT = "absent"  # instead of the digest of a file that is not there


class _Digests:
    """Each file is read once."""

    def __init__(self, sys_path: Sequence[str]) -> None:
        self._sys_path = list(sys_path)
        self._files: dict[str, str] = {}
        self._modules: dict[str, str | None] = {}

    def of_file(self, file: str) -> str:
        """The digest of what a file holds, "" if it cannot be read."""
        if file not in self._files:
            self._files[file] = _digest(file)
        return self._files[file]

    def of_module(self, name: str) -> str:
        """The same of the source, or else the binary, of a module."""
        if name not in self._modules:
            self._modules[name] = _module_file(name, self._sys_path)
        file = self._modules[name]
        return "" if file is None else self.of_file(file)


def origin_of(config: Config, sys_path: Sequence[str]) -> Origin:
    """All that a host keeps of where its configuration has come from.

    `sys_path` is where the host's agents are searched for.
    """
    host = asdict(config.host)
    file = host.pop("file")
    contents = contents_of(config.tree, sys_path)
    named = {
        name.partition(" ")[2]
        for each in contents.values()
        for name in each
        if name.startswith(("file ", "env_file "))
    }
    return Origin(
        file=file,
        fetched=config.fetched,
        sources=tuple(map(source_file, config.sources)),
        patterns=config.patterns,
        included=dict(config.included),
        left_out=config.left_out,
        host=host,
        contents=contents,
        beside=tuple(source_file(file) for file in sorted(named)),
    )


def proposal(config: Config, sys_path: Sequence[str]) -> dict[str, Any]:
    """What a host is told to put this configuration in force; see `control.proposals`."""
    return {
        "spec": to_data(config.tree),
        "origin": origin_to_data(origin_of(config, sys_path)),
        "problems": [problem._asdict() for problem in config.problems],
    }


def source_file(path: str) -> SourceFile:
    """A file as it is now."""
    try:
        facts = os.stat(path)
    except OSError:
        return SourceFile(path, 0, 0, "")
    return SourceFile(path, facts.st_mtime_ns, facts.st_size, _digest(path))


def contents_of(spec: SupervisorSpec, sys_path: Sequence[str]) -> dict[str, dict[str, str]]:
    """What the children of a whole tree depend on, by their paths; templates are called `*`."""
    digests = _Digests(sys_path)
    found: dict[str, dict[str, str]] = {}
    for path, child in _children(spec, ""):
        known = {name: digest for name, digest in _of_child(child, digests) if digest}
        if known:
            found[path] = known
    return found


def _children(spec: SupervisorSpec, above: str) -> Iterator[tuple[str, ChildSpec]]:
    listed = [(child.id, child) for child in spec.children]
    for name, child in [*listed, *([("*", spec.child)] if spec.child is not None else [])]:
        path = f"{above}/{name}"
        yield path, child
        if child.supervisor is not None:
            yield from _children(child.supervisor, path)


def _of_child(child: ChildSpec, digests: _Digests) -> Iterator[tuple[str, str]]:
    if isinstance(child.agent, str):
        yield "code", digests.of_module(child.agent.partition(":")[0])
    for file in child.env_files:
        yield f"env_file {file}", digests.of_file(file)
    if child.reload is None:
        return
    for file in child.reload.files:
        yield f"file {file}", digests.of_file(file) or ("" if os.path.exists(file) else _ABSENT)
    if child.reload.executable and child.command is not None:
        program = shutil.which(child.command[0], path=child.env.get("PATH"))
        yield "executable", "" if program is None else digests.of_file(os.path.realpath(program))


def _module_file(name: str, sys_path: list[str]) -> str | None:
    """Where a module's code stands, or None: it is built in, not there, or found in another way."""
    where: list[str] | None = sys_path
    spec = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), where)
        if spec is None:
            return None
        where = (
            None
            if spec.submodule_search_locations is None
            else list(spec.submodule_search_locations)
        )
        if where is None and count < len(parts):
            return None
    return None if spec is None or not spec.has_location else spec.origin


def _digest(file: str) -> str:
    """SHA-256 in hexadecimal of a regular file."""
    try:
        fd = open_regular(file)
    except OSError:
        return ""
    with open(fd, "rb") as opened:
        if os.fstat(fd).st_size > _LARGEST:
            return ""
        known = hashlib.sha256()
        for block in iter(partial(opened.read, 1 << 20), b""):
            known.update(block)
        return known.hexdigest()
