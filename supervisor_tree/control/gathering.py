"""The answer to one order about several paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from supervisor_tree.control.words import term_words
from supervisor_tree.errors import NoSuchChild, OrdersFailed

if TYPE_CHECKING:
    from supervisor_tree.control.server import Request

__all__ = ["Gathered"]

_OUTCOMES = ("absent", "already", "released", "unremembered")


class Gathered:
    """Collects what the core answers for each path, and replies when it has all.

    What went well is answered as "done", "already", "released" (nobody has this path, and what
    was ordered about it is forgotten), "absent" (it holds when its supervisor runs) or
    "unremembered" (done, but it dies with the host).  With `forgiving`, that nobody has a path
    is no error, but answered as "unknown".
    """

    def __init__(self, request: Request, paths: list[str], *, forgiving: bool = False) -> None:
        self._request = request
        self._forgiving = forgiving
        self._waiting = set(paths)
        self._results: dict[str, str] = {}
        self._errors: dict[str, Any] = {}

    def take(self, path: str, result: Any) -> None:
        """One core reply: ("ok", ...) or ("error" | "exit", reason)."""
        self._waiting.discard(path)
        if result[0] == "ok":
            word = result[1] if len(result) == 2 else None
            self._results[path] = word if word in _OUTCOMES else "done"
        elif self._forgiving and result[1] == "noproc":
            self._results[path] = "unknown"
        else:
            self._errors[path] = result[1]
        if self._waiting:
            return
        if not self._errors:
            self._request.reply(self._results)
            return
        failures = {path: _words(reason) for path, reason in self._errors.items()}
        verb = self._request.verb.replace("_", "-")
        message = "\n".join(f"cannot {verb} {path}: {why}" for path, why in failures.items())
        if all(reason in ("noproc", "not_found") for reason in self._errors.values()):
            self._request.reply_error(NoSuchChild(message))
        else:
            self._request.reply_error(OrdersFailed(message, failures, self._results))


_WORDS = {
    "noproc": "no child has this path",
    "not_found": "no child has this path",
    "running": "it is running",
    "restarting": "it is being restarted",
}


def _words(reason: Any) -> str:
    """A core reason for people: `("init", "ValueError: no key")` and the like."""
    return _WORDS.get(reason, reason) if isinstance(reason, str) else term_words(reason)
