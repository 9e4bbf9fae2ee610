"""`enabled:` is written as an operator would write it, and nothing else changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor_tree.config import load
from supervisor_tree.config.edit import plan_edits
from supervisor_tree.errors import ConfigError, NoSuchChild, OperationFailed, TryAgain


def only_one_line_differs(before: str, after: str) -> None:
    """It was changed or added; at the end of a file without a line end it gets one before it."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    if len(new) == len(old):
        assert sum(a != b for a, b in zip(old, new, strict=True)) == 1
        return
    assert len(new) == len(old) + 1
    (at,) = [number for number, line in enumerate(new) if "enabled" in line]
    rest = new[:at] + new[at + 1 :]
    assert rest == old or (at == len(old) and "".join(rest).rstrip("\r\n") == before)


MAIN = """\
# the host of chat
version: 1
tree:   # nothing else
  strategy: "one_for_one"

  children:
  - id: 'greeter'     # says hello
    # its code
    agent:   "m:C"

  - {id: files,   command: [python3, -m, "http.server"]}
  - id: chat
    enabled:   yes    # always
    supervisor:
      children:
          - id: bot
            agent: m:C
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, name: str = "host.yaml") -> Path:
        file = tmp_path / name
        file.write_bytes(text.encode())
        return file

    return write


def changed(file: Path, **wanted: bool) -> str:
    """The file after the change of children, whose paths have `_` for `/`."""
    for edit in plan_edits(str(file), {path.replace("_", "/"): on for path, on in wanted.items()}):
        edit.make()
    return file.read_bytes().decode()


def test_a_key_of_its_own_follows_the_id_at_the_same_depth(write):
    assert changed(write(MAIN), _greeter=False) == MAIN.replace(
        "  # says hello\n", "  # says hello\n    enabled: false\n"
    )
    assert changed(write(MAIN), _chat_bot=False) == MAIN.replace(
        "- id: bot\n", "- id: bot\n            enabled: false\n"
    )


def test_within_braces_it_stays_on_the_line(write):
    assert changed(write(MAIN), _files=False) == MAIN.replace(
        "id: files,", "id: files, enabled: false,"
    )


def test_a_value_that_is_there_is_replaced_and_its_comment_stays(write):
    text = changed(write(MAIN), _chat=False)
    assert text == MAIN.replace("enabled:   yes    # always", "enabled:   false    # always")
    assert changed(write(text), _chat=True) == text.replace("false    #", "true    #")


def test_what_is_so_already_is_not_written(write):
    file = write(MAIN)
    assert plan_edits(str(file), {"/greeter": True, "/chat": True}) == []


def test_several_children_of_one_file_are_one_change(write):
    text = changed(write(MAIN), _greeter=False, _files=False, _chat_bot=False)
    assert text.count("enabled: false") == 3
    assert len(text.splitlines()) == len(MAIN.splitlines()) + 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("enabled:\n", "enabled: false\n"),
        ("enabled: ~ # none\n", "enabled: false # none\n"),
        ("enabled: &on true\n", "enabled: false\n"),
        ('"enabled": true\n', '"enabled": false\n'),
        ("enabled: !!str yes\n", "enabled: false\n"),
        ("enabled:\n      true\n", "enabled:\n      false\n"),
    ],
)
def test_a_value_is_replaced_however_it_is_written(write, before, after):
    text = "version: 1\ntree:\n  children:\n  - id: a\n    {}    command: [x]\n"
    assert changed(write(text.replace("{}", before)), _a=False) == text.replace("{}", after)


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\r\ntree:\r\n  children:\r\n  - id: a\r\n    command: [x]\r\n",
        "\ufeffversion: 1\ntree:\n  children:\n  - id: a\n    command: [x]\n",
        "version: 1\ntree:\n  children:\n  - command: [ä, 😀]\n    id: a",
        "version: 1\ntree:\n  children:\n  - command: [x]\n    id: >-\n      a\n    warm:\n",
        '{"version": 1, "tree": {"children": [{"id": "a", "command": ["x"]}]}}',
        "version: 1\ntree: {children: [{command: [x], id: a}]}",
        "version: 1\ntree: {children: [\n  {command: [x],\n   id: a # it\n  }]}\n",
        "version: 1\ntree:\n  children:\n  - ? id\n    : a\n    ? command\n    : [x]\n",
        "version: 1\ntree:\n  children:\n  - &me\n    id: a\n    command: [x]\n...\n",
    ],
    ids=range(9),
)
def test_the_rest_stays_byte_for_byte(write, text):
    file = write(text)
    after = changed(file, _a=False)
    assert load(file).tree.children[0].enabled is False
    only_one_line_differs(text, after)


def test_a_key_from_a_merge_is_overruled_by_one_of_its_own(write):
    text = """\
