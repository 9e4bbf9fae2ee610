"""The host's child that keeps its tree as a URL says: `host.source`.

It looks at the URL again and again, with the entity tag of what it has (RFC 9110, 13.1.2), so
that an unchanged document costs one small answer.  A new one is checked as a file is, kept in the
state directory, where the next life of the host finds it, and put in force as `apply` does: who
has not changed is not touched.  What was in between two looks nobody misses, as each document
says all.  One that is wrong, or a URL that does not answer, leaves everything as it is, and is
told once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supervisor_tree.agents.context import Context
from supervisor_tree.control.client import ControlClient
from supervisor_tree.errors import ConfigError, SupervisorTreeError, TimedOut, TryAgain
from supervisor_tree.files import write_whole
from supervisor_tree.runtime.fetching import FetchFailed, fetch
from supervisor_tree.runtime.infrastructure import IN_FORCE

if TYPE_CHECKING:
    from supervisor_tree.config import Config

__all__ = ["main"]

_AGAIN_S = 1.0  # after the host was too busy
_APPLY_LIMIT_S = 600.0
_JITTER = 0.1  # many hosts may look at one URL


def main(ctx: Context) -> None:
    """`/_/source`.  `args` are `url interval config run_dir state_dir`."""
    watch = _Watch(ctx.args)
    wait_s = 0.0
    while not ctx.stopping.wait(wait_s):
        due = watch.look()
        ctx.notify(watch.status)
        interval = ctx.args["interval"] * random.uniform(1 - _JITTER, 1 + _JITTER)
        wait_s = interval if due is None else due


class _Watch:
    def __init__(self, args: Mapping[str, Any]) -> None:
        self.status = ""
        self._url: str = args["url"]
        self._config: str = args["config"]
        self._run_dir: str = args["run_dir"]
        self._kept = _Kept(Path(args["state_dir"]) / "source", self._url)
        self._etag = self._kept.etag  # of the last document that was read, right or wrong
        self._wrong = ""  # digest of a document that was refused
        self._told = ""  # what kind of trouble was told last, and is not over

    def look(self) -> float | None:
        """Look once.  Returns the seconds to the next time, or None for the usual interval."""
        try:
            found = fetch(self._url, self._etag)
        except FetchFailed as failure:
            message = f"{self._url}: cannot read: {failure}; everything stays as it is"
            self._tell("no answer", [message])
            return None
        if self._told == "no answer":
            self._told = ""
            _say(f"{self._url} answers again")
        if found.body is None:
            if self._etag == self._kept.etag:
                self._in_force()
            return None
        digest = hashlib.sha256(found.body).hexdigest()
        if digest in (self._kept.digest, self._wrong):
            self._etag = found.etag
            if digest == self._kept.digest:
                self._in_force()
            return None
        try:
            return self._take(found.body, digest, found.etag)
        except OSError as error:
            message = f"{self._url}: cannot keep it: {error}; everything stays as it is"
            self._tell("disk", [message])
            return None

    def _take(self, body: bytes, digest: str, etag: str | None) -> float | None:
        """A new document: check it, keep it, put it in force."""
        from supervisor_tree.config import load  # noqa: PLC0415 - only now, with what it needs

        self._kept.propose(body)
        try:
            load(self._config, strict=True, fetched=str(self._kept.candidate))
        except ConfigError as error:
            self._refuse(error, digest, etag)
            return None
        self._kept.put_in_place()
        try:
            done = self._apply(load(self._config, fetched=str(self._kept.tree)))
        except TryAgain:
            self._kept.put_back()
            return _AGAIN_S
        except TimedOut:
            return None  # it goes on; the next look finds what has come of it
        except SupervisorTreeError as error:
            self._kept.put_back()
            self._wrong, self._etag = digest, etag
            self._tell(digest, [f"{self._url}: {line}" for line in str(error).splitlines()])
            return None
        if "error" in done:  # which the host has told
            self._kept.put_back()
            self._wrong, self._etag = digest, etag
            return None
        self._kept.confirm(digest, etag)
        self._etag = etag
        self._in_force()
        count = len(done["changes"])
        _say(f"{self.status}; {count} change{'' if count == 1 else 's'}")
        return None

    def _in_force(self) -> None:
        """What the URL says is what the host does; trouble would be new."""
        self._wrong = self._told = ""
        self.status = f"{IN_FORCE}: {self._kept.etag or self._kept.digest[:12]} of {self._url}"

    def _refuse(self, error: ConfigError, digest: str, etag: str | None) -> None:
        """If it is the host's own file that is wrong, the document may be right another time."""
        candidate = str(self._kept.candidate)
        lines = [
            str(problem._replace(file=self._url) if problem.file == candidate else problem)
            for problem in error.problems
        ]
        its_own = all(problem.file == candidate for problem in error.problems)
        if its_own:
            self._wrong, self._etag = digest, etag
        self._tell(digest if its_own else "file", lines)

    def _apply(self, config: Config) -> dict[str, Any]:
        from supervisor_tree.config.contents import proposal  # noqa: PLC0415

        with ControlClient(self._run_dir) as client:
            known = client.request("origin")
            args = proposal(config, [*known["sys_path"], *sys.path])
            done: dict[str, Any] = client.request("apply", args, timeout=_APPLY_LIMIT_S)
        return done

    def _tell(self, kind: str, lines: list[str]) -> None:
        """Trouble of one kind is told once, until it is over."""
        self.status = lines[0]
        if kind == self._told:
            return
        self._told = kind
        for line in lines:
            _say(line)
        with ControlClient(self._run_dir) as client:
            client.request("reject", {"file": self._url, "problems": lines})


class _Kept:
    """What is kept in the state directory: the document in force, and where it has come from."""

    def __init__(self, directory: Path, url: str) -> None:
        self.etag: str | None = None
        self.digest = ""
        self.candidate = directory / "candidate.yaml"
        self.tree = directory / "tree.yaml"
        self._former = directory / "former.yaml"
        self._facts = directory / "tree.json"
        self._url = url
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads(self._facts.read_bytes())
            digest = hashlib.sha256(self.tree.read_bytes()).hexdigest()
            if (facts["url"], facts["digest"]) == (url, digest):
                self.digest, self.etag = digest, facts["etag"]

    def propose(self, body: bytes) -> None:
        """Write a document that may become the next.  Raises OSError."""
        write_whole(self.candidate, body, durable=True)

    def put_in_place(self) -> None:
        """The candidate is what the host goes by from now on; the one before stays for a while.

        There is a document at every moment: a host that starts just then must not start empty.
        """
        self._former.unlink(missing_ok=True)
        if self.tree.exists():
            write_whole(self._former, self.tree.read_bytes(), durable=True)
        self.candidate.replace(self.tree)

    def put_back(self) -> None:
        """It is not, after all."""
        if self._former.exists():
            self._former.replace(self.tree)
        else:
            self.tree.unlink(missing_ok=True)

    def confirm(self, digest: str, etag: str | None) -> None:
        """It is in force."""
        self.digest, self.etag = digest, etag
        facts = {"url": self._url, "digest": digest, "etag": etag}
        write_whole(self._facts, json.dumps(facts).encode(), durable=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
