"""The document that `host.source` gives is read as strictly as a file, and says nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor_tree.config import load
from supervisor_tree.errors import ConfigError

MAIN = "version: 1\nhost: {source: {url: 'https://example.org/tree.yaml'}}\n"


@pytest.fixture
def main(tmp_path: Path) -> Path:
    file = tmp_path / "main.yaml"
    file.write_text(f"{MAIN}".replace("{source:", f"{{state_dir: {tmp_path}/state, source:"))
    return file


def test_without_a_document_the_tree_is_empty(main):
    config = load(main)
    assert config.tree.children == ()
    assert (config.host.source.url, config.host.source.interval) == (
        "https://example.org/tree.yaml",
        30.0,
    )


def test_the_last_good_document_in_the_state_directory_is_the_tree(main, tmp_path):
    kept = tmp_path / "state" / "source" / "tree.yaml"
    kept.parent.mkdir(parents=True)
    kept.write_text(
        "version: 1\ndefaults: {restart: transient}\n"
        "tree: {children: [{id: a, command: [x], cwd: work}]}\n"
    )
    config = load(main)
    (child,) = config.tree.children
    assert (child.id, child.restart, child.cwd) == ("a", "transient", f"{tmp_path}/work")
    assert config.fetched == str(kept)
    assert config.sources == (str(main), str(kept))


def test_a_document_that_is_named_must_be_there(main, tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot read"):
        load(main, fetched=str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\ntree: {}\nhost: {name: x}\n", "3:1: host: unknown key"),
        ("version: 1\ntree: {}\ninclude: [x]\n", "3:1: include: unknown key"),
        ("version: 1\ntree: {children: [{id: a}]}\n", "2:19: tree.children"),
        ("version: 1\n", "1:1: tree: must be a mapping"),
        ("[]", "must be a mapping"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_in_a_document_is_named_with_its_place(main, tmp_path, text, words):
    document = tmp_path / "document.yaml"
    document.write_text(text)
    with pytest.raises(ConfigError, match=words) as error:
        load(main, fetched=str(document))
    assert all(problem.file == str(document) for problem in error.value.problems)
