"""Specifications: OTP's errors, plain data, cycles of needs."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from supervisor_tree.core.checks import check_child, check_supervisor, template_of
from supervisor_tree.core.exits import NORMAL, SHUTDOWN, ExitKind, reason_of_status
from supervisor_tree.core.needs import find_cycle
from supervisor_tree.core.specdata import (
    logs_from_data,
    spec_from_data,
    supervisor_from_data,
    to_data,
)
from supervisor_tree.core.specs import (
    Acl,
    AutoShutdown,
    Backoff,
    ChildSpec,
    Condition,
    Kind,
    Logs,
    Mailbox,
    Need,
    OnFull,
    Readiness,
    Ready,
    StartMode,
    Strategy,
    SupervisorSpec,
    Watchdog,
)

NEVER, ANY = AutoShutdown.NEVER, AutoShutdown.ANY_SIGNIFICANT
GOOD = ChildSpec(id="a", agent="m:a")
PERMANENT_SIGNIFICANT = (("restart", "permanent"), ("significant", True))
SIMPLE = Strategy.SIMPLE_ONE_FOR_ONE
SMALL = Mailbox(limit=3, on_full=OnFull.DROP_OLDEST)


def bad(**fields: Any) -> Any:
    """OTP's error for GOOD with these fields, under any_significant."""
    return check_child(replace(GOOD, **fields), ANY)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"id": ""}, "missing_id"),
        ({"id": None}, "missing_id"),
        ({"id": "a/b"}, ("invalid_id", "a/b")),
        ({"id": ("a",)}, ("invalid_id", "('a',)")),
        ({"agent": None}, "missing_start"),
        ({"command": ("x",)}, ("invalid_mfa", "a")),
        ({"restart": "sometimes"}, ("invalid_restart_type", "sometimes")),
        ({"restart": 3}, ("invalid_restart_type", 3)),
        ({"significant": True}, ("bad_combination", PERMANENT_SIGNIFICANT)),
        ({"significant": "maybe"}, ("invalid_significant", "maybe")),
        ({"type": "wrker"}, ("invalid_child_type", "wrker")),
        ({"shutdown": -1}, ("invalid_shutdown", -1)),
        ({"shutdown": True}, ("invalid_shutdown", True)),
        ({"shutdown": "infinity"}, None),
        ({"shutdown": 0}, None),
    ],
)  # fmt: skip
def test_a_child_specification_is_refused_in_otps_words(fields: dict[str, Any], error: Any):
    assert bad(**fields) == error


def test_significant_needs_an_automatic_shutdown():
    error = check_child(replace(GOOD, significant=True), NEVER)
    assert error == ("bad_combination", (("auto_shutdown", "never"), ("significant", True)))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"strategy": "none"}, ("supervisor_data", ("invalid_strategy", "none"))),
        ({"intensity": -1}, ("supervisor_data", ("invalid_intensity", -1))),
        ({"intensity": True}, ("supervisor_data", ("invalid_intensity", True))),
        ({"period": 0}, ("supervisor_data", ("invalid_period", 0))),
        ({"period": None}, ("supervisor_data", ("invalid_period", None))),
        ({"auto_shutdown": "x"}, ("supervisor_data", ("invalid_auto_shutdown", "x"))),
        ({"children": (GOOD, GOOD)}, ("start_spec", ("duplicate_child_name", "a"))),
        ({"children": (replace(GOOD, id=""),)}, ("start_spec", "missing_id")),
        ({"strategy": SIMPLE}, ("bad_start_spec", 0)),
        ({"strategy": SIMPLE, "children": (GOOD, GOOD)}, ("bad_start_spec", 2)),
        ({"strategy": SIMPLE, "child": replace(GOOD, id="")}, ("start_spec", "missing_id")),
        ({"strategy": SIMPLE, "child": GOOD}, None),
        ({"child": GOOD}, ("bad_start_spec", 1)),
        ({"children": (GOOD,)}, None),
    ],
)
def test_a_supervisor_specification_is_refused_in_otps_words(fields: dict[str, Any], error: Any):
    assert check_supervisor(replace(SupervisorSpec(), **fields)) == error


