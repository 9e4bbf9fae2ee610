"""Every verb of the command line against a real host: what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.integration.hosting import COMMAND, RunningHost

CONFIG = """\
version: 1
host: {name: cli}
tree:
  intensity: 100
  children:
    - {id: calm, command: [sleep, "1000"]}
    - {id: other, command: [sleep, "1000"]}
    - {id: talker, command: [sh, -c, "echo one; echo two; echo three; exec sleep 1000"]}
    - {id: stubborn, command: [sh, -c, "trap '' TERM; while :; do sleep 0.1; done"], shutdown: 1s}
    - {id: loser, command: [sh, -c, "exit 3"], on_limit: park, enabled: false}
    - {id: needy, command: [sleep, "1000"], needs: [loser], enabled: false}
    - {id: patient, command: [sleep, "1000"], backoff: {initial: 100ms}, shutdown: 2s}
    - id: group
      supervisor:
        strategy: rest_for_one
        children:
          - {id: first, command: [sleep, "1000"]}
          - {id: second, command: [sleep, "1000"]}
"""
ROW_KEYS = [
    *("path", "id", "kind", "state", "ready", "pid", "generation", "restarts", "uptime_s"),
    *("wanted", "last_exit", "rss_bytes", "cpu_percent"),
]
DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    directory = tmp_path_factory.mktemp("cli")
    (directory / "cli.yaml").write_text(CONFIG)
    with RunningHost(directory / "cli.yaml", directory) as host:
        host.wait_ready("/")
        yield host
        assert host.stop() == 0


@pytest.fixture(autouse=True)
def everything_runs(request: pytest.FixtureRequest) -> None:
    """Each test begins with the children as the file has them, whatever an earlier one did."""
    if "host" in request.fixturenames:
        host = request.getfixturevalue("host")
        host.tell("start", "/calm", "/other", "/talker", "/group")
        host.tell("stop", "/loser")


@pytest.fixture
def nobody(tmp_path: Path) -> list[str]:
    """The command, where no host is."""
    return [COMMAND, "--run-dir", str(tmp_path / "run")]


def outcome(command: list[str], **keys: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **keys)


def line_with(stream: IO[str], wanted: str) -> str:
    """The first line that holds `wanted`; the test's own limit bounds the wait."""
    for line in stream:
        if wanted in line:
            return line
    raise AssertionError(f"the stream has ended without {wanted!r}")


# --- looking --------------------------------------------------------------------------------------


def test_check_and_run_warn_of_a_setting_without_effect(tmp_path):
    file = tmp_path / "web.yaml"
    file.write_text("version: 1\nhost: {http: {listen: 127.0.0.1:8420}}\ntree: {}\n")
    checked = subprocess.run(
        [COMMAND, "check", str(file)], capture_output=True, text=True, check=True
    )
    assert "web.yaml:2:23: host.http.listen: has no effect" in checked.stderr
    with RunningHost(file, tmp_path) as host:
        host.wait_until_answering()
        assert "warning: " in host.output
        assert "host.http.listen: has no effect" in host.output


def test_status_has_the_promised_shape(host):
    rows = host.ask("status")
    assert all(list(row) == ROW_KEYS for row in rows)
    calm = next(row for row in rows if row["path"] == "/calm")
    assert (calm["kind"], calm["state"], calm["wanted"]) == ("program", "running", "up")
    assert calm["rss_bytes"] > 100_000
    assert calm["cpu_percent"] >= 0
    assert Path(f"/proc/{calm['pid']}").exists()


def test_json_is_given_before_and_after_the_verb(host):
    for words in (("--json", "status"), ("status", "--json")):
        assert json.loads(host.tell(*words).stdout)


def test_status_of_people_is_a_table_without_colour_in_a_pipe(host):
    said = host.tell("status").stdout
    assert said.splitlines()[0].split()[:3] == ["PATH", "KIND", "STATE"]
    assert "/group/second" in said
    assert "\x1b" not in said
    assert "/_" not in said
    assert "/_/logger" in host.tell("status", "--all").stdout


def test_status_of_one_child_tells_by_its_code_whether_it_runs(host):
    assert host.tell("status", "/calm").returncode == 0
    assert host.tell("status", "/loser").returncode == 3
    missing = host.tell("status", "/missing")
    assert missing.returncode == 4
    assert missing.stdout == ""
    assert "/missing" in missing.stderr


def test_the_tree_is_drawn_and_nested(host):
    assert "└─ group rest_for_one" in host.tell("tree").stdout
    (top,) = host.ask("tree")
    assert [child["id"] for child in top["children"]][-1] == "group"


