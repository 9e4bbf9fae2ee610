"""Takes secrets out of lines before they are written.

What a pattern matches becomes `[redacted]`.  A pattern sees one line at a time; `^` and `$`
are its ends.

Two bounds keep the logger going.  A search sees at most 8 KiB at once: longer lines are
searched in windows that overlap by half.  And it has a limit of processor time (see `timed`).
A line whose search takes too long is withheld as a whole, since nobody has looked at all of
it: a slow pattern costs lines, and never lets a secret through or holds others up.

A line that comes in pieces is searched across their ends: a piece ends before what may
be a secret.  The rest of a line is hidden if a secret in it is longer than half a window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from supervisor_tree.core.secrets import expanded
from supervisor_tree.runtime.logs.timed import TookTooLong, within

__all__ = ["HIDDEN", "WITHHELD", "Redaction"]

HIDDEN = "[redacted]"
WITHHELD = "[withheld: a pattern of logs.redact takes too long for this line]"
_WINDOW = 8192  # characters
_CONTEXT = 256  # of what stood before a piece, for patterns that look back
_BLOCK_S = 0.1  # processor time for one window
_LINE_S = 0.02  # and for a line of a window that has taken too long
_PATIENCE_S = 0.15  # for all slow ones of one batch
_LOOKS_AROUND = ("(?=", "(?!", "(?<=", "(?<!", "\\A", "\\Z")

_Spans = list[tuple[int, int]]


class Redaction:
    """What is left of the lines of one stream.  For the main thread, which has the signals."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = _compiled(tuple(patterns))
        self._by_line = any(word in one.pattern for one in self._patterns for word in _LOOKS_AROUND)
        self._patience = _PATIENCE_S
        self._context = ""  # the end of what was shown of the present line
        self._hiding = False  # the rest of the present line is not shown

    def lines(self, data: bytes) -> bytes:
        """All of `data`, which ends where a line does.  Line ends stay as they are."""
        text = _text(data)
        self._patience = _PATIENCE_S
        parts: list[str] = []
        if self._context or self._hiding:
            rest_of_line, end, text = text.partition("\n")
            parts += [self._advance(rest_of_line, last=True)[0], end]
        parts += (self._block(block) for block in _blocks(text))
        return _bytes("".join(parts))

    def piece(self, data: bytes) -> tuple[bytes, int]:
        """What may be shown of a line whose end is still to come, and how many bytes that is of.

        The next piece, or the end of the line, begins behind these.
        """
        text = _text(data)
        self._patience = _PATIENCE_S
        shown, taken = self._advance(text, last=False)
        return _bytes(shown), len(_bytes(text[:taken]))

    # -- whole lines ----------------------------------------------------------------------

    def _block(self, block: str) -> str:
        """Some whole lines that fit into a window, or one that does not."""
        lines = block.split("\n")
        if len(block) > _WINDOW + 1:
            return "\n".join([self._advance(lines[0], last=True)[0], *lines[1:]])
        if not self._by_line:
            try:
                if self._patience > 0 and not within(_BLOCK_S, self._occurs, block):
                    return block
            except TookTooLong:
                self._patience -= _BLOCK_S
        return "\n".join([self._line(line) for line in lines])

    def _line(self, line: str) -> str:
        if not line:
            return line
        spans = self._search(line, _LINE_S)
        return WITHHELD if spans is None else _masked(line, spans, 0, len(line))

    def _occurs(self, text: str) -> bool:
        return any(pattern.search(text) for pattern in self._patterns)

    # -- pieces ---------------------------------------------------------------------------

    def _advance(self, text: str, *, last: bool) -> tuple[str, int]:
        """What may be shown of the present line's next `text`, and how much of it was taken."""
        shown: list[str] = []
        at = 0
        while at < len(text) and not self._hiding:
            rest = len(text) - at
            if at and not last and rest <= _WINDOW:
                break
            whole = last and rest <= _WINDOW
            known = len(self._context)
            looked = self._context + text[at : at + _WINDOW]
            cut = len(looked) if whole else len(looked) - min(rest, _WINDOW) // 2
            spans = self._search(looked, _BLOCK_S)
            if spans is None:
                shown.append(WITHHELD)
                self._hiding = True
                break
            cut = next((start for start, end in spans if start < cut < end), cut)
            if cut <= known:
                shown.append(HIDDEN)
                self._hiding = True
                break
            shown.append(_masked(looked, spans, known, cut))
            at += cut - known
            self._context = looked[max(0, cut - _CONTEXT) : cut]
        if self._hiding:
            at = len(text)
        if last:
            self._context, self._hiding = "", False
        return "".join(shown), at

    def _search(self, text: str, limit_s: float) -> _Spans | None:
        """Where secrets are, in order and apart from each other; None: it takes too long."""
        if self._patience <= 0:
            return None
        try:
            return within(limit_s, self._spans, text)
        except TookTooLong:
            self._patience -= limit_s
            return None

    def _spans(self, text: str) -> _Spans:
        found = sorted(
            match.span() for pattern in self._patterns for match in pattern.finditer(text)
        )
        apart: _Spans = []
        for start, end in found:
            if apart and start <= apart[-1][1]:
                apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
            elif end > start:
                apart.append((start, end))
        return apart


@lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern) for pattern in expanded(patterns))


def _blocks(text: str) -> Iterator[str]:
    """Whole lines that fit into a window, as many as do; a longer one by itself."""
    at = 0
    while at < len(text):
        end = text.rfind("\n", at, at + _WINDOW) + 1
        if end == 0:
            end = text.find("\n", at) + 1 or len(text)
        yield text[at:end]
        at = end


def _masked(text: str, spans: _Spans, start: int, end: int) -> str:
    """`text[start:end]` with the spans hidden; none of them reaches over `end`."""
    parts = []
    for first, behind in spans:
        if behind > start and first < end:
            parts += [text[start : max(first, start)], HIDDEN]
            start = behind
    return "".join([*parts, text[start:end]])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
