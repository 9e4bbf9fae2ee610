"""The files of reports, of boots and of leaks: bounded, private, and no harm if they are broken."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import cast

import pytest

from supervisor_tree.runtime.boots import BootLedger, read_boots
from supervisor_tree.runtime.chronicle import Chronicle
from supervisor_tree.runtime.clock import SystemClock
from supervisor_tree.runtime.desk import Desk
from supervisor_tree.runtime.leaks import LeakLedger
from supervisor_tree.runtime.reactor import Reactor
from supervisor_tree.runtime.reporter import Reporter, kind_of
from supervisor_tree.runtime.reports import KEPT, Reports, read_report, report_files

WALL = 1_700_000_000.0


def content(path: str = "/chat/bot", kind: str = "crash", **more) -> dict:
    return {"kind": kind, "path": path, **more}


# --- reports ---------------------------------------------------------------------------------


def test_a_report_is_private_and_says_in_its_name_what_it_is(tmp_path: Path) -> None:
    file = Reports(tmp_path / "reports").write(content(), WALL)
    assert file is not None
    assert file.name == "20231114T221320.000Z-1-crash-chat.bot.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert read_report(file) == content()


def test_the_last_twenty_are_kept(tmp_path: Path) -> None:
    reports = Reports(tmp_path)
    for second in range(KEPT + 5):
        reports.write(content(), WALL + second)
    assert len(report_files(tmp_path)) == KEPT
    assert report_files(tmp_path)[0].name.startswith("20231114T221325")


def test_what_is_no_report_is_neither_shown_nor_deleted(tmp_path: Path) -> None:
    for name in ("notes.txt", "x.json", "20231114T221320.000Z-1-crash.new"):
        (tmp_path / name).write_text("{}")
    reports = Reports(tmp_path)
    for second in range(KEPT + 1):
        reports.write(content(), WALL + second)
    assert (tmp_path / "notes.txt").exists()
    assert not any(file.name == "x.json" for file in report_files(tmp_path))


@pytest.mark.parametrize("path", ["/", "/a b/../c", "/ü/" + "x" * 300])
def test_any_path_makes_a_good_name(tmp_path: Path, path: str) -> None:
    file = Reports(tmp_path).write(content(path), WALL)
    assert report_files(tmp_path) == [file]


def test_a_report_without_room_is_counted_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("no directory")
    reports = Reports(tmp_path / "reports")
    assert reports.write(content(), WALL) is None
    assert reports.lost == 1
    assert reports.problem


@pytest.mark.parametrize("text", ["[]", "[" * 400_000])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(ValueError, match="is no report"):
        read_report(tmp_path / "x")


EXITED = {"event": "child_exited", "path": "/a", "kind": "agent", "asked": False}


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (EXITED | {"reason": {"kind": "abnormal"}}, "crash"),
        (EXITED | {"reason": {"kind": "abnormal"}, "asked": True}, None),
        (EXITED | {"reason": {"kind": "abnormal"}, "kind": "supervisor"}, None),
        (EXITED | {"reason": {"kind": "normal"}}, None),
        (EXITED | {"reason": {"kind": "abnormal", "watchdog": "idle"}, "asked": True}, "watchdog"),
        (EXITED | {"path": "/_/build.a", "reason": {"kind": "abnormal"}}, None),
        ({"event": "intensity_reached", "path": "/"}, "intensity"),
        ({"event": "child_ready", "path": "/a"}, None),
    ],
)
def test_what_is_worth_a_report(record: dict, kind: str | None) -> None:
    assert kind_of(record) == kind


def test_a_report_that_cannot_be_made_is_lost_and_nothing_else_with_it(tmp_path: Path) -> None:
    reports, reactor = Reports(tmp_path), Reactor(SystemClock())
    chronicle, log = Chronicle(lambda: WALL, terminal=False), list[str]()
    nobody = cast(Desk, None)
    reporter = Reporter(nobody, reactor, reports, chronicle)
    assert reporter.write("host_crash", "there is no desk to ask") is None
    chronicle.write_to(log.append)
    assert reports.lost == 1
    assert "Traceback" in log[0]
    assert "a report (host_crash, /) is lost: AttributeError" in log[0]
    reactor.close()


# --- boots -----------------------------------------------------------------------------------


def test_lives_that_were_cut_off_are_remembered_until_one_too_many(tmp_path: Path) -> None:
    for number in range(3):
        ledger = BootLedger(tmp_path, f"life-{number}")
        assert ledger.begin(WALL + number, breaker=True) is False
        _as_if_killed(tmp_path)
    last = BootLedger(tmp_path, "life-4")
    assert last.unclean(WALL + 4) == 3
    assert last.begin(WALL + 4, breaker=True) is True
    assert read_boots(tmp_path)[-1]["safe_mode"] is True
    assert BootLedger(tmp_path, "life-5").begin(WALL + 5, breaker=False) is False
    assert BootLedger(tmp_path, "life-6").begin(WALL + 1000, breaker=True) is False


def test_a_life_that_ends_in_order_says_so(tmp_path: Path) -> None:
    for number in range(5):
        ledger = BootLedger(tmp_path, f"life-{number}")
        assert ledger.begin(WALL + number, breaker=True) is False
        ledger.end("stopped")
    assert [boot["outcome"] for boot in read_boots(tmp_path)] == ["stopped"] * 5
    assert (tmp_path / "boots.json").stat().st_mode & 0o777 == 0o600


def test_a_life_that_goes_on_beside_is_not_taken_for_one_that_was_cut_off(tmp_path: Path) -> None:
    for number in range(4):  # all of them with the pid of this process, which lives
        ledger = BootLedger(tmp_path, f"life-{number}")
        assert ledger.begin(WALL + number, breaker=True) is False


def _as_if_killed(state_dir: Path) -> None:
    """The process of the last boot is gone: nobody has its pid and start time."""
    boots = read_boots(state_dir)
    boots[-1]["start_ticks"] = -1
    (state_dir / "boots.json").write_text(json.dumps({"boots": boots}))


@pytest.mark.parametrize("text", ["", "[]", '{"boots": 7}', '{"boots": [7]}', '{"boots": [{}]}'])
def test_a_ledger_that_cannot_be_read_keeps_no_host_from_starting(tmp_path: Path, text) -> None:
    (tmp_path / "boots.json").write_text(text)
    assert BootLedger(tmp_path, "x").begin(WALL, breaker=True) is False
    assert len(read_boots(tmp_path)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        {"pid": "a\0b"},
        {"outcome": [1]},
        {"began": True},
        {"boot_id": None},
        {"time": {"a": 1}},
    ],
)
def test_a_boot_that_nobody_has_written_so_is_left_out(tmp_path: Path, damage) -> None:
    BootLedger(tmp_path, "whole").begin(WALL, breaker=True)
    boots = read_boots(tmp_path)
    boots.append(boots[0] | damage)
    (tmp_path / "boots.json").write_text(json.dumps({"boots": boots}))
    assert BootLedger(tmp_path, "next").begin(WALL, breaker=True) is False
    assert [boot["instance"] for boot in read_boots(tmp_path)] == ["whole", "next"]


def test_a_ledger_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    ledger = BootLedger(tmp_path / "missing", "x")
    assert ledger.begin(WALL, breaker=True) is False
    assert "cannot write" in ledger.problem


# --- leaks -----------------------------------------------------------------------------------


def leaked(pid: int = 7, **more) -> dict:
    processes = [{"pid": pid, "command": "daemon -d"}]
    record = {"event": "child_leaked", "time": "t", "path": "/a", "generation": 2}
    return record | {"processes": processes, "ended": True} | more


def test_what_has_escaped_is_still_known_to_the_next_life(tmp_path: Path) -> None:
    ledger = LeakLedger(tmp_path)
    ledger.heard({"event": "child_ready"})
    ledger.heard(leaked())
    entry = {"time": "t", "path": "/a", "generation": 2, "pid": 7, "command": "daemon -d"}
    assert ledger.entries() == [entry | {"ended": True}]
    LeakLedger(tmp_path).heard(leaked(8))
    assert [each["pid"] for each in LeakLedger(tmp_path).entries()] == [7, 8]
    assert (tmp_path / "leaks.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_ledger_of_leaks_does_not_grow_for_ever(tmp_path: Path) -> None:
    ledger = LeakLedger(tmp_path)
    many = [{"pid": pid, "command": "x" * 190} for pid in range(400)]
    for _ in range(10):
        ledger.heard(leaked(processes=many))
    assert len(ledger.entries()) == 1000
    assert os.stat(tmp_path / "leaks.jsonl").st_size < 1_000_000
    assert len(LeakLedger(tmp_path).entries()) <= 1000


def test_a_line_that_was_cut_off_loses_itself_alone(tmp_path: Path) -> None:
    LeakLedger(tmp_path).heard(leaked())
    with (tmp_path / "leaks.jsonl").open("ab") as file:
        file.write(b'{"pid": 1, "pa\n[]\n')
    LeakLedger(tmp_path).heard(leaked(9))
    assert [each["pid"] for each in LeakLedger(tmp_path).entries()] == [7, 9]


@pytest.mark.parametrize("line", ["[" * 400_000, '{"pid": 1}', "7", '{"a": ' * 90_000])
def test_a_line_of_another_making_loses_itself_alone(tmp_path: Path, line: str) -> None:
    LeakLedger(tmp_path).heard(leaked())
    with (tmp_path / "leaks.jsonl").open("a") as file:
        file.write(line + "\n")
    assert [each["pid"] for each in LeakLedger(tmp_path).entries()] == [7]


def test_a_leak_that_cannot_be_written_is_counted_and_still_told(tmp_path: Path) -> None:
    ledger = LeakLedger(tmp_path / "missing")
    ledger.heard(leaked())
    assert ledger.lost == 1
    assert len(ledger.entries()) == 1
