"""The numbered record of events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree.control.events import EventLog, rfc3339
from supervisor_tree.core.exits import KILLED
from supervisor_tree.core.lifecycle import EventName, LifecycleEvent


def event(path: str = "/a", **detail) -> LifecycleEvent:
    return LifecycleEvent(event=EventName.CHILD_READY, path=path, detail=detail)


def test_an_event_is_numbered_timed_and_flat():
    log = EventLog("demo", "life")
    record = log.append(event(delay_s=0.5), 1_700_000_000.25)
    assert record["seq"] == 1
    assert record["time"] == "2023-11-14T22:13:20.250Z"
    assert (record["host"], record["event"], record["path"]) == ("demo", "child_ready", "/a")
    assert record["delay_s"] == 0.5


def test_an_exit_reason_becomes_plain_data():
    record = EventLog("demo", "life").append(event(reason=KILLED), 0.0)
    assert record["reason"]["kind"] == "abnormal"
    assert record["reason"]["signal"] == 9
    assert record["reason"]["oom"] is False


def test_detail_cannot_overwrite_what_every_event_has():
    record = EventLog("demo", "life").append(event(seq=99, host="other"), 0.0)
    assert (record["seq"], record["host"]) == (1, "demo")


@given(st.integers(0, 40), st.integers(0, 50), st.integers(1, 20))
def test_numbers_have_no_holes_and_a_reader_can_tell_what_is_lost(written, since, kept):
    log = EventLog("demo", "life", kept=kept)
    for _ in range(written):
        log.append(event(), 0.0)
    first, events = log.since(since)
    numbers = [record["seq"] for record in events]
    assert numbers == list(range(max(first, since + 1), written + 1))
    assert first == max(1, written - kept + 1)
    assert len(numbers) <= kept


def test_a_page_is_cut_from_its_beginning():
    log = EventLog("demo", "life")
    for _ in range(10):
        log.append(event(), 0.0)
    assert [record["seq"] for record in log.since(3, 2)[1]] == [4, 5]
    assert [record["seq"] for record in log.last(2)] == [9, 10]
    assert log.last(0) == []


def test_times_are_utc_whatever_the_zone():
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