def test_a_supervisor_without_children_has_no_template():
    assert template_of(SupervisorSpec()) is None


def test_a_specification_survives_the_way_through_plain_data():
    spec = SupervisorSpec(
        strategy=Strategy.REST_FOR_ONE,
        start=StartMode.CONCURRENT,
        children=(
            replace(GOOD, backoff=Backoff(max=3.0), needs=(Need(child="b"),), args={"x": (1, 2)}),
            ChildSpec(id="b", command=("true", "x"), readiness=Readiness.NONE, env={"A": "b"}),
            ChildSpec(id="d", command=("true",), ready=Ready(tcp=80), watchdog=Watchdog(idle=9.0)),
            ChildSpec(id="s", supervisor=SupervisorSpec(strategy=SIMPLE, child=GOOD)),
            replace(GOOD, id="c", acl=Acl(may_call=(), may_cast=("/a",)), mailbox=SMALL),
        ),
    )
    data = to_data(spec)
    assert data["children"][0]["needs"] == [{"child": "b"}]
    assert data["children"][4]["acl"] == {"may_call": [], "may_cast": ["/a"]}
    assert data["children"][4]["mailbox"] == {"limit": 3, "on_full": "drop_oldest"}
    assert data["children"][3]["supervisor"]["child"] == {"id": "a", "agent": "m:a"}
    assert data["children"][2]["ready"] == {"tcp": 80}
    again = supervisor_from_data(data)
    assert to_data(again) == data
    assert again.children[1:] == spec.children[1:]


def test_a_wrong_word_is_kept_for_the_supervisor_to_refuse():
    assert spec_from_data({"id": "a", "agent": "m:a", "restart": "maybe"}).restart == "maybe"
    number: object = spec_from_data({"id": "a", "agent": "m:a", "restart": 7}).restart
    assert number == 7
    assert spec_from_data({"id": "a", "agent": "m:a", "backoff": None}).backoff is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"id": "a", "colour": 1}, "unknown key 'colour'"),
        ({"agent": "m:a"}, "missing"),
        ("hello", "a map is expected"),
        ({"id": "a", "needs": 3}, "a list is expected"),
        ({"id": "a", "command": "sleep 60"}, "a list is expected"),
    ],
)
def test_data_of_the_wrong_shape_is_refused(data: Any, message: str):
    with pytest.raises(ValueError, match=message):
        spec_from_data(data)


def test_kinds_and_readiness_have_their_defaults():
    program = ChildSpec(id="p", command=("true",))
    nested = ChildSpec(id="s", supervisor=SupervisorSpec())
    assert [spec.kind for spec in (GOOD, program, nested)] == [
        Kind.AGENT, Kind.PROGRAM, Kind.SUPERVISOR,
    ]  # fmt: skip
    assert GOOD.readiness_or_default is Readiness.NOTIFY
    assert program.readiness_or_default is Readiness.NONE
    assert replace(program, readiness=Readiness.NOTIFY).readiness_or_default is Readiness.NOTIFY
    assert (GOOD.shutdown_or_default, nested.shutdown_or_default) == (5.0, "infinity")


def needing(child_id: str, *needs: str, inner: SupervisorSpec | None = None) -> ChildSpec:
    return ChildSpec(
        id=child_id,
        agent=None if inner else "m:a",
        supervisor=inner,
        needs=tuple(Need(child=need, condition=Condition.READY) for need in needs),
    )


def at_once(*children: ChildSpec) -> SupervisorSpec:
    return SupervisorSpec(start=StartMode.CONCURRENT, children=children)


def test_children_that_need_each_other_are_found():
    assert find_cycle(at_once(needing("a", "b"), needing("b", "/a"))) == ["/a", "/b", "/a"]
    assert find_cycle(at_once(needing("a", "a"))) == ["/a", "/a"]


def test_needs_without_a_ring_are_sound():
    tree = at_once(needing("a", "b", "c"), needing("b", "c"), needing("c", "/nowhere"))
    assert find_cycle(tree) is None


