"""Specifications that come from a program or over the socket: all that is wrong, with its place."""

from __future__ import annotations

import signal
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from supervisor_tree.core import values
from supervisor_tree.core.listening import MOST_SOCKETS, ListenSocket
from supervisor_tree.core.problems import (
    problems_of_child,
    problems_of_tree,
)
from supervisor_tree.core.specdata import to_data
from supervisor_tree.core.specs import (
    Acl,
    Backoff,
    ChildSpec,
    Limits,
    Logs,
    Mailbox,
    Need,
    OnFull,
    Ready,
    Restart,
    StartMode,
    Strategy,
    SupervisorSpec,
    Watchdog,
)
from supervisor_tree.core.unmet import problems_of_cycle, problems_of_needs

GOOD = ChildSpec(id="a", command=("true",))
AGENT = ChildSpec(id="a", agent="m:a")
SIMPLE = Strategy.SIMPLE_ONE_FOR_ONE


def told(spec: Any, auto_shutdown: Any = None) -> list[str]:
    return [str(problem) for problem in problems_of_child(spec, "/chat", auto_shutdown)]


def of(**fields: Any) -> list[str]:
    """The places of what is wrong with a program of these fields, object and data alike."""
    data = {"id": "a", "command": ["true"]} | fields
    found = [f"{path} {key}" for path, key, _ in problems_of_child(data, "/chat")]
    spec = ChildSpec(**data)
    assert [f"{path} {key}" for path, key, _ in problems_of_child(spec, "/chat")] == found
    return found


@pytest.mark.parametrize(
    "spec", [GOOD, AGENT, replace(AGENT, agent=b"payload"), replace(AGENT, agent=len)]
)
def test_a_sound_child_has_no_problems(spec: ChildSpec):
    assert told(spec) == []
    assert told(to_data(spec)) == []


def test_everything_that_may_be_said_of_a_child_is_sound():
    spec = replace(
        AGENT,
        args={"list": [1, 2.5, None, True, b"x", {"deep": "text"}]},
        restart=Restart.TRANSIENT,
        shutdown="infinity",
        backoff=Backoff(initial=0, max=1, jitter=1),
        needs=(Need(child="b"), Need(child="/x/y")),
        start_timeout=None,
        ready=Ready(tcp="[::1]:80", log="^up", delay=2),
        watchdog=Watchdog(idle=10, busy=0.5),
        env={"KEY": "value"},
        env_file=("one", "two"),
        umask=0o22,
        user="1000",
        no_new_privs=True,
        limits=Limits(nofile=64, nice=-20, memory_max=1, pids_max=1, cpu_max=0.5),
        logs=Logs(retention=0),
        sockets=(
            ListenSocket(name="a", listen="tcp://[::1]:0"),
            ListenSocket(name="b", listen="unix:///run/b.sock", backlog=1, mode=0o777),
            ListenSocket(name="c", listen="fd:web.socket"),
        ),
        significant=True,
        stop_signal="SIGINT",
        capabilities=("chat",),
        acl=Acl(may_call=(">", "/", "/chat/*"), may_publish=("a.>",), may_subscribe=()),
        mailbox=Mailbox(limit=1, on_full=OnFull.DROP_OLDEST),
        intercepts=(),
    )
    assert told(spec, "any_significant") == []
    assert told(to_data(spec), "any_significant") == []


def test_a_child_has_a_limited_number_of_sockets():
    def many(count: int) -> list[ListenSocket]:
        return [ListenSocket(name=f"s{each}", listen="fd:x") for each in range(count)]

    assert of(sockets=many(MOST_SOCKETS)) == []
    assert of(sockets=many(MOST_SOCKETS + 1)) == [f"/chat/a sockets[{MOST_SOCKETS}].name"]


NOT_A_NUMBER = [nan, inf, -1, True, "5", None, [], 1e300]


@pytest.mark.parametrize("number", NOT_A_NUMBER)
@pytest.mark.parametrize("key", ["initial", "factor", "max", "jitter", "reset_after"])
def test_a_number_of_a_backoff_is_a_number_in_its_bounds(key: str, number: Any):
    assert f"/chat/a backoff.{key}" in of(backoff={key: number})


