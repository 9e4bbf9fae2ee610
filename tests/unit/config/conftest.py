"""Configurations written on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor_tree.config import load
from supervisor_tree.errors import ConfigError


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes main.yaml and its neighbours; the current directory is theirs."""
    monkeypatch.chdir(tmp_path)

    def write(main: str, **neighbours: str) -> str:
        for name, text in {"main": main, **neighbours}.items():
            file = tmp_path / f"{name.replace('__', '/')}.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        return "main.yaml"

    return write


@pytest.fixture
def errors(write: Callable[..., str]) -> Callable[..., list[str]]:
    """The lines that the operator reads when a configuration is refused."""

    def errors(main: str, *, strict: bool = False, **neighbours: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(write(main, **neighbours), strict=strict)
        return str(caught.value).splitlines()

    return errors
