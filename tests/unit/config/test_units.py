"""Durations and sizes as people write them."""

from __future__ import annotations

import math

import pytest

from supervisor_tree.config.units import format_duration, format_size, parse_duration, parse_size
from supervisor_tree.core.values import shown


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5.0),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("30d", 30 * 86400.0),
        ("0s", 0.0),
        ("1.5s", 1.5),
        ("5 s", 5.0),
        (5, 5.0),
        (0.1, 0.1),
    ],
)
def test_a_duration_is_read_as_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["5", "5 parsecs", "-5s", "", "s", "1w", "5S", -1, True, None, [], {}, math.nan, "٣s"],
)
def test_what_is_no_duration_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 250ms, 5s, 2m, 1h or 30d"):
        parse_duration(written)


@pytest.mark.parametrize("written", ["999999999h", 10**400, math.inf, "9" * 5000 + "s"])
def test_a_duration_beyond_ten_years_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="at most ten years"):
        parse_duration(written)


def test_infinity_is_a_duration_only_where_it_is_allowed() -> None:
    assert parse_duration("infinity", infinity=True) == math.inf
    with pytest.raises(ValueError, match="not infinity"):
        parse_duration("infinity")


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("64 KB", 64_000),
        ("20 MB", 20_000_000),
        ("1 GB", 10**9),
        ("512MiB", 512 * 2**20),
        ("1.5 kb", 1500),
        ("7 B", 7),
        ("4096", 4096),
        (4096, 4096),
        (0, 0),
    ],
)
def test_a_size_is_read_as_bytes(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["20 M", "many", "-1 KB", -1, 1.5, True, None, "", "²"])
def test_what_is_no_size_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match="must be a size such as 64 KB"):
        parse_size(written)


@pytest.mark.parametrize("written", ["99999999999 TB", 2**63])
def test_a_size_that_no_kernel_can_take_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_size(written)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0.25, "250ms"), (5, "5s"), (120, "2m"), (3600, "1h"), (172800, "2d"), (90, "90s"), (0, "0s")],
)
def test_a_duration_is_written_in_its_largest_whole_unit(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


def test_endless_and_odd_values_have_a_spelling_too() -> None:
    assert format_duration(math.inf) == "infinity"
    assert format_duration(0.0000001) == "0.0000001s"
    assert format_size(20_000_000) == "20 MB"
    assert format_size(0) == "0 B"
    assert format_size(1001) == "1001 B"


def test_a_value_is_shown_in_one_short_line() -> None:
    assert shown("x" * 1000).endswith("...'")
    assert len(shown("x" * 1000)) <= 60
    assert shown("a\nb") == r"'a\nb'"
    values: list[object] = [None, True, {}, [], 10**1000]
    assert [shown(value) for value in values] == [
        "nothing",
        "true",
        "a mapping",
        "a list",
        "a huge number",
    ]
