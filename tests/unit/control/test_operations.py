"""What each verb of the control socket answers, over the real core."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from supervisor_tree.control.diagnosis_verbs import explained
from supervisor_tree.control.holds import Asker, Hold
from supervisor_tree.control.sentences import sentences
from supervisor_tree.core.exits import NORMAL
from supervisor_tree.core.specs import (
    Backoff,
    ChildSpec,
    OnLimit,
    Readiness,
    Restart,
    Strategy,
    SupervisorSpec,
)
from supervisor_tree.core.stimuli import BootRequested
from supervisor_tree.errors import (
    NoSuchChild,
    OperationFailed,
    TimedOut,
    TryAgain,
    UsageError,
)
from tests.unit.control.stage import CRASH, StagedHost, program

ROW_KEYS = (
    *("path", "id", "kind", "state", "ready", "pid", "generation", "restarts", "uptime_s"),
    *("wanted", "last_exit", "rss_bytes", "cpu_percent"),
)


def group(id: str, *children: ChildSpec, **flags) -> ChildSpec:
    return ChildSpec(id=id, supervisor=SupervisorSpec(children=children, **flags))


@pytest.fixture
def host() -> StagedHost:
    return StagedHost(program("a"), group("chat", program("b"), program("c"))).boot()


def paths_of(rows) -> list[str]:
    return [row["path"] for row in rows]


# --- looking --------------------------------------------------------------------------------------


def test_status_lists_the_tree_with_exactly_the_promised_keys(host):
    rows = host.ask("status").value
    assert paths_of(rows) == ["/", "/a", "/chat", "/chat/b", "/chat/c"]
    assert all(tuple(row) == ROW_KEYS for row in rows)
    assert [row["kind"] for row in rows[:3]] == ["supervisor", "program", "supervisor"]
    assert rows[1]["state"] == "running"
    assert rows[1]["ready"] is True


def test_status_of_a_path_is_its_sub_tree(host):
    assert paths_of(host.ask("status", path="/chat").value) == ["/chat", "/chat/b", "/chat/c"]
    assert paths_of(host.ask("status", path="chat/b/").value) == ["/chat/b"]


def test_uptime_counts_from_the_start_of_the_life(host):
    host.advance(7.0)
    assert host.ask("status", path="/a").value[0]["uptime_s"] == 7.0
    host.ask("stop", paths=["/a"])
    assert host.ask("status", path="/a").value[0]["uptime_s"] is None
    assert host.ask("status", path="/chat").value[0]["uptime_s"] == 7.0
    host.ask("stop", paths=["/chat"])
    assert host.ask("status", path="/chat").value[0]["uptime_s"] is None


def test_a_path_that_is_not_there_is_named(host):
    for verb, args in (("status", {"path": "/x"}), ("show", {"path": "/x"})):
        error = host.ask(verb, **args).error
        assert isinstance(error, NoSuchChild)
        assert "/x" in str(error)


def test_tree_is_nested_and_tells_strategies(host):
    (top,) = host.ask("tree").value
    assert top["path"] == "/"
    assert top["strategy"] == "one_for_one"
    assert paths_of(top["children"]) == ["/a", "/chat"]
    assert paths_of(top["children"][1]["children"]) == ["/chat/b", "/chat/c"]
    assert "children" not in top["children"][0]
    (below,) = host.ask("tree", path="/chat").value
    assert below["path"] == "/chat"


def test_show_tells_specification_history_and_what_the_child_says(host):
    host.exit("/a")
    shown = host.ask("show", path="/a").value
    assert shown["spec"]["command"] == ["true"]
    assert shown["said"] == "working"
    assert shown["last_exit"]["code"] == 1
    assert [line["to"] for line in shown["story"]][:2] == ["starting", "running"]
    assert shown["story"][0]["time"].endswith("Z")


def test_show_tells_when_a_child_starts_again():
    slow = Backoff(initial=5.0, jitter=0.0)
    host = StagedHost(program("a", backoff=slow)).boot()
    host.exit("/a")
    host.clock += 2.0
    shown = host.ask("show", path="/a").value
    assert shown["state"] == "backoff"
    assert shown["next_start_in_s"] == pytest.approx(3.0)


def test_a_snapshot_names_the_number_of_the_last_event_it_holds(host):
    snapshot = host.ask("snapshot").value
    assert snapshot["instance"] == "life-1"
    assert snapshot["seq"] == host.log.seq
    assert len(snapshot["rows"]) == 5


def test_events_are_read_page_by_page(host):
    page = host.ask("events", since=0, limit=3).value
    assert [event["seq"] for event in page["events"]] == [1, 2, 3]
    assert page["next"] == 4
    rest = host.ask("events", since=page["next"] - 1).value
    assert rest["events"][0]["seq"] == 4
    assert rest["next"] == host.log.seq + 1
    assert host.ask("events", last=1).value["events"][0]["seq"] == host.log.seq


def test_health_counts_what_is_not_ready():
    host = StagedHost(program("a"), program("b", readiness=Readiness.NOTIFY))
    host.slow = {"/b"}
    host.boot()
    found = host.ask("health").value
    assert found["not_ready"] == len(found["missing"]) >= 1
    assert found["missing"][0] == "/b"
    host.ready("/b")
    health = host.ask("health").value
    assert (health["state"], health["ready"], health["not_ready"]) == ("running", True, 0)
    assert health["missing"] == []
    assert health["children"] == 2
    host.left_out = [{"file": "/x.yaml", "path": "/x", "problems": ["x"], "goes_on": False}]
    assert host.ask("health").value["ready"] is False


@pytest.mark.parametrize("verb", ["start", "enable", "reset_failed"])
def test_health_misses_a_child_whose_start_by_order_has_failed(verb):
    host = StagedHost(program("a", on_limit=OnLimit.PARK, backoff=Backoff()), intensity=0).boot()
    if verb == "reset_failed":
        host.exit("/a")
    else:
        host.ask("stop" if verb == "start" else "disable", paths=["/a"])
    host.slow.add("/a")
    request = host.ask(verb, paths=["/a"])
    host.exit("/a")
    assert "cannot" in str(request.error)
    assert host.row("/a").wanted == "up"
    assert host.ask("health").value["not_ready"] == 1


def test_log_files_are_placed_without_the_child_being_there(host):
    assert host.ask("logs_info", path="/a").value["known"] is True
    gone = host.ask("logs_info", path="/gone").value
    assert gone["known"] is False
    assert gone["log_dir"] == "/run/x/logs"


# --- orders ---------------------------------------------------------------------------------------


def test_stop_and_start_say_when_it_was_so_already(host):
    assert host.ask("stop", paths=["/a"]).value == {"/a": "done"}
    assert host.ask("stop", paths=["/a"]).value == {"/a": "already"}
    assert host.row("/a").wanted == "down"
    assert host.ask("start", paths=["/a"]).value == {"/a": "done"}
    assert host.ask("start", paths=["/a"]).value == {"/a": "already"}
    assert host.row("/a").generation == 2


def test_a_supervisor_is_stopped_and_started_with_all_below_it(host):
    assert host.ask("stop", paths=["/chat"]).value == {"/chat": "done"}
    assert host.row("/chat").state == "stopped"
    assert host.ask("start", paths=["/chat"]).value == {"/chat": "done"}
    assert host.row("/chat/c").state == "running"


def test_start_of_a_group_that_runs_starts_what_was_stopped_below_it(host):
    host.ask("stop", paths=["/chat/b"])
    assert host.ask("start", paths=["/chat"]).value == {"/chat": "done"}
    assert host.row("/chat/b").state == "running"
    assert host.ask("start", paths=["/chat"]).value == {"/chat": "already"}


def test_an_order_about_several_paths_is_answered_when_the_last_is_done(host):
    host.stubborn = {"/chat/c"}
    request = host.ask("stop", paths=["/a", "/chat/c"])
    assert host.row("/a").state == "stopped"
    assert not request.answered
    assert host.ask("ping").answered, "a pending stop held up another request"
    host.exit("/chat/c", CRASH)
    assert request.value == {"/a": "done", "/chat/c": "done"}


def test_an_order_that_need_not_be_awaited_is_answered_at_once(host):
    host.stubborn = {"/a"}
    request = host.ask("stop", paths=["/a"], wait=False)
    assert request.value == {"/a": "asked"}
    host.exit("/a")
    assert host.row("/a").state == "stopped"


def test_what_an_operator_has_stopped_is_remembered_with_who_and_why(host):
    assert host.ask("stop", paths=["/a"], why="token expired").value == {"/a": "done"}
    (hold,) = host.ask("holds").value["holds"]
    assert (hold["path"], hold["down"], hold["known"]) == ("/a", True, True)
    assert (hold["verb"], hold["uid"], hold["why"]) == ("stop", 1000, "token expired")
    assert host.ask("show", path="/a").value["hold"]["why"] == "token expired"
    assert host.ask("show", path="/chat").value["hold"] is None
    host.ask("start", paths=["/a"])
    assert host.ask("holds").value == {"problem": "", "holds": []}


@pytest.mark.parametrize("why", [["no", "text"], "x" * 1001])
def test_a_reason_that_is_no_short_text_is_refused_and_nothing_is_stopped(host, why):
    assert isinstance(host.ask("stop", paths=["/a"], why=why).error, UsageError)
    assert host.row("/a").wanted == "up"


def test_the_hosts_log_says_who_has_ordered_what_and_why(host):
    host.ask("kill", paths=["/a", "/chat/b"], why="it\nhangs")
    host.ask("restart", paths=["/a"])
    host.ask("signal", paths=["/chat"], signal="hup")
    host.ask("delete_child", supervisor="/chat", id="c")
    host.ask("kill", paths=["/nobody"])
    host.ask("shutdown")
    assert host.said_to_log == [
        "kill /a /chat/b: asked for by uid 1000 (pid 99): it\\nhangs",
        "restart /a: asked for by uid 1000 (pid 99)",
        "signal SIGHUP /chat/b /chat/c: asked for by uid 1000 (pid 99)",
        "delete_child /chat c: asked for by uid 1000 (pid 99)",
        "shutdown: asked for by uid 1000 (pid 99)",
    ]


def test_a_line_of_the_hosts_log_has_room_for_twenty_paths(host):
    asker = Asker("stop")
    line = asker.line(*(f"/x{number}" for number in range(1000)))
    assert line.endswith("/x19 and 980 more: asked for by unknown")


def test_a_child_that_is_killed_by_an_operator_has_ended_as_asked(host):
    host.ask("kill", paths=["/a"])
    ended = [event for event in host.log.last(10) if event["event"] == "child_exited"]
    assert [event["asked"] for event in ended] == [True]


def test_an_order_that_cannot_be_remembered_is_carried_out_and_says_so(host):
    host.full = True
    assert host.ask("stop", paths=["/a"]).value == {"/a": "unremembered"}
    assert host.row("/a").state == "stopped"
    assert host.ask("holds").value["problem"] == "no room"


def test_what_was_ordered_about_nobody_is_forgotten_by_start(host):
    host.tree.held["/gone"] = True
    host.held["/gone"] = Hold(path="/gone", down=True, since="then")
    assert host.ask("holds").value["holds"][0]["known"] is False
    assert host.ask("start", paths=["/gone"]).value == {"/gone": "released"}
    assert isinstance(host.ask("start", paths=["/gone"]).error, NoSuchChild)


def test_status_tells_on_demand_what_keeps_a_child_down(host):
    host.ask("stop", paths=["/a"])
    host.ask("disable", paths=["/chat/b"])
    rows = {row["path"]: row for row in host.ask("status", why=True).value}
    assert rows["/a"]["kept_down_by"] == "order"
    assert rows["/chat/b"]["kept_down_by"] == "specification"
    assert rows["/chat/c"]["kept_down_by"] is None


def test_disable_and_enable_change_the_specification_and_leave_no_order_behind(host):
    assert host.ask("disable", paths=["/a"]).value == {"/a": "done"}
    assert host.ask("disable", paths=["/a"]).value == {"/a": "already"}
    assert host.ask("holds").value["holds"] == []
    assert host.tree.spec("/a").enabled is False
    assert host.ask("enable", paths=["/a"]).value == {"/a": "done"}
    assert host.row("/a").state == "running"
    assert host.tree.spec("/").children[0].enabled is True


def test_what_is_below_a_stopped_supervisor_is_amended_and_who_is_nobody_is_told(host):
    host.ask("stop", paths=["/chat"])
    answer = host.ask("disable", paths=["/chat/b", "/nobody"]).value
    assert answer == {"/chat/b": "absent", "/nobody": "unknown"}
    host.ask("start", paths=["/chat"])
    assert host.row("/chat/b").kept_down_by == "specification"
    assert host.row("/chat/c").state == "running"


def test_explain_says_who_keeps_a_child_down_and_why(host):
    host.ask("stop", paths=["/a"], why="token expired")
    lines = sentences(explained(host, "/a"))
    assert "an operator has stopped it (now: token expired)" in " ".join(lines)
    host.ask("disable", paths=["/chat/b"])
    assert "`enable /chat/b`" in " ".join(sentences(explained(host, "/chat/b")))


def test_an_instance_of_a_template_is_neither_enabled_nor_disabled():
    host = StagedHost(
        ChildSpec(
            id="pool",
            supervisor=SupervisorSpec(
                strategy=Strategy.SIMPLE_ONE_FOR_ONE, child=program("template")
            ),
        )
    ).boot()
    host.ask("start_child", supervisor="/pool", name="w1")
    for verb in ("enable", "disable"):
        error = host.ask(verb, paths=["/pool/w1"]).error
        assert isinstance(error, UsageError)
        assert "template" in str(error)
    assert host.row("/pool/w1").state == "running"


def test_one_unknown_path_stops_nothing(host):
    request = host.ask("stop", paths=["/a", "/nowhere"])
    assert isinstance(request.error, NoSuchChild)
    assert host.row("/a").state == "running"


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "kill"])
@pytest.mark.parametrize("path", ["/", "/_"])
def test_the_tree_as_a_whole_is_left_to_shutdown(host, verb, path):
    error = host.ask(verb, paths=[path]).error
    assert isinstance(error, UsageError)
    assert "shutdown" in str(error)


def test_restart_begins_a_new_life_and_kill_leaves_it_to_the_rules(host):
    assert host.ask("restart", paths=["/a"]).value == {"/a": "done"}
    assert (host.row("/a").generation, host.row("/a").restarts) == (2, 0)
    assert host.ask("kill", paths=["/a"]).value == {"/a": "done"}
    assert (host.row("/a").generation, host.row("/a").restarts) == (3, 1)


def test_orders_are_refused_while_the_host_ends(host):
    host.phase = "stopping"
    assert isinstance(host.ask("restart", paths=["/a"]).error, TryAgain)


def parked_host() -> StagedHost:
    host = StagedHost(
        program("a", on_limit=OnLimit.PARK), program("b"), intensity=0, period=5.0
    ).boot()
    host.exit("/a")
    assert host.row("/a").state == "parked"
    return host


def test_reset_failed_starts_what_has_given_up():
    host = parked_host()
    assert host.ask("reset_failed", paths=["/a"]).value == {"/a": "done"}
    assert host.row("/a").state == "running"


def test_reset_failed_without_a_path_finds_all_that_have_given_up():
    host = parked_host()
    assert host.ask("reset_failed").value == {"/a": "done"}
    assert host.ask("reset_failed").value == {}


def test_a_signal_goes_to_every_process_below_a_supervisor(host):
    answer = host.ask("signal", paths=["/chat"], signal="usr1").value
    assert answer == {"/chat/b": "done", "/chat/c": "done"}
    assert host.signals == [("/chat/b", 1, signal.SIGUSR1), ("/chat/c", 1, signal.SIGUSR1)]


@pytest.mark.parametrize("name", ["FOO", "", None, 0, 9999, "SIG", [], True + 998])
def test_a_signal_that_does_not_exist_is_refused(host, name):
    assert isinstance(host.ask("signal", paths=["/a"], signal=name).error, UsageError)
    assert host.signals == []


def test_a_child_without_a_process_cannot_be_signalled(host):
    host.ask("stop", paths=["/a"])
    assert isinstance(host.ask("signal", paths=["/a"], signal="HUP").error, OperationFailed)


def test_shutdown_is_answered_before_it_begins(host):
    request = host.ask("shutdown", timeout=2)
    assert request.value == {"pid": 4711, "instance": "life-1"}
    assert host.shutdown_timeout == 2
    assert host.ended


# --- waiting --------------------------------------------------------------------------------------


def test_a_wait_for_readiness_is_answered_when_the_child_is_ready():
    host = StagedHost(program("a", readiness=Readiness.NOTIFY))
    host.slow = {"/a"}
    host.boot()
    request = host.ask("wait", path="/a", **{"for": "ready"})
    assert not request.answered
    host.ready("/a")
    assert request.value == {"/a": "ready"}


def test_a_supervisor_is_ready_with_the_last_child_below_it():
    host = StagedHost(program("a"), program("b"), program("c"))
    host.slow = {"/a", "/b", "/c"}
    host.boot()
    request = host.ask("wait", path="/", **{"for": "ready"})
    for path in ("/c", "/a"):
        host.ready(path)
        assert not request.answered
    host.ready("/b")
    assert request.value == {"/": "ready"}


def test_children_that_have_ended_for_good_keep_no_supervisor_from_being_ready(host):
    host.ask("stop", paths=["/a"])
    assert host.ask("wait", path="/", **{"for": "ready"}).value == {"/": "ready"}


def test_a_wait_for_a_stop_is_answered_also_for_a_child_that_is_forgotten():
    host = StagedHost(program("a", restart=Restart.TEMPORARY)).boot()
    request = host.ask("wait", path="/a", **{"for": "stopped"})
    assert not request.answered
    host.exit("/a")
    assert host.tree.row("/a") is None
    assert request.value == {"/a": "stopped"}
    assert host.ask("wait", path="/a", **{"for": "stopped"}).value == {"/a": "stopped"}


def test_a_wait_that_is_late_says_what_was_missing():
    host = StagedHost(program("a"), program("b"))
    host.slow = {"/b"}
    host.boot()
    request = host.ask("wait", path="/", timeout=3.0, **{"for": "ready"})
    host.advance(2.9)
    assert not request.answered
    host.advance(0.2)
    assert isinstance(request.error, TimedOut)
    assert "/b" in str(request.error)


def test_a_child_that_has_given_up_is_not_waited_for():
    error = parked_host().ask("wait", path="/a", **{"for": "ready"}).error
    assert isinstance(error, OperationFailed)
    assert "reset-failed /a" in str(error)


def test_while_the_host_boots_a_path_may_still_come():
    host = StagedHost(program("a"))
    request = host.ask("wait", path="/a", **{"for": "ready"})
    assert not request.answered
    host.boot()
    assert request.value == {"/a": "ready"}
    assert isinstance(host.ask("wait", path="/x", **{"for": "ready"}).error, NoSuchChild)


def test_nobody_waits_for_a_host_that_has_ended(host):
    request = host.ask("wait", path="/a", **{"for": "stopped"})
    host.operations.give_up()
    assert isinstance(request.error, TryAgain)


# --- OTP's interface ------------------------------------------------------------------------------


def test_children_come_and_go_by_otps_own_functions(host):
    spec = {"id": "new", "command": ["true"]}
    ok, pid = host.ask("start_child", supervisor="/", spec=spec).value
    assert (ok, pid) == ("ok", host.row("/new").pid)
    again = host.ask("start_child", supervisor="/", spec=spec).value
    assert again == ["error", ["already_started", pid]]
    assert host.ask("delete_child", supervisor="/", id="new").value == ["error", "running"]
    assert host.ask("terminate_child", supervisor="/", id="new").value == ["ok"]
    assert host.ask("restart_child", supervisor="/", id="new").value[0] == "ok"
    assert host.ask("get_childspec", supervisor="/", id="new").value[1]["id"] == "new"
    host.ask("terminate_child", supervisor="/", id="new")
    assert host.ask("delete_child", supervisor="/", id="new").value == ["ok"]
    assert host.ask("delete_child", supervisor="/", id="new").value == ["error", "not_found"]


def test_children_are_listed_and_counted_as_otp_does(host):
    names = [child[0] for child in host.ask("which_children", supervisor="/").value]
    assert names == ["chat", "a"]
    counts = host.ask("count_children", supervisor="/").value
    assert counts == {"specs": 2, "active": 2, "supervisors": 1, "workers": 1}
    assert host.ask("which_children", supervisor="/no").value == ["error", "noproc"]


def test_instances_of_a_template_are_started_by_name():
    template = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, child=program("w"))
    host = StagedHost(ChildSpec(id="pool", supervisor=template)).boot()
    assert host.ask("start_child", supervisor="/pool", name="one").value[0] == "ok"
    assert host.row("/pool/one").state == "running"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"id": "new", "command": "sleep 60"}, "/new command: must be a list of words"),
        ({"id": "new", "command": []}, "/new command: must not be empty"),
        ({"id": "a/b", "command": ["x"]}, "/ id: must begin with a letter"),
        ({"command": ["x"]}, "/ id: is missing"),
        ({"id": "new", "command": ["x"], "shutdown": float("inf")}, "/new shutdown: "),
        ({"id": "new", "command": ["x"], "restart": "maybe"}, "/new restart: must be permanent"),
        ({"id": "new", "command": ["x"], "needs": [{"child": "new"}]}, "/new needs: can never"),
        ({"id": "new", "command": ["x"], "significant": True}, "/new significant: must be false"),
        ("true", "a child specification is a mapping, not 'true'"),
        (None, "spec is missing"),
    ],
)
def test_a_child_that_no_file_could_have_is_refused_with_its_place(host, spec, told):
    before = paths_of(host.ask("status").value)
    request = host.ask("start_child", supervisor="/", spec=spec)
    assert isinstance(request.error, UsageError)
    assert told in str(request.error)
    assert paths_of(host.ask("status").value) == before


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({}, "name is missing"),
        ({"name": "a\n"}, "name must begin with a letter"),
        ({"name": "_x"}, "name must begin with a letter"),
        ({"name": 3}, "name must be a name"),
        ({"name": "x", "args": [1]}, "args must be a mapping, not a list"),
        ({"name": "x", "spec": {"id": "a"}}, "it has a template"),
    ],
)
def test_an_instance_of_a_template_has_a_sound_name_and_arguments(args, told):
    template = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, child=program("w"))
    host = StagedHost(ChildSpec(id="pool", supervisor=template)).boot()
    request = host.ask("start_child", supervisor="/pool", **args)
    assert isinstance(request.error, UsageError)
    assert told in str(request.error)
    assert paths_of(host.ask("status").value) == ["/", "/pool"]


def test_a_name_is_for_the_instance_of_a_template(host):
    spec = {"id": "new", "command": ["true"]}
    error = host.ask("start_child", supervisor="/", spec=spec, name="x").error
    assert "for simple_one_for_one" in str(error)


def test_where_no_supervisor_is_otps_answer_is_noproc(host):
    assert host.ask("start_child", supervisor="/no", name="x").value == ["error", "noproc"]


@pytest.mark.parametrize("verb", ["terminate_child", "restart_child", "delete_child"])
@pytest.mark.parametrize("id", ["/a", "chat/b", 4711, None, ["a"], ""])
def test_otps_functions_take_an_id_and_neither_a_path_nor_a_pid(host, verb, id):
    error = host.ask(verb, supervisor="/", id=id).error
    assert isinstance(error, UsageError)
    assert str(error).startswith("id must ")


# --- the host's own children ----------------------------------------------------------------------


@pytest.fixture
def furnished() -> StagedHost:
    host = StagedHost(program("a"))
    host.handle(BootRequested("/_", SupervisorSpec(children=(program("logger"),))))
    return host.boot()


def test_the_hosts_own_children_cannot_be_stopped(furnished):
    error = furnished.ask("stop", paths=["/a", "/_/logger"]).error
    assert isinstance(error, UsageError)
    assert "the host's own" in str(error)
    assert furnished.row("/a").state == "running"
    assert furnished.row("/_/logger").state == "running"


@pytest.mark.parametrize("verb", ["restart", "kill", "start"])
def test_the_hosts_own_children_can_be_renewed(furnished, verb):
    assert furnished.ask(verb, paths=["/_/logger"]).error is None
    assert furnished.row("/_/logger").state == "running"


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("start_child", {"spec": {"id": "new", "command": ["true"]}}),
        ("terminate_child", {"id": "logger"}),
        ("restart_child", {"id": "logger"}),
        ("delete_child", {"id": "logger"}),
    ],
)
def test_the_list_of_the_hosts_own_children_cannot_be_changed(furnished, verb, args):
    error = furnished.ask(verb, supervisor="/_", **args).error
    assert isinstance(error, UsageError)
    assert furnished.row("/_/logger").state == "running"
    assert furnished.ask("get_childspec", supervisor="/_", id="logger").value[0] == "ok"


# --- between two lives of a supervisor ------------------------------------------------------------


def between_lives() -> StagedHost:
    """/chat waits in the backoff of its restart, so nothing is below it."""
    slow = Backoff(initial=5.0, jitter=0.0)
    inner = group("chat", program("b"), group("deep", program("c")), intensity=0)
    host = StagedHost(program("a"), replace(inner, backoff=slow)).boot()
    host.exit("/chat/b")
    assert host.tree.row("/chat/b") is None
    return host


@pytest.mark.parametrize("path", ["/chat/b", "/chat/deep", "/chat/deep/c"])
@pytest.mark.parametrize("verb", ["start", "stop", "restart", "kill"])
def test_what_is_not_there_while_its_supervisor_is_restarted_can_be_asked_for_again(verb, path):
    error = between_lives().ask(verb, paths=[path]).error
    assert isinstance(error, TryAgain)
    assert f"{path} is not there while its supervisor /chat starts" in str(error)


def test_reads_and_otps_functions_say_so_too():
    host = between_lives()
    assert isinstance(host.ask("show", path="/chat/b").error, TryAgain)
    assert isinstance(host.ask("which_children", supervisor="/chat/deep").error, TryAgain)
    spec = {"id": "new", "command": ["true"]}
    error = host.ask("start_child", supervisor="/chat/deep", spec=spec).error
    assert isinstance(error, TryAgain)
    host.advance(5.0)
    assert host.ask("stop", paths=["/chat/deep/c"]).value == {"/chat/deep/c": "done"}


@pytest.mark.parametrize("path", ["/chat/x", "/chat/b/x", "/chat/deep/x", "/a/x", "/x/y"])
def test_what_never_was_there_is_not_there_either_while_a_supervisor_is_restarted(path):
    assert isinstance(between_lives().ask("stop", paths=[path]).error, NoSuchChild)


def test_what_is_below_a_stopped_supervisor_does_not_come_back_by_itself(host):
    host.ask("stop", paths=["/chat"])
    error = host.ask("restart", paths=["/chat/b"]).error
    assert isinstance(error, NoSuchChild)
    assert "its supervisor /chat does not run; `start /chat` starts it" in str(error)


def test_what_is_below_a_supervisor_that_has_given_up_says_so():
    chat = replace(group("chat", program("b"), intensity=0), on_limit=OnLimit.PARK)
    host = StagedHost(chat, intensity=0).boot()
    host.exit("/chat/b")
    assert host.row("/chat").state == "parked"
    error = host.ask("start", paths=["/chat/b"]).error
    assert "its supervisor /chat does not run; `reset-failed /chat` starts it" in str(error)


@pytest.mark.parametrize("verb", ["start", "stop", "show"])
def test_a_temporary_child_that_has_ended_is_told_as_ended(verb):
    host = StagedHost(program("once", restart=Restart.TEMPORARY)).boot()
    host.exit("/once", NORMAL)
    args = {"path": "/once"} if verb == "show" else {"paths": ["/once"]}
    error = host.ask(verb, **args).error
    assert isinstance(error, NoSuchChild)
    assert "/once is not there any more: it has ended" in str(error)
    assert "does not run" not in str(error)


# --- words that are off ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("frobnicate", {}),
        ("show", {}),
        ("show", {"path": 7}),
        ("show", {"path": ""}),
        ("stop", {}),
        ("stop", {"paths": []}),
        ("stop", {"paths": "/a"}),
        ("stop", {"paths": [None]}),
        ("wait", {"path": "/a", "for": "godot"}),
        ("wait", {"path": "/a", "for": "ready", "timeout": -1}),
        ("wait", {"path": "/a", "for": "ready", "timeout": "soon"}),
        ("wait", {"path": "/a", "for": "ready", "timeout": float("nan")}),
        ("events", {"since": True}),
        ("events", {"limit": "all"}),
        ("shutdown", {"timeout": []}),
        ("start_child", {"supervisor": "/", "spec": "a"}),
        ("start_child", {"supervisor": "/", "spec": {"id": "a", "colour": "red"}}),
        ("start_child", {"supervisor": "/", "name": 3}),
        ("delete_child", {"supervisor": "/"}),
    ],
)
def test_arguments_that_are_off_are_refused_and_nothing_happens(host, verb, args):
    before = host.log.seq
    request = host.ask(verb, **args)
    assert isinstance(request.error, UsageError)
    assert host.log.seq == before
    assert host.shutdown_timeout == "not asked"


def test_an_unknown_verb_is_answered_with_those_that_exist(host):
    assert "reset_failed" in str(host.ask("frobnicate").error)
