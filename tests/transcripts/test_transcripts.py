"""Golden transcripts: every rule and every extension as a page that can be read.

`pytest tests/transcripts --rewrite` writes what the core decides now; read the diff.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transcripts.stage import Stage

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.txt"))


def performed(text: str) -> str:
    """The same transcript with the answers of the core as it is."""
    pieces: list[str] = []
    stage = Stage()
    for block in text.strip("\n").split("\n\n"):
        lines = block.splitlines()
        comments = [line for line in lines if line.startswith("#")]
        asked = [line for line in lines[: _divider(lines)] if not line.startswith("#")]
        trees = [line.split() for line in asked if line.startswith("tree ")]
        if trees:
            stage = Stage(abort_starts="otp" not in trees[0], gated="gated" in trees[0])
        answer = stage.play(asked) if asked else []
        tail = ["----", *answer] if asked else []
        pieces.append("\n".join([*comments, *asked, *tail]))
    return "\n\n".join(pieces) + "\n"


def _divider(lines: list[str]) -> int:
    return lines.index("----") if "----" in lines else len(lines)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_core_decides_as_the_transcript_says(file: Path, request: pytest.FixtureRequest):
    text = file.read_text()
    now = performed(text)
    if request.config.getoption("--rewrite"):
        file.write_text(now)
    else:
        assert now == text