@pytest.mark.parametrize("number", [nan, inf, -1, True, "5", []])
@pytest.mark.parametrize("key", ["shutdown", "start_timeout"])
def test_a_duration_is_a_number_of_seconds(key: str, number: Any):
    assert of(**{key: number}) == [f"/chat/a {key}"]


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("command", "sleep 60", "command"),
        ("command", [], "command"),
        ("command", ["a", 1], "command[1]"),
        ("command", ["a\0b"], "command[0]"),
        ("command", ["\ud800"], "command[0]"),
        ("env", ["A=b"], "env"),
        ("env", {"A": 1}, "env['A']"),
        ("env", {"A=B": "x"}, "env['A=B']"),
        ("env", {"A\0": "x"}, "env['A\\x00']"),
        ("env", {"\ud800": "x"}, "env['\\ud800']"),
        ("env", {1: "x"}, "env[1]"),
        ("env", {"NOTIFY_SOCKET": "x"}, "env['NOTIFY_SOCKET']"),
        ("env", {"SUPERVISOR_TREE_PATH": "x"}, "env['SUPERVISOR_TREE_PATH']"),
        ("env_file", 3, "env_file"),
        ("env_file", ["", "x"], "env_file[0]"),
        ("cwd", "", "cwd"),
        ("user", "", "user"),
        ("user", "a b", "user"),
        ("group", 3, "group"),
        ("umask", 0o1000, "umask"),
        ("umask", "022", "umask"),
        ("stop_signal", "SIGFOO", "stop_signal"),
        ("stop_signal", "SIGKILL", "stop_signal"),
        ("stop_signal", 15, "stop_signal"),
        ("restart", "sometimes", "restart"),
        ("restart", [], "restart"),
        ("shutdown", "soon", "shutdown"),
        ("start_timeout", 0, "start_timeout"),
        ("significant", 1, "significant"),
        ("enabled", "yes", "enabled"),
        ("backoff", 3, "backoff"),
        ("backoff", {"initial": 5, "max": 1}, "backoff.initial"),
        ("backoff", {"speed": 1}, "backoff.speed"),
        ("needs", "b", "needs"),
        ("needs", [{}], "needs[0].child"),
        ("needs", [{"child": "a b"}], "needs[0].child"),
        ("needs", [{"child": "/a//b"}], "needs[0].child"),
        ("needs", [{"child": "b", "condition": "happy"}], "needs[0].condition"),
        ("limits", {"nofile": 1}, "limits.nofile"),
        ("limits", {"nofile": 2**62 + 1}, "limits.nofile"),
        ("limits", {"memory_max": 0}, "limits.memory_max"),
        ("limits", {"pids_max": 1.5}, "limits.pids_max"),
        ("limits", {"cpu_max": 0}, "limits.cpu_max"),
        ("no_new_privs", "yes", "no_new_privs"),
        ("logs", {"rotation": 0}, "logs.rotation"),
        ("logs", {"max_age": 0}, "logs.max_age"),
        ("build", {}, "build.command"),
        ("build", {"command": "make"}, "build.command"),
        ("build", {"command": ["make"], "timeout": 0}, "build.timeout"),
        ("logs", {"redact": "x"}, "logs.redact"),
        ("logs", {"redact": ["("]}, "logs.redact"),
        ("sockets", "tcp://127.0.0.1:80", "sockets"),
        ("sockets", [{"name": "a"}], "sockets[0].listen"),
        ("sockets", [{"name": "a:b", "listen": "fd:x"}], "sockets[0].name"),
        ("sockets", [{"name": 7, "listen": "fd:x"}], "sockets[0].name"),
        ("sockets", [{"name": "a", "listen": 80}], "sockets[0].listen"),
        ("sockets", [{"name": "a", "listen": "tcp://localhost:80"}], "sockets[0].listen"),
        ("sockets", [{"name": "a", "listen": "tcp://127.0.0.1:70000"}], "sockets[0].listen"),
        ("sockets", [{"name": "a", "listen": "tcp://1.2.3.256:80"}], "sockets[0].listen"),
        ("sockets", [{"name": "a", "listen": "unix://relative"}], "sockets[0].listen"),
        ("sockets", [{"name": "a", "listen": "unix:///d/"}], "sockets[0].listen"),
        ("sockets", [{"name": "a", "listen": f"unix:///{'x' * 107}"}], "sockets[0].listen"),
        ("sockets", [{"name": "a", "listen": "fd:"}], "sockets[0].listen"),
        ("sockets", [{"name": "a", "listen": "fd:x", "backlog": 0}], "sockets[0].backlog"),
        ("sockets", [{"name": "a", "listen": "fd:x", "mode": 0o1000}], "sockets[0].mode"),
        ("sockets", [{"name": "a", "listen": "fd:x"}] * 2, "sockets[1].name"),
        ("on_limit", "explode", "on_limit"),
        ("readiness", 1, "readiness"),
        ("ready", "soon", "ready"),
        ("ready", {"udp": 53}, "ready.udp"),
        ("ready", {"tcp": 0}, "ready.tcp"),
        ("ready", {"tcp": True}, "ready.tcp"),
        ("ready", {"tcp": "8080"}, "ready.tcp"),
        ("ready", {"tcp": "example.org:80"}, "ready.tcp"),
        ("ready", {"tcp": "127.0.0.256:80"}, "ready.tcp"),
        ("ready", {"tcp": "127.0.0.1:99999"}, "ready.tcp"),
        ("ready", {"log": ""}, "ready.log"),
        ("ready", {"log": "("}, "ready.log"),
        ("ready", {"log": "x" * 1001}, "ready.log"),
        ("ready", {"log": "a{99999999999999999999}"}, "ready.log"),
        ("ready", {"log": "[[a]"}, "ready.log"),
        ("ready", {"log": 7}, "ready.log"),
        ("ready", {"delay": -1}, "ready.delay"),
        ("watchdog", 10, "watchdog"),
        ("watchdog", {"idle": 0}, "watchdog.idle"),
        ("watchdog", {"busy": "1h"}, "watchdog.busy"),
        ("watchdog", {"lazy": 1}, "watchdog.lazy"),
        ("description", 7, "description"),
        ("capabilities", "chat", "capabilities"),
        ("type", "robot", "type"),
        ("warm", 1, "warm"),
        ("warm", True, "warm"),
        ("args", {"x": 1}, "args"),
        ("acl", 3, "acl"),
        ("acl", {"may_call": "/a"}, "acl.may_call"),
        ("acl", {"may_call": ["a"]}, "acl.may_call[0]"),
        ("acl", {"may_cast": ["/a", 3]}, "acl.may_cast[1]"),
        ("acl", {"may_publish": ["a..b"]}, "acl.may_publish[0]"),
        ("acl", {"may_subscribe": ["a.>.b"]}, "acl.may_subscribe[0]"),
        ("acl", {"may_fly": []}, "acl.may_fly"),
        ("acl", {"may_call": []}, "acl"),
        ("mailbox", {"limit": 0}, "mailbox.limit"),
        ("mailbox", {"on_full": "explode"}, "mailbox.on_full"),
        ("mailbox", {"limit": 5}, "mailbox"),
        ("intercepts", ["/a"], "intercepts"),
        ("intercepts", "/a", "intercepts"),
        ("intercepts", ["a"], "intercepts[0]"),
        ("agent", "m:a", "command"),
        ("significant", True, "significant"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_by_path_and_key(key: str, value: Any, place: str):
    assert f"/chat/a {place}" in of(**{key: value})


@pytest.mark.parametrize(
    "args", [[], {1: 2}, {"x": {2: 3}}, {"x": object()}, {"x": 2**64}, {"x": "\ud800"}]
)
def test_arguments_of_an_agent_are_plain_data(args: Any):
    (problem,) = problems_of_child(replace(AGENT, args=args), "/")
    assert problem.key.startswith("args")


def test_arguments_that_contain_themselves_are_refused():
    args: dict[str, Any] = {}
    args["x"] = args
    assert "nested too deep" in told(replace(AGENT, args=args))[0]


@pytest.mark.parametrize(
    "id", ["", "a\n", "a/b", "/a", "_", "_a", "-a", "a b", "a\x1b", "ä", "a" * 201, 3, None, ["a"]]
)
def test_an_id_that_no_file_could_have_is_refused(id: Any):
    (problem,) = problems_of_child({"id": id, "command": ["true"]}, "/chat")
    assert (problem.path, problem.key) == ("/chat", "id")


@pytest.mark.parametrize("agent", ["m", "m:", ":a", "m:a:b", "m a:b", 3, ["m:a"], {"m": "a"}, True])
def test_an_agent_is_a_name_or_an_object(agent: Any):
    assert [problem.key for problem in problems_of_child(replace(AGENT, agent=agent), "/")] == [
        "agent"
    ]


def test_all_problems_are_named_at_once():
    spec = {"id": "a", "command": "x", "colour": "red", "b\n": 1, "backoff": {"initial": nan}}
    lines = told(spec)
    assert lines[0] == "/chat/a command: must be a list of words such as ['sleep', '60'], not 'x'"
    assert lines[1].startswith("/chat/a colour: unknown key; known are id, agent,")
    assert lines[2].startswith("/chat/a 'b\\n': unknown key")
    assert lines[3].startswith("/chat/a backoff.initial: must be a number of seconds")


@pytest.mark.parametrize("spec", [None, 3, "a", [], SupervisorSpec()])
def test_what_is_no_child_at_all_is_refused(spec: Any):
    assert told(spec)[0].startswith("/chat: must be a ChildSpec, not ")


def test_a_child_has_an_id_and_one_thing_to_start():
    assert told({}) == [
        "/chat id: is missing",
        "/chat agent: is missing: a child has one of agent, command or supervisor",
    ]
    assert told(ChildSpec(id="a", agent="m:a", supervisor=SupervisorSpec())) == [
        "/chat/a supervisor: cannot stand beside agent: "
        "a child has one of agent, command, supervisor"
    ]


def test_an_interceptor_takes_messages_and_drops_none():
    spec = replace(AGENT, intercepts=("/b/>",))
    assert told(spec) == []
    assert "/chat/a intercepts: has no meaning" in told(replace(spec, type="robot"))[0]
    dropping = replace(spec, mailbox=Mailbox(on_full=OnFull.DROP_OLDEST))
    assert told(dropping)[0].startswith("/chat/a mailbox.on_full: must be reject")


@pytest.mark.parametrize("tcp", [1, 65535, "127.0.0.1:80", "[fe80::1]:80", "localhost:8080"])
def test_a_port_is_looked_for_where_no_name_server_has_to_be_asked(tcp: int | str):
    assert told(replace(GOOD, ready=Ready(tcp=tcp))) == []


def test_a_supervisor_has_no_process_to_watch():
    nested = ChildSpec(id="s", supervisor=SupervisorSpec(), watchdog=Watchdog(idle=1))
    assert told(nested)[0].startswith("/chat/s watchdog: has no meaning")
    nested = ChildSpec(id="s", supervisor=SupervisorSpec(), ready=Ready(delay=1))
    assert told(nested)[0].startswith("/chat/s ready: has no meaning")


def test_a_significant_child_needs_a_supervisor_that_heeds_it():
    spec = replace(GOOD, significant=True, restart=Restart.TRANSIENT)
    assert told(spec) == []
    assert told(spec, "any_significant") == []
    assert "auto_shutdown" in told(spec, "never")[0]


# --- supervisors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"strategy": "none"}, "strategy"),
        ({"strategy": []}, "strategy"),
        ({"intensity": nan}, "intensity"),
        ({"intensity": True}, "intensity"),
        ({"intensity": -1}, "intensity"),
        ({"period": 0}, "period"),
        ({"period": inf}, "period"),
        ({"period": "5s"}, "period"),
        ({"auto_shutdown": 1}, "auto_shutdown"),
        ({"start": "later"}, "start"),
        ({"start": "concurrent", "strategy": "one_for_all"}, "start"),
        ({"children": 3}, "children"),
        ({"children": (3,)}, "children[0]"),
        ({"children": (replace(GOOD, id="a/b"),)}, "children[0].id"),
        ({"children": (GOOD, GOOD)}, "children[1].id"),
        ({"child": GOOD}, "child"),
        ({"strategy": SIMPLE}, "child"),
        ({"strategy": SIMPLE, "children": (GOOD,), "child": GOOD}, "children"),
    ],
)
def test_a_wrong_supervisor_is_named_by_path_and_key(fields: dict[str, Any], place: str):
    spec = replace(SupervisorSpec(), **fields)
    assert place in [problem.key for problem in problems_of_tree(spec)]
    nested = ChildSpec(id="s", supervisor=spec)
    found = [f"{path} {key}" for path, key, _ in problems_of_child(nested, "/")]
    assert f"/s supervisor.{place}" in found


