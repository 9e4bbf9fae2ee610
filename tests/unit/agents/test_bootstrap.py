from __future__ import annotations

import functools
from typing import Any

import pytest

from supervisor_tree.agents.bootstrap import _status_of, merged_args
from supervisor_tree.agents.life import _takes_context, one_line
from supervisor_tree.agents.payload import TargetError


@pytest.mark.parametrize(
    ("extra", "merged"),
    [
        (None, {"a": 1, "b": 2}),
        ({}, {"a": 1, "b": 2}),
        ({"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ([], {"a": 1, "b": 2}),
        ([{"b": 3}, {"b": 4}], {"a": 1, "b": 4}),
    ],
)
def test_arguments_of_start_child_go_over_those_of_the_specification(
    extra: Any, merged: dict[str, Any]
) -> None:
    specified = {"a": 1, "b": 2}
    assert merged_args(specified, extra) == merged
    assert merged_args(merged_args(specified, extra), extra) == merged
    assert specified == {"a": 1, "b": 2}


@pytest.mark.parametrize("extra", [3, "ab", [1, 2]])
def test_arguments_without_names_are_refused(extra: Any) -> None:
    with pytest.raises(TargetError, match="given by name"):
        merged_args({}, extra)


@pytest.mark.parametrize(
    ("code", "status"), [(None, 0), (0, 0), (3, 3), (256, 0), (-1, 255), ("text", 1), (True, 1)]
)
def test_sys_exit_means_what_the_interpreter_takes_it_for(code: Any, status: int) -> None:
    assert _status_of(SystemExit(code)) == status


def test_an_error_fits_one_line() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert one_line(ValueError("two\n  lines")) == "ValueError: two lines"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert one_line(TargetError("cannot import 'x'")) == "cannot import 'x'"
    assert one_line(Mute()).endswith("Mute: (its text cannot be had)")


def test_only_a_callable_without_parameters_gets_no_context() -> None:
    class Called:
        def __call__(self) -> None: ...

    def takes_one(ctx: object) -> None: ...

    assert _takes_context(takes_one)
    assert _takes_context(lambda *args: None)
    assert not _takes_context(lambda **options: None)
    assert not _takes_context(lambda: None)
    assert not _takes_context(Called())
    assert not _takes_context(functools.partial(takes_one, None))
    assert _takes_context(max)  # does not tell
