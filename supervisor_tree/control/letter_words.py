"""What is said of a message that was given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["letter_words"]


def letter_words(event: Mapping[str, Any]) -> str:
    """From whom it came, how many have died over it, and where it is."""
    number = event.get("number")
    kept = "it could not be kept" if number is None else f"`dead-letters {number}` shows it"
    return (
        f"a message from {event.get('sender', '?')} is given up: "
        f"{event.get('deaths', '?')} lives have ended over it; {kept}"
    )