def test_show_tells_all_about_one_child(host):
    said = host.tell("show", "/stubborn").stdout
    for word in ("specification", "command", "trap", "history", "stopped -> starting"):
        assert word in said
    facts = host.ask("show", "/calm")
    assert facts["spec"]["command"] == ["sleep", "1000"]
    assert facts["story"]
    assert host.tell("show", "/missing").returncode == 4


def test_show_gives_what_holds_where_the_file_says_little(host):
    shown = [line.split(maxsplit=1) for line in host.tell("show", "/patient").stdout.splitlines()]
    assert ["backoff.initial", "100ms"] in shown
    assert ["backoff.max", "30s"] in shown
    assert ["shutdown", "2s"] in shown
    shown = [line.split(maxsplit=1) for line in host.tell("show", "/group").stdout.splitlines()]
    assert ["supervisor.strategy", "rest_for_one"] in shown
    assert ["supervisor.period", "5s"] in shown
    assert ["strategy", "one_for_one"] in [
        line.split(maxsplit=1) for line in host.tell("show", "/").stdout.splitlines()
    ]


def test_health_is_a_word_and_a_code(host):
    result = host.tell("health")
    assert (result.returncode, result.stdout.split()[0]) == (0, "running")
    assert host.ask("health")["name"] == "cli"


def test_doctor_says_how_many_descriptors_are_needed(host, nobody):
    found = {one["check"]: one["message"] for one in host.ask("doctor")}
    assert "needs 64 and four for each child" in found["descriptors"]
    few = outcome(["prlimit", "--nofile=50:50", *nobody, "doctor"])
    assert few.returncode == 1
    assert "50 descriptors allowed, a host needs 64 and four for each child" in few.stdout


def test_doctor_finds_a_healthy_host(host):
    result = host.tell("doctor")
    assert result.returncode == 0, result.stdout
    checks = {finding["check"]: finding["result"] for finding in host.ask("doctor")}
    assert checks["host"] in ("ok", "warn")
    assert {"kernel", "run directory", "descriptors", "version", "clock"} <= set(checks)


# --- steering -------------------------------------------------------------------------------------


def test_stop_and_start_are_done_or_already_so(host):
    assert host.tell("stop", "/calm").stdout == "/calm: stopped\n"
    again = host.tell("stop", "/calm")
    assert (again.returncode, again.stdout) == (0, "/calm: already stopped\n")
    assert host.row("/calm")["wanted"] == "down"
    assert host.ask("start", "/calm") == {"/calm": "done"}
    assert host.ask("start", "/calm") == {"/calm": "already"}


def test_a_sub_tree_is_stopped_and_started_whole(host):
    assert host.tell("stop", "/group").returncode == 0
    assert host.tell("status", "/group").returncode == 3
    assert host.tell("start", "/group").returncode == 0
    assert host.row("/group/second")["state"] == "running"


def test_restart_makes_a_new_process_and_touches_no_other(host):
    before, bystander = host.row("/calm"), host.row("/other")
    assert host.tell("restart", "/calm").returncode == 0
    after = host.row("/calm")
    assert after["generation"] == before["generation"] + 1
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"]
    assert host.row("/other")["pid"] == bystander["pid"]


def test_kill_leaves_the_restart_to_the_rules(host):
    before = host.row("/calm")
    assert host.tell("kill", "/calm").stdout == "/calm: killed\n"
    host.wait_generation("/calm", before["generation"] + 1)
    after = host.row("/calm")
    assert after["restarts"] == before["restarts"] + 1
    assert after["last_exit"]["signal"] == signal.SIGKILL


@pytest.mark.parametrize("words", [("HUP", "/other"), ("/other", "SIGHUP"), ("1", "/other")])
def test_a_signal_is_sent_to_the_process(host, words):
    before = host.row("/other")
    assert host.tell("signal", *words).returncode == 0
    host.wait_generation("/other", before["generation"] + 1)
    assert host.row("/other")["last_exit"]["signal"] == signal.SIGHUP


def test_an_order_that_is_late_says_so_and_stands(host):
    host.tell("start", "/stubborn")
    late = host.tell("stop", "/stubborn", "--timeout", "100ms")
    assert late.returncode == 124
    assert "the order stands" in late.stderr
    assert "(/stubborn is stopping)" in late.stderr
    assert host.tell("wait", "/stubborn", "--for", "stopped", "--timeout", "15").returncode == 0
    assert host.row("/stubborn")["state"] == "stopped"


