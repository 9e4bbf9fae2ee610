"""Loads a configuration: the main file, then the files it includes, then the whole.

A broken main file is refused whole, with everything that is wrong in it.  A broken
included file is left out and reported, so that one careless edit stops one agent and not
the host; `strict` (the `check` verb) refuses both.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from supervisor_tree.config.assemble import Assembly
from supervisor_tree.config.build import Builder, absolute, acl_of, given, logs_of
from supervisor_tree.config.directories import fetched_tree, resolve_dirs
from supervisor_tree.config.document import (
    READINGS,
    DefaultsDocument,
    Document,
    FetchedDocument,
)
from supervisor_tree.config.fields import ID_PATTERN
from supervisor_tree.config.hostconfig import Config, HostConfig
from supervisor_tree.config.hostdocument import BusDocument, HostDocument, HostLogsDocument
from supervisor_tree.config.messages import validate
from supervisor_tree.config.source import Source, from_plain_data, read
from supervisor_tree.core.hosts import Links, Peer
from supervisor_tree.core.origin import TreeSource
from supervisor_tree.core.policy import PolicyRule
from supervisor_tree.core.specs import ChildSpec, Logs, SupervisorSpec
from supervisor_tree.errors import ConfigError, ConfigProblem

__all__ = ["from_data", "load"]

MAX_INCLUDED = 20_000


def load(
    path: str | os.PathLike[str],
    *,
    strict: bool = False,
    fetched: str | None = None,
    run_dir: str | None = None,
) -> Config:
    """Read a configuration file.

    Raises ConfigError with all problems of the main file; with `strict` also with those of
    included files, which otherwise are left out and named in `Config.problems`.

    Where the tree comes from `host.source`, the document `fetched` is read.  By default that is
    the last good one in the state directory, which `run_dir` (what --run-dir says) may lead to;
    where there is none yet, the tree is empty.
    """
    file = os.fspath(path)
    source = read(file, READINGS)
    return _config(source, os.path.abspath(file), strict=strict, fetched=fetched, run_dir=run_dir)


def from_data(data: Any, *, strict: bool = True) -> Config:
    """The same vocabulary as a dict, for embedding programs.

    Differs from a file in this: `version` may be left out, `agent` may be the class or
    callable itself, supervisors start their children in sequence as OTP does, and relative
    paths are relative to the working directory.
    """
    if isinstance(data, dict):
        data = {"version": 1} | data
    return _config(from_plain_data(data, ""), None, strict=strict)


def _config(
    source: Source,
    file: str | None,
    *,
    strict: bool,
    fetched: str | None = None,
    run_dir: str | None = None,
) -> Config:
    directory = os.path.dirname(file) if file else os.getcwd()
    document = validate(Document, source.data, source, ())
    if not isinstance(source.data, dict):
        raise ConfigError(source.problems)
    parts = source.data
    host = _host(parts.get("host"), source, file, directory)
    main = source
    if host.source is not None:
        _refuse_beside_source(main)
        known = fetched_tree(resolve_dirs(host, run_dir)[1])
        source = _fetched(fetched or known, optional=fetched is None)
        parts, document, fetched = source.data, None, source.file
    builder = Builder(
        directory=directory,
        logs=host.logs,
        concurrent=file is not None,
        library=file is None,
        defaults=_defaults(parts.get("defaults"), source, directory),
    )
    assembly = Assembly(source, builder, _own_tree(builder, source))
    files = _included_files(_patterns(document), source, file, directory)
    assembly.include(files)
    assembly.check_needs()
    problems = source.problems if main is source else main.problems + source.problems
    if problems or (strict and assembly.problems):
        raise ConfigError(_in_order(problems) + _in_order(assembly.problems))
    return Config(
        host=host,
        tree=_beneath(assembly.tree, host.env_file),
        problems=tuple(_in_order(assembly.problems)),
        sources=tuple(filter(None, (file, fetched))) + tuple(files),
        places=assembly.places(),
        patterns=tuple(absolute(pattern, directory) for pattern in _patterns(document)),
        included=assembly.included,
        fetched=fetched,
        left_out=tuple(assembly.left_out),
        warnings=tuple(_warnings(host, main)),
    )


def _own_tree(builder: Builder, source: Source) -> SupervisorSpec:
    """What the main file itself says of the tree."""
    parts = source.data
    if parts.get("tree") is not None or not parts.get("include"):
        return builder.supervisor(parts.get("tree"), source, ("tree",), "/")
    return (
        builder.supervisor({}, source, ("tree",), "/") if builder.concurrent else SupervisorSpec()
    )


def _warnings(host: HostConfig, source: Source) -> Iterator[ConfigProblem]:
    if host.http is not None:
        message = "has no effect: this version has no HTTP interface"
        yield source.problem(("host", "http", "listen"), message)


def _patterns(document: Document | None) -> list[str]:
    return (document.include or []) if document is not None else []


def _refuse_beside_source(main: Source) -> None:
    for key in ("tree", "include", "defaults"):
        if main.data.get(key) is not None:
            message = "cannot stand beside host.source: the whole tree comes from there"
            main.problems.append(main.problem((key,), message, at_key=True))


def _fetched(file: str, *, optional: bool) -> Source:
    """A document of `host.source`, with what is wrong with it."""
    if optional and not os.path.exists(file):
        return Source(file, {"tree": {}})
    source = read(file, READINGS)
    validate(FetchedDocument, source.data, source, ())
    if not isinstance(source.data, dict):
        raise ConfigError(source.problems)
    return source


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
    plain = ("name", "run_dir", "state_dir", "log_dir", "env_file", "stop_limit", "leftovers")
    said = given(document, *plain)
    for key in ("run_dir", "state_dir", "log_dir", "env_file"):
        if key in said:
            said[key] = absolute(said[key], directory)
    if document.logs is not None:
        said["logs"] = logs_of(Logs(), given(document.logs, *HostLogsDocument.model_fields))
    if document.preload is not None:
        said["preload"] = tuple(document.preload)
    if document.http is not None:
        said["http"] = document.http.listen
    if document.policy is not None:
        said["policy"] = tuple(
            PolicyRule(agents=rule.agents, acl=acl_of(rule)) for rule in document.policy
        )
    if document.source is not None:
        said["source"] = TreeSource(**given(document.source, "url", "interval"))
    if document.bus is not None:
        said["links"] = _links(document.bus, source, directory)
    return replace(host, **said)


def _links(document: BusDocument, source: Source, directory: str) -> Links | None:
    """The ways to other hosts; what would be plain tcp is a problem."""
    before = len(source.problems)
    plain = "plain tcp is refused: "
    if document.key is None:
        message = f"{plain}key must name this host's secret key, which `supervisor-tree keys` makes"
        source.problems.append(source.problem(("host", "bus"), message))
    peers = []
    names: dict[str, str] = {}
    for name, peer in (document.peers or {}).items():
        where = ("host", "bus", "peers", name)
        if peer.key is None:
            message = f"{plain}key must be what `supervisor-tree keys` has printed on that host"
            source.problems.append(source.problem(where, message))
            continue
        if peer.key in names:
            message = f"must be another for each host, but {names[peer.key]} has this one too"
            source.problems.append(source.problem((*where, "key"), message))
        names[peer.key] = name
        rights = {right: tuple(said) for right, said in given(peer, "may_call", "may_cast").items()}
        peers.append(Peer(name=name, key=peer.key, address=peer.address, **rights))
    if document.key is None or len(source.problems) > before:
        return None
    key = absolute(document.key, directory)
    return Links(key=key, listen=document.listen, peers=tuple(peers))


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


def _included_files(
    patterns: list[str], source: Source, main: str | None, directory: str
) -> list[str]:
    """Files in the order of the patterns, then of their names; each once.

    A pattern such as `*.yaml` may match the main file as well, which is not meant then.
    """
    found: dict[str, None] = {}
    for index, pattern in enumerate(patterns):
        whole = absolute(pattern, directory)
        if whole == main:
            message = "must not name the file that it stands in"
            source.problems.append(source.problem(("include", index), message))
            continue
        if not glob.has_magic(whole):
            found[whole] = None  # a file that is named must be there: reading it will tell
            continue
        matching = sorted(glob.glob(whole, recursive=True))
        found.update(dict.fromkeys(file for file in matching if file != main))
        if len(found) > MAX_INCLUDED:
            message = f"names more than {MAX_INCLUDED} files"
            source.problems.append(source.problem(("include", index), message))
            break
    return list(found)[:MAX_INCLUDED]


def _in_order(problems: list[ConfigProblem]) -> list[ConfigProblem]:
    return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
