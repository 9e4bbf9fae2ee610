"""The reference pages that are written by docs/generate.py say what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from supervisor_tree.core.lifecycle import EventName

GENERATOR = Path(__file__).parents[2] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generator() -> dict[str, object]:
    return runpy.run_path(str(GENERATOR))


def test_the_reference_is_up_to_date(generator, capsys):
    assert generator["main"](["--check"]) == 0, capsys.readouterr().err


def test_every_event_is_explained(generator):
    assert set(generator["EVENTS"]) == set(EventName)
