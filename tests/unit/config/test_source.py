"""Reading YAML: places, duplicates, bounds, and what YAML 1.1 would have misread."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from supervisor_tree.config.document import READINGS
from supervisor_tree.config.source import MAX_BYTES, Source, parse, read
from supervisor_tree.errors import ConfigError


def source_of(text: str | bytes) -> Source:
    content = text if isinstance(text, bytes) else text.encode()
    return parse(content, "f.yaml", READINGS)


def data_of(text: str) -> Any:
    source = source_of(text)
    assert source.problems == []
    return source.data


def refusal(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        source_of(text)
    return str(caught.value)


def notes(text: str) -> list[str]:
    return [str(problem) for problem in source_of(text).problems]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("off", "off"),
        ("012", "012"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("2 MB", "2 MB"),
    ],
)
def test_scalars_are_read_by_the_core_schema_of_yaml_1_2(written: str, value: object) -> None:
    assert data_of(f"k: {written}") == {"k": value}


@pytest.mark.parametrize("written", ["012", "12:30", "yes", "1.10", "true", "5", "1_0"])
def test_where_text_is_wanted_it_is_taken_as_written(written: str) -> None:
    assert data_of(f"env: {{V: {written}}}") == {"env": {"V": written}}
    assert data_of(f"command: [a, {written}]") == {"command": ["a", written]}
    assert data_of(f"id: {written}") == {"id": written}


@pytest.mark.parametrize("written", ["yes", "no", "On", "012", "0o17", "0b1", "1_000"])
def test_where_anything_may_stand_an_ambiguous_word_is_refused(written: str) -> None:
    assert notes(f"args: {{v: {written}}}") == [
        f'f.yaml:1:11: args.v: can be read in two ways: write "{written}" if it is text'
    ]
    assert data_of(f'args: {{v: "{written}", id: 5}}') == {"args": {"v": written, "id": 5}}


def test_every_value_and_key_has_its_place() -> None:
    source = source_of("a: 1\nb:\n  - c: [x,\n        y]\n")
    assert str(source.problem(("b", 0, "c", 1), "m")) == "f.yaml:4:9: b[0].c[1]: m"
    assert str(source.problem(("b", 0, "c"), "m", at_key=True)) == "f.yaml:3:5: b[0].c: m"


def test_what_is_missing_stands_where_its_surroundings_stand() -> None:
    assert str(source_of("a:\n  b: 1").problem(("a", "z"), "m")) == "f.yaml:2:3: a.z: m"


def test_what_comes_from_an_anchor_stands_where_it_was_written() -> None:
    source = source_of("base: &b {x: {y: 1}}\none: *b\ntwo: {<<: *b, z: 2}\n")
    assert source.data["two"] == {"x": {"y": 1}, "z": 2}
    assert source.problem(("one", "x", "y"), "m").line == 1
    assert source.problem(("two", "x", "y"), "m").line == 1
    assert source.problem(("two", "z"), "m").line == 3


def test_merge_keys_give_way_to_what_is_written_beside_them() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\n"
    assert data_of(text)["c"] == {"x": 3, "y": 1, "z": 2}
    assert notes("a: {<<: 5}") == [
        "f.yaml:1:9: a.<<: must be a mapping, or a list of mappings, to merge"
    ]


def test_a_duplicate_key_is_named_with_its_first_place() -> None:
    assert notes("a: 1\nb: 2\na: 3\n") == ["f.yaml:3:1: a: duplicate key, already given in line 1"]


def test_all_duplicates_are_named() -> None:
    assert len(notes("a: 1\na: {x: 1, x: 2}\na: 3\n")) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3\n", "f.yaml:2:2: cannot read as YAML: did not find expected ',' or ']'"),
        ("a:\n\t- b\n", "f.yaml:2:1: cannot read as YAML: found character that cannot start"),
        ("a: 'x\n", "f.yaml:2:1: cannot read as YAML: found unexpected end of stream"),
        ("a: *nowhere\n", "f.yaml:1:4: a: *nowhere: nothing above has this anchor"),
        ("a: &a [*a]\n", "f.yaml:1:8: a[0]: *a: contains itself"),
        ("", "f.yaml:1:1: is empty"),
        ("# only a comment\n", "f.yaml:1:1: is empty"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: must hold one document"),
        ("? [a, b]\n: 1\n", "f.yaml:1:3: a key must be a plain word"),
        (b"a: 1\nb: \xff\n", "f.yaml:2:4: must be UTF-8 text, and byte 0xff here is not"),
        ("a: 1\nb: \x01\n", "f.yaml:2:4: cannot read as YAML: control characters"),
        ("[" * 300 + "]" * 300, "nested deeper than 200 lists and mappings"),
        (b"x" * (MAX_BYTES + 1), "f.yaml: cannot read: larger than"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str | bytes, message: str) -> None:
    assert message in refusal(text)


def test_a_tab_as_indentation_is_named_as_such() -> None:
    assert "indent with spaces" in refusal("a:\n\t- b\n") + refusal("a: b\n\tc: d\n")


def test_aliases_that_multiply_each_other_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "more than 200000 values, aliases counted" in refusal("\n".join(lines))


def test_tags_are_refused() -> None:
    assert notes("a: !!python/object:os.system x\nb: !thing {}\n") == [
        "f.yaml:1:4: a: the tag tag:yaml.org,2002:python/object:os.system is not supported",
        "f.yaml:2:4: b: the tag !thing is not supported",
    ]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert source_of(b"\xef\xbb\xbfa: 1").data == {"a": 1}


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read: No such file or directory"):
        read(str(tmp_path / "gone.yaml"), READINGS)


def test_a_directory_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read: a file was expected, and this is a dir"):
        read(str(tmp_path), READINGS)


def test_a_name_that_no_file_can_have_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="cannot read: "):
        read("a\0b", READINGS)


def test_an_unreadable_file_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> object:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "f.yaml").touch()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match=r"f\.yaml: cannot read: Permission denied"):
        read(str(tmp_path / "f.yaml"), READINGS)