def test_in_sequence_nobody_can_need_a_later_one():
    assert find_cycle(SupervisorSpec(children=(needing("a", "b"), needing("b")))) is not None
    assert find_cycle(SupervisorSpec(children=(needing("a"), needing("b", "a")))) is None


def test_a_group_restart_needs_an_order_so_start_concurrent_does_not_hold_there():
    ring = replace(at_once(needing("a", "b"), needing("b")), strategy=Strategy.REST_FOR_ONE)
    assert find_cycle(ring) is not None
    assert find_cycle(replace(ring, strategy=Strategy.ONE_FOR_ONE)) is None


def test_a_template_starts_nobody_so_it_keeps_nobody_waiting():
    pool = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, children=(needing("w", "/later"),))
    assert (
        find_cycle(SupervisorSpec(children=(needing("pool", inner=pool), needing("later")))) is None
    )


def test_one_environment_file_or_several():
    assert GOOD.env_files == ()
    assert replace(GOOD, env_file="a").env_files == ("a",)
    assert replace(GOOD, env_file=("a", "b")).env_files == ("a", "b")


def test_a_child_waits_for_what_its_supervisor_waits_for():
    inner = at_once(needing("x"))
    assert find_cycle(at_once(needing("s", "b", inner=inner), needing("b", "/s/x"))) is not None


def test_a_supervisor_whose_needs_are_met_at_once_keeps_a_concurrent_one_waiting():
    """/p is not ready before /p/s, which waits for its child, which waits for /p."""
    inner = at_once(needing("x", "/p"))
    in_turn = replace(inner, start=StartMode.SEQUENTIAL)
    group = at_once(needing("s", "/q", inner=in_turn))
    tree = at_once(needing("q"), needing("p", inner=group))
    assert find_cycle(tree) == ["/p/s/x", "/p", "/p/s", "/p/s/x"]
    # Where x alone waits, s does not wait for it.
    free = at_once(needing("s", "/q", inner=inner))
    assert find_cycle(at_once(needing("q"), needing("p", inner=free))) is None


def test_a_supervisor_whose_needs_cannot_be_met_yet_keeps_no_concurrent_one_waiting():
    inner = SupervisorSpec(children=(needing("x", "/p"),))
    later = at_once(needing("s", "/q", inner=inner))
    assert find_cycle(at_once(needing("q", "/p"), needing("p", inner=later))) is None
    sibling = at_once(needing("b"), needing("s", "b", inner=inner))
    assert find_cycle(at_once(needing("p", inner=sibling))) is None


@pytest.mark.parametrize(
    ("status", "kind", "term"),
    [
        ({"code": 0, "signal": None, "asked": False}, ExitKind.NORMAL, "normal"),
        ({"code": 0, "signal": None, "asked": True}, ExitKind.SHUTDOWN, "shutdown"),
        ({"code": 3, "signal": None, "asked": True}, ExitKind.ABNORMAL, ("status", 3)),
        ({"code": None, "signal": 15, "asked": False}, ExitKind.SHUTDOWN, "shutdown"),
        ({"code": None, "signal": 9, "asked": True}, ExitKind.ABNORMAL, "killed"),
        ({"code": None, "signal": 11, "asked": False}, ExitKind.ABNORMAL, ("signal", 11)),
    ],
)
def test_a_wait_status_is_an_exit_reason(status: dict[str, Any], kind: ExitKind, term: Any):
    reason = reason_of_status(stop_signal=15, **status)
    assert (reason.kind, reason.term) == (kind, term)
    assert NORMAL.clean
    assert SHUTDOWN.clean


def test_limits_of_logs_are_read_as_they_were_told() -> None:
    logs = Logs(max_age=None, redact=("default", "x=."))
    plain = {**asdict(logs), "redact": ["default", "x=."]}
    assert logs_from_data(plain) == logs
    with pytest.raises(ValueError, match="unknown key"):
        logs_from_data({"speed": 1})
