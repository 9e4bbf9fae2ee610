"""What `explain` has found, and why a tree has ended: sentences for who was woken up by it.

Pure, and made of what the control protocol carries alone, so that a program that gets the
same answer by --json can be told the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from supervisor_tree.control.naming import few
from supervisor_tree.control.words import clean, duration, exit_words, term_words, unmet_words

if TYPE_CHECKING:  # a command that shows an explanation must not pay for the core
    from supervisor_tree.core.actions import TreeEnded

__all__ = ["sentences", "why_ended"]

_Facts = Mapping[str, Any]


def sentences(facts: _Facts) -> list[str]:
    """What it is and why, how it ended last, and what happens next."""
    return [
        _state(facts),
        *_last(facts),
        *_schedule(facts),
        *_limit(facts),
        *_forecast(facts),
        *_own(facts),
        *_advice(facts),
    ]


# --- why ----------------------------------------------------------------------------------


def _state(facts: _Facts) -> str:
    since = duration(facts["since_s"])
    ready = "" if facts["ready"] or facts["state"] != "running" else ", not ready,"
    state = f"in {facts['state']}" if facts["state"] == "backoff" else facts["state"]
    because = _BECAUSE[facts["why"]](facts) if facts["why"] in _BECAUSE else clean(facts["why"])
    return f"{clean(facts['path'])} has been {state}{ready} for {since}: {because}."


def _due(facts: _Facts) -> str:
    return duration(facts["due_in_s"] or 0)


def _behind(facts: _Facts) -> str:
    """Whom the supervisor has in hand, if it is known."""
    about = facts["about"]
    return f"its supervisor is busy with {clean(about)}" if about else "its turn comes next"


def _not_said_ready(facts: _Facts) -> str:
    if facts["pid"] is None:
        return "its process is being made"
    limit = ", without limit"
    if facts["due_in_s"] is not None:
        limit = f"; if it does not within {_due(facts)}, its start has failed"
    return f"process {facts['pid']} {unmet_words(facts['unmet'])}{limit}"


def _ready(facts: _Facts) -> str:
    """It runs: a supervisor with children that may not, a child perhaps under a watchdog."""
    if facts["not_ready"]:
        return "not all below it are ready"
    busy = f", busy with {clean(facts['about'])}" if facts["about"] else ""
    watched = ""
    if facts["by"] is not None:
        watched = f"; its watchdog ends it after {_due(facts)} more of silence ({facts['by']})"
    return f"it is as it should be{busy}{watched}"


def _silent(facts: _Facts) -> str:
    said = f" while busy with {clean(facts['about'])}" if facts["about"] else ""
    return (
        f"it was silent for too long{said} ({facts['by']}); it has been asked where it stands, "
        f"and what is left of it in {_due(facts)} gets SIGKILL"
    )


_STOPPERS = {
    "stop": "an operator has stopped it",
    "restart": "an operator restarts it",
    "terminate_child": "terminate_child was called",
    "supervisor_ends": "its supervisor ends",
    "supervisor_killed": "its supervisor was killed",
    "group": "it is restarted together with a sibling",
    "start_timeout": "it was not ready in time",
    "order": "an order has broken off its start",
}


def _stops(facts: _Facts) -> str:
    force = "without limit"
    if facts["due_in_s"] is not None:
        force = f"what is left of it in {_due(facts)} gets SIGKILL"
    return f"{_STOPPERS.get(facts['by'], 'it was told to stop')}, and it has not ended yet; {force}"


def _killed(facts: _Facts) -> str:
    why = _STOPPERS.get(facts["by"], "it was killed")
    return f"{why}; it has had SIGKILL, and some process that it started is still there"


def _ended(facts: _Facts) -> str:
    how = exit_words(facts["last_exit"])
    rule = {
        "temporary": "a temporary child is never restarted",
        "transient": "a transient child is not restarted after a clean end",
    }.get(facts["restart"], "it is not restarted")
    return f"it has ended ({how}), and {rule}"


def _order(hold: _Facts | None) -> str:
    """When an operator has ordered something, and why."""
    if hold is None:
        return ""
    why = f": {clean(hold['why'])}" if hold["why"] else ""
    return f" ({hold['since']}{why})"


_BECAUSE: dict[str, Callable[[_Facts], str]] = {
    "ready": _ready,
    "silent": _silent,
    "not_said_ready": _not_said_ready,
    "children_start": lambda facts: (
        f"it is up when its children are, and waits for {clean(facts['about'] or 'them')}"
    ),
    "backoff": lambda facts: f"it has ended, and is started again in {_due(facts)}",
    "retry": lambda facts: f"its start has failed, and is tried again at once; {_behind(facts)}",
    "need": lambda facts: f"it needs {clean(facts['about'])} to be {facts['by']} first",
    "group": lambda facts: f"it waits for the restart of {clean(facts['about'])}, its sibling",
    "turn": lambda facts: f"it is to be started; {_behind(facts)}",
    "exit_waits": lambda facts: f"it has ended; what follows is decided soon, {_behind(facts)}",
    "held": lambda facts: f"an operator has stopped it{_order(facts.get('hold'))}",
    "disabled": lambda _: "its configuration says `enabled: false`",
    "parked": lambda _: "it has used up its restarts, and has given up",
    "safe_mode": lambda _: (
        "the host has come up in safe mode, as its last lives ended without a clean stop"
    ),
    "ended": _ended,
    "ignored": lambda _: "it has declined to start",
    "failed": lambda _: "an order to start it has failed",
    "terminated": lambda _: "terminate_child was called for it",
    "supervisor_ends": lambda facts: f"{clean(facts['about'])} ends, and all below it",
    "not_started": lambda _: "nobody has asked for it yet",
    "stops": _stops,
    "killed": _killed,
}


def _last(facts: _Facts) -> Iterator[str]:
    if facts["last_exit"] is not None:
        lasted = facts["mean_life_s"]
        habit = (
            "" if lasted is None else f"; lives that failed lasted {duration(lasted)} on average"
        )
        yield f"Its last life ended with: {exit_words(facts['last_exit'])}{habit}."
    if facts["error"]:
        yield f"Its last start failed: {term_words(facts['error'])}."
    if facts["said"]:
        yield f'It says: "{clean(facts["said"])}".'


# --- what comes next ----------------------------------------------------------------------------

_RESTART = {
    "permanent": "It is restarted whenever it ends",
    "transient": "It is restarted when it fails, not when it ends cleanly",
    "temporary": "It is never restarted",
}


_MAY_RESTART = ("backoff", "starting", "running")


def _schedule(facts: _Facts) -> Iterator[str]:
    if facts["restart"] is None or facts["state"] not in _MAY_RESTART:
        return
    rule = _RESTART.get(facts["restart"], "It is restarted")
    waits: Sequence[_Facts] = facts["delays"]
    if facts["limit"] is None:
        yield f"{rule}."
    elif not waits:
        yield f"{rule}, at once: it has no backoff."
    else:
        times = ", ".join(_between(wait["least_s"], wait["most_s"]) for wait in waits)
        again = duration(facts["reset_after_s"])
        yield (
            f"{rule}, after {times}{' and so on' if len(waits) > 1 else ''}; "
            f"a life of {again} begins this anew."
        )


def _between(least_s: float, most_s: float) -> str:
    if duration(least_s) == duration(most_s):
        return duration(least_s)
    return f"{duration(least_s)} to {duration(most_s)}"


def _limit(facts: _Facts) -> Iterator[str]:
    level = facts["limit"]
    if level is None or facts["state"] not in _MAY_RESTART:
        return
    alone = level["then"] == "park"
    yield _counted(level, "" if alone else f" of all children of {clean(level['path'])}")


def _counted(level: _Facts, whose: str) -> str:
    """How many restarts there were, and how many more there may be."""
    counted = (
        f"Restarts{whose} within the last {duration(level['period_s'])}: "
        f"{level['restarts']}, and {level['intensity']} are allowed"
    )
    forgotten = "" if level["more_in_s"] is None else duration(level["more_in_s"])
    if not level["left"]:
        soon = f" within the next {forgotten}, when the oldest is forgotten," if forgotten else ""
        return f"{counted}; one more{soon} is one too many."
    more = f"{level['left']} more may follow before {clean(level['path'])} gives up"
    if forgotten:
        more += f"; the oldest is forgotten in {forgotten}"
    return f"{counted}; {more}."


def _forecast(facts: _Facts) -> Iterator[str]:
    level, found = facts["limit"], facts["give_up"]
    if level is None or facts["state"] not in ("backoff", "starting", "running"):
        return
    who = clean(level["path"])
    if found is None:
        yield f"If it goes on failing so, {who} never gives up: the restarts are too far apart."
        return
    if facts["mean_life_s"] is None:
        habit = "If it failed now, and then at once each time"
    else:
        habit = "If it goes on failing as it did"
    earliest_s, latest_s = found["earliest_in_s"], found["latest_in_s"]
    if latest_s is None:
        when = f", in {duration(earliest_s)} at the earliest, and never with more jitter"
    else:
        when = f", in {_between(earliest_s, latest_s)}" if latest_s else ""
    failures = found["failures"]
    nth = "the next failure" if failures == 1 else f"failure number {failures} from now"
    yield f"{habit}, {who} gives up at {nth}{when}."
    yield f"Then {_consequence(facts)}."


def _consequence(facts: _Facts) -> str:
    level = facts["limit"]
    path = clean(level["path"])
    match level["then"]:
        case "park":
            return f"{path} alone stays down, until `reset-failed {path}`; nobody else is touched"
        case "tree_ends":
            return f"{path} stops all children, and the host ends with exit code 70"
        case "stays_down":
            return f"{path} stops all its children and stays down, by its own restart type"
    above = facts["above"][0]
    left = above["left"]
    counts = (
        f"{left} more restarts allowed there now"
        if left != 1
        else "1 more restart allowed there now"
    )
    return (
        f"{path} stops all its children and is restarted as a whole, "
        f"which {clean(above['path'])} counts ({counts})"
    )


def _own(facts: _Facts) -> Iterator[str]:
    level = facts["own"]
    if level is not None:
        yield _counted(level, " of its own children")
    if facts["not_ready"]:
        yield f"Below it, wanted and not ready: {few(facts['not_ready'], 5)}."


def _advice(facts: _Facts) -> Iterator[str]:
    path = clean(facts["path"])
    match facts["why"]:
        case "parked":
            yield f"To do: repair the cause, then `reset-failed {path}`."
        case "safe_mode":
            yield f"To do: find out what ended the host, then `reset-failed {path}`."
        case "held" | "failed" | "terminated" | "ignored" | "ended" | "not_started":
            yield f"To do: `start {path}` starts it."
        case "disabled":
            yield f"To do: `enable {path}` writes `enabled: true` and starts it."
        case "need" | "turn" | "retry" if facts["about"]:
            about = str(facts["about"]).split(" ")[0]
            yield f"To do: `explain {clean(about)}`, if that takes too long."
        case "children_start" if facts["about"]:
            yield f"To do: `explain {clean(facts['about'])}`, if that takes too long."
    if facts["why"] == "ready" and facts["not_ready"]:
        yield f"To do: `explain {clean(facts['not_ready'][0])}`."


# --- the end of a tree ---------------------------------------------------------------------------


def why_ended(ended: TreeEnded) -> str:
    """What has brought a tree down, in a few words."""
    if ended.why == "intensity":
        return f"{clean(ended.cause or ended.path)} has been restarted too often"
    if ended.why == "significant":
        return f"{clean(ended.cause or ended.path)} has ended, and was significant"
    return _failed_start(ended.reason.term)


def _failed_start(term: Any, above: str = "") -> str:
    """OTP's nested {shutdown, {failed_to_start_child, Id, Reason}}."""
    match term:
        case ("shutdown", ("failed_to_start_child", child, ("shutdown", inner))):
            return _failed_start(("shutdown", inner), f"{above}/{clean(child)}")
        case ("shutdown", ("failed_to_start_child", child, reason)):
            return f"{above}/{clean(child)} has failed to start: {term_words(reason)}"
    return term_words(term)