def test_a_sound_tree_has_no_problems():
    pool = SupervisorSpec(strategy=SIMPLE, child=GOOD)
    inner = SupervisorSpec(strategy=Strategy.REST_FOR_ONE, children=(GOOD,))
    tree = SupervisorSpec(
        children=(
            ChildSpec(id="pool", supervisor=pool),
            ChildSpec(id="group", supervisor=inner),
        )
    )
    assert problems_of_tree(tree) == []
    assert problems_of_tree(to_data(tree)) == []
    assert problems_of_tree(None) != []


def test_a_wrong_child_deep_in_the_tree_is_named_by_its_path():
    inner = SupervisorSpec(children=(replace(GOOD, id="b", warm=3),))
    (problem,) = problems_of_tree(SupervisorSpec(children=(ChildSpec(id="s", supervisor=inner),)))
    assert str(problem) == "/s/b warm: has no meaning for a child with command; leave it out"


def test_a_specification_that_is_nested_without_end_is_refused():
    data: dict[str, Any] = {"id": "a", "supervisor": {}}
    data["supervisor"]["children"] = [data]
    assert "supervisors are nested deeper than 50" in told(data)[-1]


# --- needs ------------------------------------------------------------------------------------


def needing(id: str, need: str) -> ChildSpec:
    return replace(GOOD, id=id, needs=(Need(child=need),))


