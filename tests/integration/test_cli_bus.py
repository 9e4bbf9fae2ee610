"""The verbs of the bus against a real host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import talkers
from tests.integration.hosting import COMMAND, RunningHost

CONFIG = """\
version: 1
host: {name: bus}
tree:
  intensity: 1000
  children:
    - {id: echo, agent: "talkers:Echo", description: says it again, capabilities: [echo]}
    - {id: second, agent: "talkers:Echo", capabilities: [echo, more]}
    - {id: mute, agent: "talkers:Echo", acl: {may_call: [], may_publish: []}}
    - {id: hearing, agent: "talkers:Hearing", args: {patterns: [news.>]}}
    - {id: frozen, agent: "talkers:Echo"}
    - {id: fragile, agent: "talkers:Fragile", args: {file: ledger}}
    - {id: program, command: [sleep, "1000"]}
"""
DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    directory = tmp_path_factory.mktemp("bus")
    (directory / "bus.yaml").write_text(CONFIG)
    (directory / "talkers.py").write_text(Path(talkers.__file__).read_text())
    with RunningHost(directory / "bus.yaml", directory) as host:
        host.wait_ready("/")
        yield host
        assert host.stop() == 0


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (result := condition()):
        assert time.monotonic() < deadline, what
    return result


def test_a_call_prints_the_answer_as_json(host):
    message = {"a": [1, None, "ä\n"], "b": True}
    result = host.tell("call", "/echo", json.dumps(message))
    assert (result.returncode, json.loads(result.stdout)) == (0, message)
    assert host.ask("call", "/echo", '"who am I"')[0].startswith("/_/clients/")


def test_a_message_is_read_from_standard_input(host):
    result = subprocess.run(
        [COMMAND, "--run-dir", str(host.run_dir), "call", "/echo", "-"],
        input="[1,\n2]",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert json.loads(result.stdout) == [1, 2]


def test_a_pool_is_called_by_its_capability(host):
    pids = {host.row(path)["pid"] for path in ("/echo", "/second")}
    assert host.ask("call", "pool:echo", '"pid"') in pids


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("call", "/nobody", "1"), 4, "nobody on the bus has the path /nobody"),
        (("cast", "/nobody", "1"), 4, "nobody on the bus has the path /nobody"),
        (("call", "pool:nothing", "1"), 4, "capability nothing"),
        (("call", "/program", "1"), 4, "takes no messages"),
        (("call", "/echo", '{"a" 1}'), 2, "line 1, column 6"),
        (("call", "/echo", "hello"), 2, "a text needs quotes of its own"),
        (("cast", "/echo", "99999999999999999999999"), 2, "cannot be sent"),
        (("publish", "not..a topic", "1"), 2, "topic"),
        (("subscribe", "a..b"), 2, "a..b"),
        (("call", "/echo", '"raise"'), 1, "/echo has raised ValueError: as was asked"),
        (("dead-letters", "999"), 4, "no dead letter 999"),
        (("bus", "stats", "/nobody"), 4, "/nobody"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_code(host, words, code, said):
    result = host.tell(*words)
    assert (result.returncode, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    facts = json.loads(host.tell("--json", *words).stderr)["error"]
    assert facts["exit_code"] == code


def test_the_traceback_of_a_handler_is_shown_to_who_asks(host):
    assert "; `-v` shows where" in host.tell("call", "/echo", '"raise"').stderr
    said = host.tell("call", "/echo", '"raise"', "-v").stderr
    assert "`-v`" not in said
    assert 'raise ValueError("as was asked")' in said
    facts = json.loads(host.tell("call", "/echo", '"raise"', "--json").stderr)["error"]
    assert facts["remote"]["type"] == "ValueError"
    assert "talkers.py" in facts["remote"]["traceback"]


def test_an_agent_that_is_down_is_asked_to_be_tried_again(host):
    host.tell("stop", "/second")
    try:
        assert host.tell("call", "/second", "1").returncode == 75
        late = host.tell("cast", "/second", "1", "--timeout", "100ms")
        assert late.returncode == 124
        assert "has not handled it within 0.1 s" in late.stderr
    finally:
        host.tell("start", "/second")


def test_an_agent_that_does_not_answer_is_not_waited_for(host):
    pid = host.row("/frozen")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert host.tell("call", "/frozen", "1", "--timeout", "0.2").returncode == 124
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_cast_returns_when_it_is_handled(host):
    assert host.tell("cast", "/echo", '{"n": 1}').stdout == "/echo: handled\n"
    assert host.ask("cast", "/echo", "2") == {"to": "/echo", "handled": True}
    assert host.ask("call", "/echo", '"casts"')[-2:] == [{"n": 1}, 2]


def test_what_is_published_once_reaches_who_has_subscribed(host):
    until(lambda: host.ask("publish", "news.x", "0")["subscribed"], "the agent has subscribed")
    for number in range(1, 4):
        assert host.tell("publish", "news.x", str(number)).stdout == "news.x: published\n"
    heard = [event for event in host.ask("call", "/hearing", "0") if event[0] == "news.x"]
    assert [number for _topic, number in heard][-3:] == [1, 2, 3]
    assert "nobody has subscribed" in host.tell("publish", "olds.x", "1").stdout


@pytest.mark.parametrize("as_json", [True, False])
def test_subscribers_see_events_as_they_come(host, as_json):
    topic = f"cli.{as_json}".lower()
    words = [COMMAND, "--run-dir", str(host.run_dir), "subscribe", "cli.*", "-n", "2"]
    with subprocess.Popen(
        [*words, *(["--json"] if as_json else [])], stdout=subprocess.PIPE, text=True
    ) as process:
        until(lambda: host.ask("publish", topic, '{"a": 1}')["subscribed"], "it has subscribed")
        host.ask("publish", topic, "[2]")
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        assert process.wait(20) == 0
    if as_json:
        assert [json.loads(line)["message"] for line in lines] == [{"a": 1}, [2]]
    else:
        assert lines == [f'{topic} {{"a": 1}}', f"{topic} [2]"]


def test_a_subscriber_is_interrupted_by_ctrl_c(host):
    words = [COMMAND, "--run-dir", str(host.run_dir), "subscribe", "ctrl.c"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until(lambda: host.ask("publish", "ctrl.c", "1")["subscribed"], "it has subscribed")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_the_directory_says_who_is_there(host):
    members = {member["path"]: member for member in host.ask("directory")}
    assert members["/echo"]["description"] == "says it again"
    assert members["/echo"]["takes_messages"]
    assert not members["/program"]["takes_messages"]
    more = host.ask("directory", "--capability", "more")
    assert [member["path"] for member in more] == ["/second"]
    lines = host.tell("directory").stdout.splitlines()
    assert lines[0].split()[0] == "PATH"
    assert any("says it again" in line for line in lines)
    assert host.tell("directory", "--capability", "none").stdout == "nobody\n"


def test_a_message_that_kills_is_found_among_the_dead_letters(host):
    result = host.tell("cast", "/fragile", '"poison"', "--timeout", "30")
    assert result.returncode == 1
    assert "dead letter" in result.stderr
    (letter,) = until(lambda: host.ask("dead-letters"), "it is kept")
    assert (letter["path"], letter["deaths"]) == ("/fragile", 3)
    number = str(letter["number"])
    assert host.ask("dead-letters", number)[0]["payload"] == "poison"
    assert 'payload  "poison"' in host.tell("dead-letters", number).stdout
    assert "/fragile" in host.tell("dead-letters").stdout
    assert host.tell("dead-letters", number, "--discard").stdout == "1 discarded\n"
    assert host.tell("dead-letters").stdout == "no dead letters\n"


def test_bus_stats_count_the_messages_of_each_agent_over_its_lives(host):
    def counted() -> dict[str, int]:
        (row,) = host.ask("bus", "stats", "/frozen")
        return row

    until(lambda: host.tell("call", "/frozen", "0").returncode == 0, "it answers")
    before = until(lambda: counted()["in"] and counted(), "it is counted")
    for number in range(5):
        host.ask("call", "/frozen", str(number))
    until(lambda: counted()["in"] >= before["in"] + 5, "they are counted")
    host.tell("kill", "/frozen")
    host.wait_generation("/frozen", 2)
    assert counted()["in"] >= before["in"] + 5, "and its death takes nothing"
    assert list(counted()) == ["path", "in", "out", "queued", "held", "redelivered", "dropped"]
    shown = host.ask("show", "/frozen")["messages"]
    assert shown["in"] >= before["in"] + 5
    assert " in the last 24 h" in host.tell("show", "/frozen").stdout
    lines = host.tell("bus", "stats").stdout.splitlines()
    assert lines[0].split() == [name.upper() for name in counted()]
    assert any(line.startswith("/echo ") for line in lines)
    assert not any("/_/" in line or "/program" in line for line in lines)
