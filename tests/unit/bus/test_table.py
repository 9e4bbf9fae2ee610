"""The table of members: what the root writes is what everybody reads, at any moment."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor_tree.bus.directory import Member
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.table import End, Flag, Life, MemberTable, TableWriter, table_path
from supervisor_tree.core.specs import Acl, OnFull

RICH = Member(
    path="/chat/bot",
    description="talks",
    capabilities=("chat", "draw"),
    limit=7,
    on_full=OnFull.DROP_OLDEST,
    acl=Acl(may_call=("/a",), may_cast=(), may_publish=("x.>",), may_subscribe=("y",)),
    intercepts=("/chat/>", "/a"),
)


@pytest.fixture
def writer(tmp_path):
    writer = TableWriter(tmp_path)
    yield writer
    writer.close()


@pytest.fixture
def table(tmp_path):
    table = MemberTable(tmp_path)
    yield table
    table.close()


def test_a_table_that_is_not_there_has_no_members(table):
    assert table.member("/a") is None
    assert table.members() == []
    assert table.identify(os.getpid()) is None


def test_what_the_specification_says_is_read_as_it_was_written(writer, table):
    writer.put(RICH)
    writer.flush()
    assert table.member("/chat/bot") == Member(
        path=RICH.path,
        description=RICH.description,
        capabilities=RICH.capabilities,
        limit=RICH.limit,
        on_full=RICH.on_full,
        acl=RICH.acl,
        intercepts=RICH.intercepts,
        ready=False,
        inbox=False,
    )


def test_a_life_is_seen_at_once_without_another_flush(writer, table):
    writer.put(RICH)
    writer.flush()
    assert table.member("/chat/bot").pid is None
    writer.set_life("/chat/bot", Life(3, 4_194_303, Flag.READY | Flag.INBOX))
    member = table.member("/chat/bot")
    assert (member.generation, member.pid) == (3, 4_194_303)
    assert (member.ready, member.inbox, member.draining) == (True, True, False)
    assert table.identify(4_194_303) == Sender("/chat/bot", 3)
    writer.set_life("/chat/bot", Life(3, 0, 0))
    assert table.member("/chat/bot").pid is None
    assert table.identify(4_194_303) is None


def test_a_life_is_kept_when_other_members_come_and_go(writer, table):
    writer.put(Member(path="/a"))
    writer.put(Member(path="/b"))
    writer.set_life("/b", Life(9, 99, 0))
    writer.flush()
    assert table.member("/b").generation == 9
    writer.remove("/a")
    writer.put(Member(path="/c"))
    writer.flush()
    assert [member.path for member in table.members()] == ["/b", "/c"]
    assert table.member("/a") is None
    assert table.member("/b").generation == 9


def test_a_member_that_does_not_change_is_the_same_object(writer, table):
    writer.put(RICH)
    writer.flush()
    assert table.member("/chat/bot") is table.member("/chat/bot")


def test_the_epoch_tells_of_facts_and_not_of_lives(writer, table):
    writer.put(RICH)
    writer.flush()
    epoch = table.epoch
    writer.set_life(RICH.path, Life(1, 2, 0))
    assert table.epoch == epoch
    writer.put(replace(RICH, acl=Acl()))
    writer.flush()
    assert table.epoch != epoch
    assert table.member(RICH.path).acl == Acl()


def test_interceptors_are_known_in_the_order_in_which_they_joined(writer, table):
    assert table.interceptors() == ()
    for path in ("/a", "/b", "/c", "/d"):
        writer.put(Member(path=path, intercepts=() if path == "/b" else (f"{path}/>",)))
    writer.flush()
    assert table.interceptors() == (("/a", ("/a/>",)), ("/c", ("/c/>",)), ("/d", ("/d/>",)))
    writer.remove("/a")
    writer.put(Member(path="/c"))
    writer.flush()
    assert table.interceptors() == (("/d", ("/d/>",)),)


def test_all_are_found_while_another_table_comes_into_force(writer, table, monkeypatch):
    for path in ("/a", "/b", "/c"):
        writer.put(Member(path=path))
    writer.flush()
    look_up = table.member

    def look_up_meanwhile(path):
        writer.put(Member(path=f"{path}/new"))
        writer.flush()
        return look_up(path)

    monkeypatch.setattr(table, "member", look_up_meanwhile)
    assert [member.path for member in table.members()] == ["/a", "/b", "/c"]


def test_a_life_of_nobody_is_passed_over(writer, table):
    writer.set_life("/nobody", Life(1, 1, 0))
    writer.flush()
    assert table.members() == []


def test_a_file_that_is_no_table_has_no_members(tmp_path):
    for rubbish in (b"", b"short", bytes(4096)):
        table_path(tmp_path).write_bytes(rubbish)
        assert MemberTable(tmp_path).members() == []


PATHS = st.text(min_size=1, max_size=12).map(lambda text: "/" + text)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), PATHS),
        st.tuples(st.just("remove"), PATHS),
        st.tuples(st.just("life"), PATHS, st.integers(0, 2**32 - 1), st.integers(0, 2**22)),
    ),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(CHANGES)
def test_a_reader_sees_what_a_dictionary_would_hold(tmp_path, changes):
    writer, table = TableWriter(tmp_path), MemberTable(tmp_path)
    model: dict[str, tuple[int, int]] = {}
    for verb, path, *life in changes:
        if verb == "put":
            writer.put(Member(path=path))
            model.setdefault(path, (0, 0))
        elif verb == "remove":
            writer.remove(path)
            model.pop(path, None)
        else:
            writer.set_life(path, Life(*life))
            if path in model:
                model[path] = (life[0], life[1])
        writer.flush()
        seen = {member.path: (member.generation, member.pid or 0) for member in table.members()}
        assert seen == model
    table.close()
    writer.close()


ENDS = ("normal", "shutdown", "abnormal", "signal 9", "status 0", "status 255")


@pytest.mark.parametrize("reason", ENDS)
def test_the_end_of_a_life_is_read_as_it_was_told_also_from_the_next_table(writer, table, reason):
    writer.put(Member(path="/a"))
    writer.put(Member(path="/b"))
    writer.flush()
    assert table.last_end("/b") is None
    writer.set_end("/b", End(3, reason))
    writer.set_end("/nobody", End(1, "normal"))
    assert table.last_end("/b") == End(3, reason)
    assert table.last_end("/a") is table.last_end("/nobody") is None
    writer.put(Member(path="/c"))
    writer.flush()
    assert table.last_end("/b") == End(3, reason)
    writer.remove("/b")
    writer.put(Member(path="/b"))
    writer.flush()
    assert table.last_end("/b") is None, "another child of that name"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ({"kind": "normal", "code": 0}, "normal"),
        ({"kind": "shutdown", "signal": 15}, "shutdown"),
        ({"kind": "abnormal", "signal": 9, "code": None}, "signal 9"),
        ({"kind": "abnormal", "code": 3, "signal": None}, "status 3"),
        ({"kind": "abnormal"}, "abnormal"),
        ({}, "abnormal"),
    ],
)
def test_the_reason_of_an_event_in_two_words_at_most(reason, expected):
    assert End.of(1, reason) == End(1, expected)
