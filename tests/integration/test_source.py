"""A tree that comes from a URL: a real host, and a real web server that is made to misbehave."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hosting import RunningHost
from tests.integration.web import DocumentServer

DEADLINE_S = 40.0


def tree(*children: str, version: int = 1) -> str:
    lines = "".join(f"    - {{{child}}}\n" for child in children)
    return f"version: {version}\ntree:\n  children:{'' if lines else ' []'}\n{lines}"


def sleeper(name: str, seconds: int = 1000, more: str = "") -> str:
    return f'id: {name}, command: [sleep, "{seconds}"]{more}'


@pytest.fixture
def server() -> Iterator[DocumentServer]:
    with DocumentServer(tree(sleeper("a"), sleeper("b"))) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path, server: DocumentServer) -> Iterator[Callable[[], RunningHost]]:
    """Begins the next life of one host."""
    file = tmp_path / "sourced.yaml"
    file.write_text(f"version: 1\nhost: {{source: {{url: '{server.url}', interval: 1s}}}}\n")
    with ExitStack() as stack:

        def start() -> RunningHost:
            host = stack.enter_context(RunningHost(file, tmp_path))
            host.wait_until_answering()
            return host

        yield start


def until(holds: Callable[[], Any], host: RunningHost) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, (host.tell("status").stdout, host.output)


def pids(host: RunningHost) -> dict[str, int]:
    """Of the children that run."""
    return {row["path"]: row["pid"] for row in host.ask("status") if row["pid"] and row["ready"]}


def told(host: RunningHost, event: str) -> list[dict[str, Any]]:
    lines = host.tell("--json", "events").stdout.splitlines()
    return [each for each in map(json.loads, lines) if each["event"] == event]


def test_new_changed_and_removed_children_are_reconciled_and_the_others_untouched(start, server):
    host = start()
    until(lambda: pids(host).keys() == {"/a", "/b"}, host)
    before = pids(host)
    server.document = tree(sleeper("b", 2000), sleeper("c"), sleeper("a"))
    until(lambda: "/c" in pids(host) and pids(host).get("/b") not in (None, before["/b"]), host)
    server.document = tree(sleeper("c"), sleeper("a", more=", enabled: false"))
    until(lambda: pids(host).keys() == {"/c"}, host)
    assert host.row("/a")["state"] == "stopped"
    server.document = tree(sleeper("c"), sleeper("a"))
    until(lambda: pids(host).keys() == {"/a", "/c"}, host)
    assert "nothing would change" in host.tell("plan").stdout
    assert told(host, "config_rejected") == []


def test_an_unchanged_document_is_not_sent_again_and_restarts_nobody(start, server):
    host = start()
    until(lambda: pids(host).keys() == {"/a", "/b"}, host)
    before, asked = pids(host), server.unchanged + 2
    server.wait_until(lambda: server.unchanged >= asked)
    assert pids(host) == before
    assert len(told(host, "config_applied")) == 1
    assert "in force" in host.ask("show", "/_/source")["said"]


def status(number: int) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(number)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def test_a_url_that_does_not_answer_leaves_all_as_it_is_and_is_told_once(start, server):
    host = start()
    until(lambda: pids(host).keys() == {"/a", "/b"}, host)
    before = pids(host)
    server.answer = status(500)
    server.wait_for_looks(3)
    until(lambda: told(host, "config_rejected"), host)
    server.answer = status(404)
    server.wait_for_looks(2)
    (event,) = told(host, "config_rejected")
    assert event["file"] == server.url
    assert "answered 500" in event["problems"][0]
    assert pids(host) == before
    assert "answered" in doctors_source(host, "warn")
    server.answer = None
    until(lambda: "in force" in host.ask("show", "/_/source")["said"], host)
    assert "in force" in doctors_source(host, "ok")
    server.document = tree(sleeper("a"))
    until(lambda: pids(host).keys() == {"/a"}, host)
    assert pids(host)["/a"] == before["/a"]


def doctors_source(host: RunningHost, result: str) -> str:
    """What `doctor` says of the URL, with this result."""
    findings = json.loads(host.tell("--json", "doctor").stdout)
    (found,) = (each for each in findings if each["check"] == "source")
    assert found["result"] == result
    return str(found["message"])


WRONG = {
    "\x00\x01 garbage": "cannot read as YAML",
    tree(sleeper("a"), "id: b, command: 7, restart: sometimes"): ":5:",
    tree(sleeper("a"), version=2): "version",
    tree(sleeper("a")) + "host: {name: mine}\n": "host",
    "": "is empty",
    "version: 1\ntree: {strategy: one_for_all}\n": "needs a restart of the host",
}


def test_a_document_that_is_wrong_leaves_all_as_it_is_and_is_told_once(start, server):
    host = start()
    until(lambda: pids(host).keys() == {"/a", "/b"}, host)
    before = pids(host)
    for number, (document, words) in enumerate(WRONG.items(), 1):
        server.document = document
        until(lambda number=number: len(told(host, "config_rejected")) == number, host)
        event = told(host, "config_rejected")[-1]
        assert words in " ".join(event["problems"])
        assert server.url in event["problems"][0]
    server.wait_for_looks(2)
    assert len(told(host, "config_rejected")) == len(WRONG)
    assert pids(host) == before
    server.document = tree(sleeper("b"))
    until(lambda: pids(host).keys() == {"/b"}, host)
    assert pids(host)["/b"] == before["/b"]
    server.document = document
    until(lambda: len(told(host, "config_rejected")) == len(WRONG) + 1, host)


@pytest.mark.kills_the_root
def test_a_host_starts_with_the_last_good_document_when_the_url_is_down(start, server):
    host = start()
    until(lambda: pids(host).keys() == {"/a", "/b"}, host)
    server.document = tree(sleeper("a"), sleeper("c"))
    until(lambda: pids(host).keys() == {"/a", "/c"}, host)
    host.process.kill()
    host.process.wait(5)
    server.answer = status(503)
    host = start()
    until(lambda: pids(host).keys() == {"/a", "/c"}, host)
    until(lambda: told(host, "config_rejected"), host)
    assert pids(host).keys() == {"/a", "/c"}


def test_a_host_without_a_document_starts_empty_and_takes_the_first_that_comes(start, server):
    server.answer = status(503)
    host = start()
    until(lambda: told(host, "config_rejected"), host)
    assert host.ask("status", "/")[0]["state"] == "running"
    assert pids(host) == {}
    server.answer = None
    until(lambda: pids(host).keys() == {"/a", "/b"}, host)


def test_what_was_there_between_two_looks_is_not_missed(start, server):
    """Notices are levels, not edges: the last document says all."""
    host = start()
    until(lambda: pids(host).keys() == {"/a", "/b"}, host)
    source = next(row for row in host.ask("status", "--all") if row["path"] == "/_/source")["pid"]
    os.kill(source, signal.SIGSTOP)
    try:
        for name in ("x", "y", "z"):
            server.document = tree(sleeper("a"), sleeper(name))
    finally:
        os.kill(source, signal.SIGCONT)
    until(lambda: pids(host).keys() == {"/a", "/z"}, host)
    assert len(told(host, "config_applied")) == 2


def test_the_child_that_looks_may_die_at_any_time(start, server):
    host = start()
    until(lambda: pids(host).keys() == {"/a", "/b"}, host)
    before = pids(host)
    host.ask("kill", "/_/source")
    server.document = tree(sleeper("a"), sleeper("b"), sleeper("c"))
    until(lambda: "/c" in pids(host), host)
    assert {path: pids(host)[path] for path in before} == before


def test_what_comes_from_a_url_cannot_be_disabled_in_a_file(start, server):
    host = start()
    until(lambda: pids(host).keys() == {"/a", "/b"}, host)
    refused = host.tell("disable", "/a")
    assert refused.returncode == 1
    assert server.url in refused.stderr
    assert "/a" in pids(host)
    assert host.ask("stop", "/a") == {"/a": "done"}
    server.document = tree(sleeper("a"), sleeper("b"), sleeper("c"))
    until(lambda: "/c" in pids(host), host)
    assert "/a" not in pids(host), "an operator has stopped it"
