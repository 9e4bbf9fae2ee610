"""Whether what runs is what the files say: a line for people, and facts for programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from supervisor_tree.config.staleness import changed_files
from supervisor_tree.control.config_words import left_out_words
from supervisor_tree.control.words import clean
from supervisor_tree.core.origin import left_out_data
from supervisor_tree.errors import NoSuchChild

if TYPE_CHECKING:
    from supervisor_tree.control.client import ControlClient

__all__ = ["config_facts", "config_lines", "content_hash", "naming_left_out", "shown_file"]


def config_facts(client: ControlClient) -> dict[str, Any]:
    """`config_stale`, the `stale_files` or the settings in `restart_needed` that are the reason.

    `left_out` are included files that are broken.
    """
    origin = client.request("origin")
    files = changed_files(origin)
    left_out = left_out_data(origin["left_out"], origin["included"])
    pending = [f"host.{key}" for key in origin["pending"]]
    return {
        "config_stale": bool(files or pending),
        "stale_files": files,
        "restart_needed": pending,
        "left_out": left_out,
    }


def config_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """What to tell an operator; nothing if the files are in force."""
    for each in facts["left_out"]:
        yield clean(left_out_words(each))
    if pending := facts["restart_needed"]:
        verb = "comes" if len(pending) == 1 else "come"
        yield f"config stale: {', '.join(pending)} {verb} in force when the host is restarted"
    files = facts["stale_files"]
    if not files:
        return
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    yield f"config stale: {clean(files[0])}{more} changed since it was put in force; see `plan`"


def shown_file(path: str) -> str:
    """A file as it is shorter: from here, or absolute."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


@contextmanager
def naming_left_out(client: ControlClient, path: str) -> Iterator[None]:
    """Whoever asks for a child that is not there is told of the broken file that may have it."""
    try:
        yield
    except NoSuchChild as error:
        origin = client.request("origin")
        missing = left_out_data(origin["left_out"], origin["included"])
        missing = [each for each in missing if not each["goes_on"]]
        address = "/" + path.strip("/")
        its_own = [each for each in missing if each["path"] == address]
        nameless = [each for each in missing if not each["path"]]
        if its_own:
            words = f"{address} is not there: its file was left out"
        elif nameless:
            words = f"{error}; or it stands in a file that was left out"
        else:
            raise
        problem = (its_own or nameless)[0]["problems"][0]
        raise NoSuchChild(f"{words}: {problem}") from None


def content_hash(spec: Mapping[str, Any]) -> str:
    """A name of what a specification says: equal ones have the same."""
    import hashlib  # noqa: PLC0415 - one verb needs them
    import json  # noqa: PLC0415

    text = json.dumps(spec, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
