"""What children keep on the disk: where it is, and how it is taken away.

Each child has two directories of its own below the state directory: `data/PATH` for what it
keeps from life to life, `cache/PATH` for what it can make again.  They are told to it in
its environment.

To take one away, the root renames it out of the child's reach, which is done at once or
not at all; a child of `/_` then deletes it and counts, as that may take as long as it likes.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from supervisor_tree.agents.agent import Agent
from supervisor_tree.agents.checkpoint import SLOTS
from supervisor_tree.agents.context import CACHE_DIR, DATA_DIR, Context
from supervisor_tree.core.specs import ChildSpec, Restart
from supervisor_tree.core.stimuli import StartChildRequested, Stimulus, TerminateChildRequested
from supervisor_tree.errors import OperationFailed, SupervisorTreeError
from supervisor_tree.runtime.settings import HostSettings

__all__ = ["Remover", "Wardrobe", "child_environment", "remove_tree"]

_TRASH = "trash"
_NOTHING = {"checkpoints": 0, "files": 0, "directories": 0, "bytes": 0, "left": 0}
_ROOT = "/_"


def child_environment(settings: HostSettings, path: str, generation: int) -> dict[str, str]:
    """What a child is told of itself and its places; its directories need not exist."""
    return {
        "SUPERVISOR_TREE_PATH": path,
        "SUPERVISOR_TREE_GENERATION": str(generation),
        "SUPERVISOR_TREE_RUN_DIR": str(settings.run_dir),
        DATA_DIR: f"{settings.state_dir}/data{path}",
        CACHE_DIR: f"{settings.state_dir}/cache{path}",
    }


class _Desk(Protocol):
    """What is needed of the host."""

    def said(self, path: str) -> str: ...

    def submit(self, make: Callable[[int], Stimulus], answer: Callable[[Any], None]) -> None: ...


class Wardrobe:
    """Takes away what children have kept."""

    def __init__(self, state_dir: Path, desk: _Desk) -> None:
        self._state_dir = state_dir
        self._desk = desk
        self._number = 0

    def clear(
        self, kind: str, path: str, answer: Callable[[dict[str, int] | SupervisorTreeError], None]
    ) -> None:
        """Delete `kind` ("data" or "cache") of `path` and all below it; the caller knows them down.

        Answered with counts: {checkpoints, files, directories, bytes, left}.
        """
        self._number += 1
        aside = self._state_dir / _TRASH / f"{kind}-{os.getpid()}-{self._number}"
        try:
            found = self._set_aside(kind, path, aside)
        except OSError as error:
            answer(OperationFailed(f"cannot take away the {kind} of {path}: {error.strerror}"))
            return
        if not found:
            answer(dict(_NOTHING))
            return
        spec = ChildSpec(
            id=f"remove-{self._number}",
            agent="supervisor_tree.runtime.agentdata:Remover",
            restart=Restart.TEMPORARY,
            start_timeout=None,
            args={"directory": str(aside.parent), "counted": aside.name},
        )

        def removed(result: Any) -> None:
            if result[0] == "ok":
                said = self._desk.said(f"{_ROOT}/{spec.id}")
                self._desk.submit(partial(_end, spec.id), lambda _: None)
                lost = OperationFailed(
                    f"the {kind} of {path} is deleted, but nobody knows how much"
                )
                answer(json.loads(said) if said else lost)
            else:
                why = f"what was the {kind} of {path} is in {aside}, and cannot be deleted"
                answer(OperationFailed(f"{why}: {result[1]}"))

        self._desk.submit(lambda request: StartChildRequested(request, _ROOT, spec), removed)

    def _set_aside(self, kind: str, path: str, aside: Path) -> bool:
        """False if there is nothing.  No link is followed, however it has come there."""
        place = self._state_dir / kind
        for step in ["", *path.strip("/").split("/")]:
            place /= step
            try:
                mode = place.lstat().st_mode
            except FileNotFoundError:
                return False
            if not stat.S_ISDIR(mode):
                raise NotADirectoryError(20, f"{place} is not a directory")
        aside.parent.mkdir(mode=0o700, exist_ok=True)
        place.rename(aside)
        return True


class Remover(Agent):
    """Deletes all that is in `directory`, and says in its status what was in `counted` of it.

    The rest was left by one that was killed.  It stays until it is ended: the host forgets what
    a child has said together with the child.
    """

    def init(self, ctx: Context) -> None:
        """See Agent."""
        directory = Path(ctx.args["directory"])
        counts = dict(_NOTHING)
        for name in sorted(os.listdir(directory)):
            found = remove_tree(directory / name)
            if name == ctx.args["counted"]:
                counts = found
        ctx.notify(json.dumps(counts))


def _end(id: str, request: int) -> Stimulus:
    return TerminateChildRequested(request, _ROOT, id)


def remove_tree(top: Path) -> dict[str, int]:
    """Delete a directory and all below it; returns counts.  No link is followed.

    `left` is the number of those that could not be deleted.
    """
    counts = dict(_NOTHING)

    def remove(name: str, folder: int, *, directory: bool) -> None:
        try:
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if directory:
                os.rmdir(name, dir_fd=folder)
                counts["directories"] += 1
            else:
                os.unlink(name, dir_fd=folder)
                counts["files"] += 1
                counts["bytes"] += state.st_size
                counts["checkpoints"] += name in SLOTS
        except OSError:
            counts["left"] += 1

    for _, folders, files, here in os.fwalk(top, topdown=False):
        for name in files:
            remove(name, here, directory=False)
        for name in folders:
            is_link = stat.S_ISLNK(os.lstat(name, dir_fd=here).st_mode)
            remove(name, here, directory=not is_link)
    try:
        top.rmdir()
    except OSError:
        counts["left"] += 1
    return counts
