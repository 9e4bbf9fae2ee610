"""Loads a configuration: the main file, then the files it includes, then the whole.

A broken main file is refused whole, with everything that is wrong in it.  A broken
included file is left out and reported, so that one careless edit stops one agent and not
the host; `strict` (the `check` verb) refuses both.
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import replace
from typing import Any

from supervisor_tree.config.assemble import Assembly
from supervisor_tree.config.build import Builder, absolute, given
from supervisor_tree.config.document import (
    READINGS,
    DefaultsDocument,
    Document,
    HostDocument,
)
from supervisor_tree.config.fields import ID_PATTERN
from supervisor_tree.config.hostconfig import Config, HostConfig
from supervisor_tree.config.messages import validate
from supervisor_tree.config.source import Source, from_plain_data, read
from supervisor_tree.core.specs import ChildSpec, Logs, SupervisorSpec
from supervisor_tree.errors import ConfigError, ConfigProblem

__all__ = ["from_data", "load"]

MAX_INCLUDED = 20_000


def load(path: str | os.PathLike[str], *, strict: bool = False) -> Config:
    """Read a configuration file.

    Raises ConfigError with all problems of the main file; with `strict` also with those of
    included files, which otherwise are left out and named in `Config.problems`.
    """
    file = os.fspath(path)
    return _config(read(file, READINGS), os.path.abspath(file), strict=strict)


def from_data(data: Any, *, strict: bool = True) -> Config:
    """The same vocabulary as a dict, for embedding programs.

    Differs from a file in this: `version` may be left out, `agent` may be the class or
    callable itself, supervisors start their children in sequence as OTP does, and relative
    paths are relative to the working directory.
    """
    if isinstance(data, dict):
        data = {"version": 1} | data
    return _config(from_plain_data(data, ""), None, strict=strict)


def _config(source: Source, file: str | None, *, strict: bool) -> Config:
    directory = os.path.dirname(file) if file else os.getcwd()
    document = validate(Document, source.data, source, ())
    if not isinstance(source.data, dict):
        raise ConfigError(source.problems)
    parts = source.data
    host = _host(parts.get("host"), source, file, directory)
    builder = Builder(
        directory=directory,
        logs=host.logs,
        concurrent=file is not None,
        library=file is None,
        defaults=_defaults(parts.get("defaults"), source, directory),
    )
    tree = SupervisorSpec()
    if parts.get("tree") is not None or not parts.get("include"):
        tree = builder.supervisor(parts.get("tree"), source, ("tree",), "/")
    elif builder.concurrent:
        tree = builder.supervisor({}, source, ("tree",), "/")
    assembly = Assembly(source, builder, tree)
    files = _included_files(document.include or [], source, directory) if document else []
    assembly.include(files)
    assembly.check_needs()
    if source.problems or (strict and assembly.left_out):
        raise ConfigError(_in_order(source.problems) + _in_order(assembly.left_out))
    return Config(
        host=host,
        tree=_beneath(assembly.tree, host.env_file),
        problems=tuple(_in_order(assembly.left_out)),
        sources=((file,) if file else ()) + tuple(files),
    )


def _beneath(tree: SupervisorSpec, env_file: str | None) -> SupervisorSpec:
    """The tree with the host's `env_file` read by every child before its own."""
    if env_file is None:
        return tree

    def child_beneath(child: ChildSpec) -> ChildSpec:
        if child.supervisor is not None:
            return replace(child, supervisor=_beneath(child.supervisor, env_file))
        return replace(child, env_file=(env_file, *child.env_files))

    return replace(
        tree,
        children=tuple(child_beneath(child) for child in tree.children),
        child=None if tree.child is None else child_beneath(tree.child),
    )


def _host(data: Any, source: Source, file: str | None, directory: str) -> HostConfig:
    name = os.path.basename(file).rsplit(".", 1)[0] if file else ""
    if not re.fullmatch(ID_PATTERN, name, re.ASCII):
        name = HostConfig().name
    host = HostConfig(name=name, file=file)
    document = validate(HostDocument, {} if data is None else data, source, ("host",))
    if document is None:
        return host
    said = given(document, "name", "run_dir", "state_dir", "log_dir", "env_file")
    for key in ("run_dir", "state_dir", "log_dir", "env_file"):
        if key in said:
            said[key] = absolute(said[key], directory)
    if document.logs is not None:
        said["logs"] = Logs(**given(document.logs, "rotation", "retention", "total_bytes"))
    if document.preload is not None:
        said["preload"] = tuple(document.preload)
    if document.http is not None:
        said["http"] = document.http.listen
    return replace(host, **said)


def _defaults(data: Any, source: Source, directory: str) -> DefaultsDocument:
    document = None
    if data is not None:
        document = validate(DefaultsDocument, data, source, ("defaults",))
    if document is None:
        return DefaultsDocument()
    paths = given(document, "cwd", "env_file")
    return document.model_copy(
        update={key: absolute(path, directory) for key, path in paths.items()}
    )


def _included_files(patterns: list[str], source: Source, directory: str) -> list[str]:
    """Files in the order of the patterns, then of their names; each once."""
    found: dict[str, None] = {}
    for index, pattern in enumerate(patterns):
        whole = absolute(pattern, directory)
        if not glob.has_magic(whole):
            found[whole] = None  # a file that is named must be there: reading it will tell
            continue
        found.update(dict.fromkeys(sorted(glob.glob(whole, recursive=True))))
        if len(found) > MAX_INCLUDED:
            message = f"names more than {MAX_INCLUDED} files"
            source.problems.append(source.problem(("include", index), message))
            break
    return list(found)[:MAX_INCLUDED]


def _in_order(problems: list[ConfigProblem]) -> list[ConfigProblem]:
    return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
