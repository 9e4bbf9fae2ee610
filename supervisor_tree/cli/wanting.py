"""What an operator wants of a child: the verbs enable and disable, and in words for others."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from supervisor_tree.cli.connecting import connect, note
from supervisor_tree.cli.output import say
from supervisor_tree.control.words import clean
from supervisor_tree.errors import OperationFailed, UsageError

if TYPE_CHECKING:
    from supervisor_tree.config.edit import Edit
    from supervisor_tree.control.client import ControlClient

__all__ = ["asker_words", "disable", "enable", "wanted_words"]


def enable(options: Namespace) -> int:
    """`enable PATH...`: `enabled: true` in their files, and start them."""
    return _amend(options, "enable", enabled=True)


def disable(options: Namespace) -> int:
    """`disable PATH...`: `enabled: false` in their files, and stop them."""
    return _amend(options, "disable", enabled=False)


def _amend(options: Namespace, verb: str, *, enabled: bool) -> int:
    """The files first: a host that could not be told reads them when it starts.

    All paths are looked up, and all files, before the first of them is written.
    """
    paths = list(dict.fromkeys("/" + path.strip("/") for path in options.paths))
    if "/" in paths:
        raise UsageError(f"cannot {verb} / itself; see `shutdown`")
    if options.config is not None:
        written = _paths(_write(options.config, paths, enabled=enabled))
        results = {path: "done" if path in written else "already" for path in paths}
        lines = {"done": f"{verb}d in {options.config}", "already": f"already {verb}d"}
        say(options, results, [f"{path}: {lines[word]}" for path, word in results.items()])
        return 0
    with connect(options) as client:
        config = client.request("ping")["config"]
        if config is None:
            raise OperationFailed(
                f"cannot {verb} {' '.join(paths)}: the tree of this host comes from a program, not "
                "from a file; use `start` and `stop`"
            )
        edits = _write(config, paths, enabled=enabled)
        written = _paths(edits)
        args = {"paths": paths, "wait": options.wait}
        told = client.request(verb, args, timeout=options.timeout)
        if "unknown" not in told.values():
            _tell_edits(client, edits)
    for path, word in told.items():
        if word == "unknown":
            note(f"{path} is not in the tree that runs; `apply` puts its file in force")
    results = {path: _outcome(path, written, told[path]) for path in paths}
    say(options, results, [_line(verb, path, written, told[path]) for path in paths])
    return 0


def _write(config: str, paths: list[str], *, enabled: bool) -> list[Edit]:
    """The changes of their files, made."""
    from supervisor_tree.config.edit import plan_edits  # noqa: PLC0415

    edits = plan_edits(config, dict.fromkeys(paths, enabled))
    for edit in edits:
        edit.make()
    return edits


def _paths(edits: list[Edit]) -> set[str]:
    """Those whose files have been changed."""
    return {path for edit in edits for path in edit.paths}


def _tell_edits(client: ControlClient, edits: list[Edit]) -> None:
    """What was written is in force: the files have not changed since then."""
    import hashlib  # noqa: PLC0415 - and what reads files
    from dataclasses import asdict  # noqa: PLC0415

    from supervisor_tree.config.contents import source_file  # noqa: PLC0415

    before = {edit.file: hashlib.sha256(edit.before).hexdigest() for edit in edits}
    after = [asdict(source_file(edit.file)) for edit in edits]
    client.request("edited", {"before": before, "after": after})


def _outcome(path: str, written: set[str], told: str) -> str:
    if told in ("absent", "already", "unknown"):
        return "done" if path in written else "already"
    return told


_TOLD = {
    "enable": {
        "done": "started",
        "already": "was running",
        "asked": "will be started",
        "absent": "starts with its supervisor",
        "unremembered": "started; an earlier order could not be forgotten (see `doctor`)",
    },
    "disable": {
        "done": "stopped",
        "already": "was down",
        "asked": "will be stopped",
        "absent": "its supervisor does not run",
        "unremembered": "stopped; an earlier order could not be forgotten (see `doctor`)",
    },
}


def _line(verb: str, path: str, written: set[str], told: str) -> str:
    done = f"{verb}d" if path in written else f"already {verb}d"
    if told == "unknown" or (told == "already" and path not in written):
        return f"{path}: {done}"
    return f"{path}: {done}, {_TOLD[verb].get(told, told)}"


def wanted_words(facts: Mapping[str, Any]) -> str:
    """`up`, or `down` and by what: from the facts of `show`."""
    wanted, hold = str(facts["wanted"]), facts["hold"]
    if facts["kept_down_by"] == "specification":
        return "down: its specification says `enabled: false`"
    if hold is None:
        return wanted
    against = "" if hold["down"] else ", though its specification says `enabled: false`"
    return f"{wanted}, {asker_words(hold)}{against}"


def asker_words(hold: Mapping[str, Any]) -> str:
    """Who has ordered what, when and why: `by stop of alice (pid 99) since ...: reason`."""
    who = "" if hold["uid"] is None else f" of {_user(hold['uid'])}"
    pid = "" if hold["pid"] is None else f" (pid {hold['pid']})"
    why = f": {clean(hold['why'])}" if hold["why"] else ""
    return f"by {clean(hold['verb'] or 'order')}{who}{pid} since {hold['since']}{why}"


def _user(uid: int) -> str:
    import pwd  # noqa: PLC0415 - few children are held

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