def test_a_start_that_is_late_says_what_the_child_waits_for(host):
    try:
        late = host.tell("start", "/needy", "--timeout", "1s")
        assert late.returncode == 124
        assert "/needy is stopped (waits for loser to be ready)" in late.stderr
    finally:
        host.tell("stop", "/needy")


def test_an_order_stands_however_short_its_timeout_is(host):
    hasty = host.tell("stop", "/other", "--timeout", "0")
    if hasty.returncode != 0:  # a fast host may have done it
        assert hasty.returncode == 124
        assert "the order stands" in hasty.stderr
    assert host.tell("wait", "/other", "--for", "stopped", "--timeout", "15").returncode == 0


def test_an_order_that_the_host_did_not_take_is_not_said_to_stand(host):
    os.kill(host.process.pid, signal.SIGSTOP)
    try:
        late = host.tell("stop", "/other", "--timeout", "10ms")
    finally:
        os.kill(host.process.pid, signal.SIGCONT)
    assert late.returncode == 124
    assert "it was not sent" in late.stderr
    assert host.row("/other")["state"] == "running"


@pytest.mark.parametrize("words", [("schema",), ("--version",), ("completion", "bash")])
def test_output_that_cannot_be_written_is_one_line_of_error(words):
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "No space left on device" in line


def test_an_order_need_not_be_awaited(host):
    host.tell("start", "/stubborn")
    result = host.tell("stop", "--no-wait", "/stubborn")
    assert (result.returncode, result.stdout) == (0, "/stubborn: will be done\n")
    assert host.tell("wait", "/stubborn", "--for", "stopped", "--timeout", "15").returncode == 0


def test_a_child_that_has_given_up_is_named_and_reset(host):
    host.tell("start", "/loser", "--no-wait")
    given_up = host.tell("wait", "/loser", "--for", "stopped", "--timeout", "15")
    assert given_up.returncode == 0, given_up.stderr
    state = host.row("/loser")
    assert state["last_exit"]["code"] == 3
    host.tell("reset-failed")
    assert host.row("/loser")["generation"] > 1


def test_a_wait_ends_by_its_timeout(host):
    result = host.tell("wait", "/calm", "--for", "stopped", "--timeout", "50ms")
    assert result.returncode == 124
    assert "/calm is running" in result.stderr
    assert host.tell("wait", "/missing").returncode == 4


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("stop", "/"), 2),
        (("stop", "/missing"), 4),
        (("disable", "/"), 2),
        (("stats", "/missing"), 4),
        (("events", "/missing"), 4),
        (("restart", "/calm", "/missing"), 4),
        (("signal", "NONSENSE", "/calm"), 2),
        (("frobnicate",), 2),
        (("status", "--nonsense"), 2),
    ],
)
def test_an_order_that_is_off_touches_nothing(host, words, code):
    before = host.row("/calm")
    result = host.tell(*words)
    assert result.returncode == code
    assert result.stdout == ""
    assert result.stderr
    assert host.row("/calm")["pid"] == before["pid"]


def test_all_verbs_say_alike_that_there_is_no_such_child(host):
    said = {host.tell(verb, "/missing").stderr for verb in ("status", "stats", "events", "stop")}
    assert said == {"supervisor-tree: no child has the path /missing; `status` lists them all\n"}
    of_the_top = {host.tell(verb, "/").stderr.replace(verb, "VERB") for verb in ("stop", "disable")}
    assert of_the_top == {"supervisor-tree: cannot VERB / itself; see `shutdown`\n"}


def test_the_public_key_stands_alone_and_the_way_to_the_secret_beside_it(tmp_path):
    made = outcome([COMMAND, "keys", "--dir", str(tmp_path / "k")])
    assert len(made.stdout.split()) == 1
    assert f"the secret key is in {tmp_path / 'k' / 'host.secret'}" in made.stderr
    again = outcome([COMMAND, "--json", "keys", "--dir", str(tmp_path / "k"), "--force"])
    assert again.stderr == ""


def test_nothing_found_is_said_to_be_so(host):
    for words, said in (
        (("logs", "/calm", "--grep", "no such text"), "no lines"),
        (("events", "/calm", "-n", "0"), "no events"),
    ):
        result = host.tell(*words)
        assert (result.returncode, result.stdout, result.stderr) == (
            0,
            "",
            f"supervisor-tree: {said}\n",
        )
        assert host.tell("--json", *words).stderr == ""


# --- events ---------------------------------------------------------------------------------------