version: 1
tree:
  children:
    - &base
      id: base
      command: [x]
      enabled: false
    - <<: *base
      id: other
"""
    after = changed(write(text), _other=True)
    assert after == text + "      enabled: true\n"


@pytest.mark.parametrize(
    ("text", "child"),
    [
        (
            "version: 1\ntree:\n  children:\n"
            "    - &a {id: a, command: [x]}\n    - id: s\n      supervisor: {children: [*a]}\n",
            "/s/a",
        ),
        (
            "version: 1\ntree:\n  children:\n"
            "    - {id: a, command: [x], enabled: &on true}\n"
            "    - {id: b, command: [x], enabled: *on}\n",
            "/a",
        ),
    ],
    ids=["child", "value"],
)
def test_what_is_shared_by_an_anchor_is_refused_with_its_place(write, text, child):
    file = write(text)
    with pytest.raises(OperationFailed, match=r"host\.yaml:4: .*anchor"):
        plan_edits(str(file), {child: False})
    assert file.read_text() == text


def test_an_alias_is_replaced_by_a_word(write):
    text = """\
version: 1
tree:
  children:
    - {id: a, command: [x], enabled: &on true}
    - {id: b, command: [x], enabled: *on}
"""
    assert changed(write(text), _b=False) == text.replace("*on", "false")


def test_an_included_child_is_changed_in_its_own_file(write, tmp_path):
    main = write("version: 1\ninclude: [agents/*.yaml]\n")
    (tmp_path / "agents").mkdir()
    bot = write("# the bot\nid: bot\ncommand: [x]\n", "agents/bot.yaml")
    changed(main, _bot=False)
    assert bot.read_text() == "# the bot\nid: bot\nenabled: false\ncommand: [x]\n"
    assert main.read_text() == "version: 1\ninclude: [agents/*.yaml]\n"


def test_mode_and_links_stay_and_nothing_is_left_beside(write, tmp_path):
    real = write(MAIN, "real.yaml")
    real.chmod(0o640)
    link = tmp_path / "host.yaml"
    link.symlink_to("real.yaml")
    changed(link, _greeter=False)
    assert link.is_symlink()
    assert "enabled: false" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["host.yaml", "real.yaml"]


def test_a_file_that_has_changed_meanwhile_is_not_written(write):
    file = write(MAIN)
    (edit,) = plan_edits(str(file), {"/greeter": False})
    file.write_text("version: 1\n")
    with pytest.raises(TryAgain, match="changed meanwhile"):
        edit.make()
    assert file.read_text() == "version: 1\n"
    assert os.listdir(file.parent) == ["host.yaml"]


def test_who_is_nobody_or_made_from_a_template_is_refused(write):
    file = write(
        "version: 1\ntree:\n  children:\n  - id: pool\n    supervisor:\n"
        "      {strategy: simple_one_for_one, child: {command: [x]}}\n"
    )
    with pytest.raises(NoSuchChild, match="/nobody"):
        plan_edits(str(file), {"/nobody": False})
    with pytest.raises(OperationFailed, match="template"):
        plan_edits(str(file), {"/pool/w1": False})


def test_files_that_are_not_valid_are_named(write, tmp_path):
    with pytest.raises(ConfigError, match="version"):
        plan_edits(str(write("tree: {}\n")), {"/a": False})
    main = write("version: 1\ninclude: [a.yaml]\n")
    write("id: a\ncommand: 7\n", "a.yaml")
    with pytest.raises(ConfigError, match=r"a\.yaml:2"):
        plan_edits(str(main), {"/a": False})
