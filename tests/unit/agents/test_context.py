from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_tree.agents.context import Context
from supervisor_tree.agents.stopping import Stopping
from supervisor_tree.notify import Notifier


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    stopping = Stopping()
    yield stopping
    stopping.close()


@pytest.fixture
def ctx(stopping: Stopping) -> Context:
    return Context(
        path="/chat/bot", generation=3, args={"a": 1}, stopping=stopping, notifier=Notifier(None)
    )


def test_it_says_who_the_agent_is(ctx: Context) -> None:
    assert (ctx.id, ctx.path, ctx.generation, ctx.args) == ("bot", "/chat/bot", 3, {"a": 1})
    assert repr(ctx) == "<Context /chat/bot #3>"


def test_to_look_at_stopping_is_to_trap_stops(ctx: Context, stopping: Stopping) -> None:
    assert not stopping.watched
    assert ctx.stopping is stopping
    assert stopping.watched


def test_directories_are_made_when_first_asked_for(
    ctx: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERVISOR_TREE_DATA_DIR", str(tmp_path / "data/chat/bot"))
    monkeypatch.setenv("SUPERVISOR_TREE_CACHE_DIR", str(tmp_path / "cache/chat/bot"))
    assert list(tmp_path.iterdir()) == []
    assert ctx.data_dir == tmp_path / "data/chat/bot"
    assert ctx.cache_dir == tmp_path / "cache/chat/bot"
    assert ctx.data_dir.stat().st_mode & 0o777 == 0o700
    assert ctx.cache_dir.is_dir()


def test_without_a_host_there_is_no_directory(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUPERVISOR_TREE_DATA_DIR", raising=False)
    with pytest.raises(RuntimeError, match="no data directory"):
        _ = ctx.data_dir


def test_notices_to_no_host_are_lost_in_silence(ctx: Context) -> None:
    ctx.notify("working")
    ctx.extend_timeout(3)
