"""Where a host's tree has come from, and what it depends on beside its specification.

Made by whoever reads the files, kept by the host as long as that is in force, and compared with
what the files are now.  Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from supervisor_tree.core.diff import Contents

__all__ = [
    "LeftOut",
    "Origin",
    "SourceFile",
    "TreeSource",
    "left_out_data",
    "origin_from_data",
    "origin_to_data",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSource:
    """A tree that is kept at an http or https `url`, looked at every `interval` seconds."""

    url: str
    interval: float = 30.0


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a configuration as it was when it was read; `digest` is "" if it could not be."""

    path: str
    mtime_ns: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An included file that cannot be used, and why.

    `path` is where its child would be, "" if that cannot be known.
    """

    file: str
    path: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a configuration was made of.

    file
        the main one; None of a tree that an embedding program has made.
    fetched
        where the document is kept that the tree was read from, if it comes from a URL.
    sources, patterns
        all files that were read, and the patterns by which further ones would be found.
    included
        the path of the child that each included file has brought.
    left_out
        the other included files; a child that one of them has brought before goes on as it was,
        and then `included` has that file as well.
    host
        what `host:` says, by its keys, as plain data; of one in force, what the host goes by.
    pending
        keys of `host` that the files have otherwise, for which the host has to be restarted.
    contents
        digests of the files that children depend on.
    beside
        of these the files that children name themselves: `reload.files` and `env_file`.
    """

    file: str | None = None
    fetched: str | None = None
    sources: tuple[SourceFile, ...] = ()
    patterns: tuple[str, ...] = ()
    included: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    host: Mapping[str, Any] = field(default_factory=dict)
    pending: tuple[str, ...] = ()
    contents: Contents = field(default_factory=dict)
    beside: tuple[SourceFile, ...] = ()


def origin_to_data(origin: Origin) -> dict[str, Any]:
    """As what msgpack can carry."""
    return asdict(origin)


def left_out_data(
    left_out: Iterable[Mapping[str, Any]], included: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Files that were left out, each with whether its child `goes_on` as it was.

    `left_out` and `included` are those of an origin as plain data.
    """
    return [
        {**each, "path": included.get(each["file"], each["path"]), "goes_on": goes_on}
        for each in left_out
        for goes_on in (each["file"] in included,)
    ]


def origin_from_data(data: Any) -> Origin:
    """The inverse.  Raises ValueError for anything else."""
    known = {each.name for each in fields(Origin)}
    if not isinstance(data, Mapping) or not data.keys() <= known:
        raise ValueError(f"an origin is a mapping of {', '.join(sorted(known))}")
    said = dict(data)
    try:
        said["sources"] = tuple(SourceFile(**source) for source in said.get("sources", ()))
        said["beside"] = tuple(SourceFile(**each) for each in said.get("beside", ()))
        said["left_out"] = tuple(
            LeftOut(**{**each, "problems": tuple(each["problems"])})
            for each in said.get("left_out", ())
        )
        said["pending"] = tuple(said.get("pending", ()))
        said["patterns"] = tuple(said.get("patterns", ()))
        origin = Origin(**said)
    except (KeyError, TypeError) as error:
        raise ValueError(f"cannot read an origin: {error}") from None
    _check(origin)
    return origin


def _check(origin: Origin) -> None:
    texts = isinstance(origin.file, str | None) and isinstance(origin.fetched, str | None)
    texts = texts and all(isinstance(each, str) for each in (*origin.patterns, *origin.pending))
    files = all(
        isinstance(source.path, str)
        and isinstance(source.mtime_ns, int)
        and isinstance(source.size, int)
        and isinstance(source.digest, str)
        for source in (*origin.sources, *origin.beside)
    )
    files = files and all(
        isinstance(each.file, str)
        and isinstance(each.path, str)
        and all(isinstance(problem, str) for problem in each.problems)
        for each in origin.left_out
    )
    contents = isinstance(origin.contents, Mapping) and all(
        isinstance(path, str) and _is_text_map(each) for path, each in origin.contents.items()
    )
    host = isinstance(origin.host, Mapping)
    if not (texts and files and contents and host and _is_text_map(origin.included)):
        raise ValueError("cannot read an origin: a value is of another type than it must be")


def _is_text_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(item, str) for key, item in value.items()
    )
