"""What the events about configurations say, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["applied_words", "left_out_words", "rejected_words"]


def applied_words(event: Mapping[str, Any]) -> str:
    """How much has changed, and whose new lives have failed."""
    changes = event.get("changes") or {}
    told = ", ".join(f"{action} {count}" for action, count in changes.items()) or "no change"
    failed = event.get("failed") or ()
    failures = f"; failed: {', '.join(failed)}" if failed else ""
    return f"configuration applied (operation {event.get('operation', '?')}): {told}{failures}"


def rejected_words(event: Mapping[str, Any]) -> str:
    """The first problem, and how many more there are."""
    if "goes_on" in event:
        return left_out_words({**event, "path": event["child"]})
    return f"configuration rejected: {_first_problem(event)}"


def left_out_words(facts: Mapping[str, Any]) -> str:
    """What has become of the child of an included file that cannot be used, and why."""
    fate = "goes on as it was" if facts["goes_on"] else "is not there"
    return f"left out, and {facts['path'] or 'its child'} {fate}: {_first_problem(facts)}"


def _first_problem(facts: Mapping[str, Any]) -> str:
    problems = facts.get("problems") or ["it cannot be used"]
    more = int(facts.get("count", len(problems))) - 1
    return str(problems[0]) + (f" and {more} more" if more > 0 else "")