def test_events_are_numbered_json_lines(host):
    said = host.tell("events", "--json").stdout
    events = [json.loads(line) for line in said.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {"time", "host", "event", "path", "kind", "generation", "pid"} <= set(events[0])
    assert all(event["time"].endswith("Z") for event in events)
    third = host.tell("--json", "events", "--since", "2", "-n", "100000").stdout.splitlines()[0]
    assert json.loads(third)["seq"] == 3


def test_events_for_people_are_lines_of_a_sub_tree(host):
    lines = host.tell("events", "/group").stdout.splitlines()
    assert lines
    assert all("/group" in line for line in lines)
    assert len(host.tell("events", "-n", "2").stdout.splitlines()) == 2


def test_events_are_followed_as_they_happen(host):
    command = [COMMAND, "--run-dir", str(host.run_dir), "events", "-f", "-n", "0", "/other"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            # It begins to follow in its own time; what was before that it does not show.
            reading = threading.Thread(target=line_with, args=(follower.stdout, "ready"))
            reading.start()
            while reading.is_alive():
                host.tell("restart", "/other")
                reading.join(1.0)
        finally:
            follower.send_signal(signal.SIGINT)
        assert follower.wait(DEADLINE_S) == 130


# --- logs -----------------------------------------------------------------------------------------


def lines_of_talker(host: RunningHost, *words: str) -> list[str]:
    """The logger writes soon, not at once."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        lines = host.tell("logs", "/talker", *words).stdout.splitlines()
        if lines and "three" in lines[-1]:
            return lines
        assert time.monotonic() < deadline, lines


def test_logs_are_the_last_lines_of_a_child(host):
    lines = lines_of_talker(host, "-n", "2")
    assert [line.rpartition("| ")[2] for line in lines] == ["two", "three"]
    last = json.loads(lines_of_talker(host, "-n", "1", "--json")[0])
    assert (last["path"], last["stream"], last["text"]) == ("/talker", "stdout", "three")
    assert {"ts", "pid", "generation"} <= set(last)


def test_logs_are_read_from_a_moment_on(host):
    assert len(lines_of_talker(host, "--since", "1h")) >= 3
    assert host.tell("logs", "/talker", "--since", "2100-01-01T00:00:00Z").stdout == ""
    assert host.tell("logs", "/talker", "--since", "tomorrow").returncode == 2
    assert host.tell("logs", "/missing").returncode == 4


def test_logs_are_followed_over_a_restart(host):
    lines_of_talker(host)
    command = [COMMAND, "--run-dir", str(host.run_dir), "logs", "-f", "-n", "0", "/talker"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            generation = host.row("/talker")["generation"]
            host.tell("restart", "/talker")
            line_with(follower.stdout, f"#{generation + 1} | three")
        finally:
            follower.send_signal(signal.SIGINT)
        assert follower.wait(DEADLINE_S) == 130


# --- the host as a whole --------------------------------------------------------------------------


def test_a_second_host_is_told_who_holds_the_directory(host, tmp_path):
    config = tmp_path / "second.yaml"
    config.write_text("version: 1\nhost: {name: second}\ntree: {children: []}\n")
    result = host.tell("run", str(config))
    assert result.returncode == 78
    assert f"pid {host.process.pid}" in result.stderr
    assert host.tell("health").returncode == 0


def test_shutdown_returns_when_the_host_is_gone(tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text("version: 1\nhost: {name: short}\ntree: {children: []}\n")
    with RunningHost(config, tmp_path) as short:
        short.wait_until_answering()
        events = subprocess.Popen(
            [COMMAND, "--run-dir", str(short.run_dir), "events", "-f"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with events:
            assert events.stdout is not None
            line_with(events.stdout, "is running")
            assert short.tell("shutdown", "--timeout", "5").returncode == 0
            assert short.process.wait(DEADLINE_S) == 0
            assert events.wait(DEADLINE_S) == 0, "a follower outlives its host"
        assert short.tell("status").returncode == 69


@pytest.mark.parametrize(
    "words",
    [
        *(("status",), ("tree",), ("show", "/a"), ("stop", "/a"), ("wait", "/a"), ("events",)),
        *(("logs", "/a"), ("health",), ("shutdown",), ("reset-failed",), ("signal", "1", "/a")),
    ],
)
def test_without_a_host_a_verb_says_so_and_how_to_go_on(nobody, words):
    result = outcome([*nobody, *words])
    assert result.returncode == 69
    assert result.stdout == ""
    assert "no host is running at" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_needs_no_host_works_without_one(nobody, tmp_path):
    assert outcome([*nobody, "doctor"]).returncode == 0
    assert json.loads(outcome([*nobody, "schema"]).stdout)["type"] == "object"
    assert "supervisor" in outcome([*nobody, "completion", "bash"]).stdout
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("version: 1\ntree: {children: [{id: a, command: [sleep, '1']}]}\n")
    bad.write_text("version: 1\ntree: {children: [{id: a}, {id: b, colour: red}]}\n")
    assert "ok" in outcome([*nobody, "check", str(good)]).stdout
    wrong = outcome([*nobody, "check", str(bad)])
    assert wrong.returncode == 78
    assert wrong.stderr.count("bad.yaml:2:") >= 2
    listed = outcome([*nobody, "check", "--json", str(bad)])
    assert (listed.returncode, json.loads(listed.stdout)["ok"]) == (78, False)
    assert outcome([*nobody, "check", str(tmp_path / "gone.yaml")]).returncode == 78


@pytest.mark.parametrize("verb", ["status", "run"])
def test_a_run_directory_too_long_for_a_socket_is_a_bad_configuration(tmp_path, verb):
    config = tmp_path / "a.yaml"
    config.write_text("version: 1\ntree: {children: []}\n")
    words = [str(config)] if verb == "run" else []
    result = outcome([COMMAND, "--run-dir", str(tmp_path / ("x" * 120)), verb, *words])
    assert result.returncode == 78
    assert "too long for a socket" in result.stderr


def test_logs_of_a_host_that_has_ended_are_read_by_directory(nobody, tmp_path):
    (tmp_path / "a.log").write_text("2026-01-31T10:00:00.000Z /a stdout 7 #1 | last words\n")
    result = outcome([*nobody, "logs", "/a", "--log-dir", str(tmp_path)])
    assert result.stdout == "2026-01-31T10:00:00.000Z stdout #1 | last words\n"
    missing = outcome([*nobody, "logs", "/b", "--log-dir", str(tmp_path)])
    assert missing.returncode == 4


def test_logs_on_a_terminal_cannot_move_its_cursor(nobody, tmp_path):
    line = "2026-01-31T10:00:00.000Z /a stderr 7 #1 | "
    (tmp_path / "a.log").write_text(f"{line}\x1b[32mgreen\x1b[0m\x1b[2Jgone\n")
    looking, writing = os.openpty()
    command = [*nobody, "logs", "/a", "--log-dir", str(tmp_path)]
    subprocess.run(command, stdout=writing, check=True, timeout=30)
    os.close(writing)
    said = os.read(looking, 65_536)
    os.close(looking)
    assert b"\x1b[32mgreen\x1b[0m\\x1b[2Jgone" in said
    assert "\x1b[2J" in outcome(command).stdout, "a pipe gets what the child wrote"


def test_a_pipe_closed_by_its_reader_ends_a_command_in_silence(nobody):
    with subprocess.Popen(
        [*nobody, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert command.wait(DEADLINE_S) == 0
        assert command.stderr.read() == b""


def test_the_module_is_the_command(tmp_path):
    module = [sys.executable, "-m", "supervisor_tree", "--run-dir", str(tmp_path / "run")]
    assert outcome([*module, "status"]).returncode == 69
    assert outcome([*module, "--version"]).stdout.startswith("supervisor-tree ")


def test_the_run_directory_is_the_flag_then_the_environment(host, tmp_path):
    there = {**os.environ, "SUPERVISOR_TREE_RUN_DIR": str(host.run_dir)}
    assert outcome([COMMAND, "health"], env=there).returncode == 0
    elsewhere = outcome([COMMAND, "--run-dir", str(tmp_path / "run"), "health"], env=there)
    assert elsewhere.returncode == 69


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (("status",), "NoHost", 69),
        (("run", "gone.yaml"), "ConfigError", 78),
        (("stauts",), "UsageError", 2),
        (("show",), "UsageError", 2),
        (("stop", "/a", "--timeout", "soon"), "UsageError", 2),
    ],
)
def test_under_json_an_error_is_one_json_object(nobody, words, kind, code):
    for command in ([*nobody, *words, "--json"], [nobody[0], "--json", *nobody[1:], *words]):
        result = outcome(command)
        assert (result.returncode, result.stdout) == (code, "")
        error = json.loads(result.stderr)["error"]
        assert (error["type"], error["exit_code"]) == (kind, code)
        assert error["message"]


def test_text_that_the_terminal_has_no_letters_for_is_escaped(tmp_path):
    config = tmp_path / "größe.yaml"
    config.write_text("version: 1\ntree: {children: []}\n")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = outcome([COMMAND, "check", str(config)], env=environment)
    assert result.returncode == 0
    assert "gr\\xf6\\xdfe.yaml: ok" in result.stdout