def test_a_need_names_a_child_of_the_tree_or_one_that_may_come():
    pool = ChildSpec(id="pool", supervisor=SupervisorSpec(strategy=SIMPLE, child=GOOD))
    tree = SupervisorSpec(children=(pool, needing("b", "/pool/one"), needing("c", "b")))
    assert problems_of_needs(tree) == []
    (problem,) = problems_of_needs(replace(tree, children=(needing("b", "x"),)))
    assert str(problem) == "/b needs[0]: must name a sibling or a child's path, not /x"


def test_children_that_wait_for_each_other_are_a_problem():
    ring = SupervisorSpec(
        start=StartMode.CONCURRENT, children=(needing("a", "b"), needing("b", "a"))
    )
    assert problems_of_needs(ring) == problems_of_cycle(ring)
    assert "/a waits for /b, which waits for /a" in str(problems_of_cycle(ring)[0])
    assert problems_of_cycle(SupervisorSpec()) == []


# --- values -----------------------------------------------------------------------------------


def test_every_signal_of_the_machine_is_known():
    names = set(signal.Signals.__members__) - {"SIGKILL", "SIGSTOP"}
    assert [name for name in names if values.signal_name(name)] == []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "nothing"),
        (True, "true"),
        ({}, "a mapping"),
        ((), "a list"),
        (2**200, "a huge number"),
        ("x", "'x'"),
        ("x" * 90, f"'{'x' * 55}...'"),
    ],
)
def test_a_value_is_shown_in_one_short_line(value: Any, told: str):
    assert values.shown(value) == told


def test_the_children_of_a_template_cannot_share_a_pid_file():
    template = ChildSpec(id="w", command=("x",), pid_file="/run/w.pid")
    tree = SupervisorSpec(strategy=Strategy.SIMPLE_ONE_FOR_ONE, child=template)
    (problem,) = problems_of_tree(tree)
    assert (problem.path, problem.key) == ("/", "child.pid_file")
