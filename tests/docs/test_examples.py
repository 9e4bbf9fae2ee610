"""What the documentation shows is run, checked, parsed or followed, and not taken on trust."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree import config

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def blocks(language: str) -> list[Any]:
    """Every fenced block of one language, named by its page and line."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in BLOCK.finditer(text):
            if block[1] == language:
                line = text.count("\n", 0, block.start()) + 1
                found.append(pytest.param(block[2], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_a_python_example_runs_as_it_stands(code, tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_yaml_example_is_sound(text, tmp_path):
    file = tmp_path / "example.yaml"
    file.write_text(text)
    loaded = config.load(file)
    assert loaded.tree.children
    assert not loaded.problems


def commands() -> list[str]:
    """Every `$ supervisor-tree ...` line, once each."""
    found: dict[str, None] = {}
    for page in PAGES:
        for line in page.read_text().splitlines():
            if line.startswith("$ supervisor-tree "):
                found[line.removeprefix("$ supervisor-tree ")] = None
    return list(found)


@pytest.mark.parametrize("line", commands())
def test_a_command_line_that_is_shown_can_be_parsed(line):
    from supervisor_tree.cli.parsing import parse  # noqa: PLC0415

    assert parse(shlex.split(line))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page):
    targets = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_test_that_a_page_names_is_there(page):
    text = page.read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    assert named <= set(re.findall(r"def (test_\w+)\(", tests))
    places = re.findall(r"`(tests/[\w/.]+)`", text)
    assert [place for place in places if not (ROOT / place).exists()] == []
