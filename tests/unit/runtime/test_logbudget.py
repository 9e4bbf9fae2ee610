"""Which log files are kept, and for how long."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree.runtime.logs.budget import Ages, Budget, Found, Verdict, decide

NOW = 1_700_000_000.0
DAY = 86400.0


def judge(*files: Found, total: int = 10**9, age: float | None = None, open_: str = "") -> Verdict:
    return decide(
        files, total=total, now=NOW, max_age=lambda _: age, is_open=lambda log: log in open_.split()
    )


def full(log: str, number: int, size: int = 1000) -> Found:
    """A rotated file; the higher its number, the younger it is."""
    return Found(f"{log}.{number}", log, size, NOW - 1000 + number)


def live(log: str, size: int = 1000, written: float = NOW) -> Found:
    return Found(log, log, size, written)


def test_what_is_young_and_small_is_kept() -> None:
    assert judge(full("a", 1), live("a"), live("b"), age=DAY) == Verdict([], [])


def test_a_file_that_nobody_has_written_for_its_age_goes() -> None:
    old = Found("a.1", "a", 10, NOW - DAY - 1)
    assert judge(old, full("a", 2), live("a"), age=DAY).delete == ["a.1"]
    assert judge(old, age=None).delete == []


def test_the_live_file_of_a_child_that_is_gone_gets_old_too() -> None:
    last = live("a", written=NOW - 2 * DAY)
    assert judge(last, age=DAY).delete == ["a"]
    assert judge(last, age=DAY, open_="a").delete == []


def test_beyond_the_budget_the_oldest_go_first() -> None:
    files = [full("ab"[number % 2], number) for number in range(10)]
    verdict = judge(*files, live("a"), live("b"), total=6400, open_="a b")
    assert verdict == Verdict(["a.0", "b.1", "a.2", "b.3", "a.4", "b.5"], [])


def test_a_quiet_log_keeps_its_old_lines_whatever_its_neighbours_write() -> None:
    quiet = [full("quiet", number, 500) for number in range(3)]
    loud = [full("loud", number, 5000) for number in range(10, 20)]
    verdict = judge(*quiet, *loud, total=30_000)
    assert verdict.delete == [f"loud.{number}" for number in range(10, 15)]


def test_what_small_logs_do_not_use_a_large_one_may() -> None:
    loud = [full("loud", number, 5000) for number in range(5)]
    assert judge(live("quiet", 10), *loud, total=30_000) == Verdict([], [])


def test_where_nothing_is_full_the_largest_live_files_are_begun_anew() -> None:
    files = (live("a", 3000), live("b", 6000))
    assert judge(*files, total=10_000, open_="a b") == Verdict([], ["b"])
    assert judge(*files, total=100_000, open_="a b") == Verdict([], [])


def test_many_live_files_that_are_all_too_large_are_begun_anew_together() -> None:
    files = [live(f"log{number}", 3000) for number in range(10)]
    names = " ".join(found.log for found in files)
    assert len(judge(*files, total=10_000, open_=names).rotate) == 8


SOME = st.lists(
    st.tuples(st.sampled_from("abcd"), st.booleans(), st.integers(1, 10_000), st.integers(0, 99)),
    max_size=30,
)


@given(SOME, st.integers(1000, 100_000))
def test_files_that_are_not_written_stay_within_the_budget_and_shares_are_respected(
    some: list[tuple[str, bool, int, int]], total: int
) -> None:
    files = [
        Found(f"{log}.{index}", log, size, NOW - age)
        for index, (log, _, size, age) in enumerate(some)
    ]
    verdict = judge(*files, total=total)
    kept = [found for found in files if found.file not in verdict.delete]
    assert sum(found.size for found in kept) <= total
    share = total * 7 // 8 // max(1, len({found.log for found in files}))
    for log in {found.log for found in files}:
        mine = [found for found in files if found.log == log]
        if sum(found.size for found in mine) <= share:
            assert all(found in kept for found in mine)


def test_a_log_that_has_not_been_heard_of_gets_as_old_as_any_may() -> None:
    ages = Ages(30 * DAY)
    ages.learn("a", DAY)
    assert (ages.of("a"), ages.of("b"), ages.shortest) == (DAY, 30 * DAY, DAY)
    ages.learn("a", 30 * DAY)
    assert ages.shortest == 30 * DAY
    assert Ages(None).shortest is None


def test_the_budget_deletes_files_and_names_those_to_begin_anew(tmp_path: Path) -> None:
    rotated = tmp_path / "chat" / "bot.2027-01-15_08-00-01_000000.log"
    rotated.parent.mkdir()
    rotated.write_bytes(b"x" * 5000)
    (tmp_path / "chat" / "bot.log").write_bytes(b"x" * 5000)
    (tmp_path / "other.log").write_bytes(b"x" * 100)
    (tmp_path / "notes.txt").write_bytes(b"x" * 50_000)
    os.utime(rotated, (NOW, NOW))
    budget = Budget(str(tmp_path), 6400, max_age=lambda _: None, is_open=lambda _: True)
    assert budget.spend(1)
    assert budget.enforce(NOW) == []
    assert not rotated.exists()
    assert not budget.spend(99)
    assert budget.spend(1)
    (tmp_path / "chat" / "bot.log").write_bytes(b"x" * 6000)
    assert budget.enforce(NOW) == [str(tmp_path / "chat" / "bot.log")]
    assert (tmp_path / "notes.txt").exists()


def test_short_ages_are_looked_after_more_often() -> None:
    budget = Budget("nowhere", 1, max_age=lambda _: None, is_open=lambda _: True)
    assert budget.interval_s == 3600
    budget.shortest_age = 80.0
    assert budget.interval_s == 10
