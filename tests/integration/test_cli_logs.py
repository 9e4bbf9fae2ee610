"""`logs` over several children, and what it chooses from their lines."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor_tree.runtime.logs.book import file_of, format_batch, format_time, prefix_of
from tests.integration.hosting import COMMAND, RunningHost

START = 1_700_000_000.0  # 2023-11-14T22:13:20Z
DEADLINE_S = 20.0

CONFIG = """\
version: 1
host: {name: logs}
tree:
  children:
    - {id: talker, command: [sh, -c, "echo out; echo err >&2; exec sleep 1000"]}
    - id: group
      supervisor:
        children:
          - {id: first, command: [sh, -c, "echo from first; exec sleep 1000"]}
          - {id: second, command: [sh, -c, "echo from second; exec sleep 1000"], enabled: false}
"""


def write(log_dir: Path, path: str, stream: str, at: float, *texts: str) -> None:
    file = Path(file_of(str(log_dir), path))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as handle:
        for number, text in enumerate(texts):
            prefix = prefix_of(at + number, path, stream, 12, 3)
            handle.write(format_batch(text.encode(), prefix))


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    write(folder, "/", "stdout", START, "the host")
    write(folder, "/a", "stdout", START + 0.1, "a one", "a two", "a three")
    write(folder, "/a", "stderr", START + 10, "a error")
    write(folder, "/g/b", "stdout", START + 0.2, "b one", "b two")
    write(folder, "/g/c", "note", START + 0.3, "dropped 1 lines")
    return folder


def texts(log_dir: Path, *words: str) -> list[str]:
    command = [COMMAND, "logs", "--log-dir", str(log_dir), "--json", *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    return [json.loads(line)["text"] for line in result.stdout.splitlines()]


def test_lines_of_several_paths_and_sub_trees_come_in_the_order_of_their_times(log_dir):
    assert texts(log_dir, "/a", "/g", "-n", "3") == ["a two", "b two", "a three", "a error"][1:]
    everything = ["a one", "b one", "dropped 1 lines", "a two", "b two", "a three", "a error"]
    assert texts(log_dir, "/a", "/g") == everything
    assert texts(log_dir, "--all") == ["the host", *everything]
    assert texts(log_dir, "/") == ["the host"]


def test_a_path_that_is_named_twice_is_shown_once(log_dir):
    assert texts(log_dir, "/g", "/g/b", "g/b/") == ["b one", "dropped 1 lines", "b two"]


def test_lines_are_chosen_by_time_stream_and_text(log_dir):
    assert texts(log_dir, "/a", "--until", format_time(START + 2)) == ["a one", "a two"]
    since_until = ("--since", format_time(START + 1), "--until", format_time(START + 2))
    assert texts(log_dir, "/a", "/g", *since_until) == ["a two", "b two"]
    assert texts(log_dir, "/a", "--stream", "stderr") == ["a error"]
    assert texts(log_dir, "--all", "--stream", "note") == ["dropped 1 lines"]
    assert texts(log_dir, "/a", "/g", "--grep", "one", "-n", "1") == ["b one"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name at least one path"),
        (("/a", "-f", "--until", "1h"), "--until ends what -f is to go on with"),
        (("/a", "--until", "soon"), "--until: expected a time"),
        (("/a", "--stream", "stdin"), "invalid choice"),
    ],
)
def test_words_that_are_off_are_refused(log_dir, words, says):
    command = [COMMAND, "logs", "--log-dir", str(log_dir), *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 2
    assert says in result.stderr


def on_a_terminal(command: list[str], **environment: str) -> str:
    """What a terminal is shown."""
    looking, writing = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    env |= {"TERM": "xterm-256color", **environment}
    try:
        subprocess.run(command, stdout=writing, check=True, timeout=30, env=env)
        return os.read(looking, 65_536).decode()
    finally:
        os.close(writing)
        os.close(looking)


def test_each_path_has_a_colour_of_its_own_that_stays_the_same(log_dir):
    command = [COMMAND, "logs", "--log-dir", str(log_dir)]
    both = on_a_terminal([*command, "/a", "/g"])
    colours = {
        path: {
            line.split(path)[0].rpartition("\x1b")[2] for line in both.splitlines() if path in line
        }
        for path in ("/a\x1b", "/g/b\x1b")
    }
    assert all(len(found) == 1 for found in colours.values()), both
    assert colours["/a\x1b"] != colours["/g/b\x1b"]
    alone = on_a_terminal([*command, "/g"])
    assert colours["/g/b\x1b"].pop() in alone
    assert "\x1b" not in on_a_terminal([*command, "/a", "/g"], NO_COLOR="1")


def test_a_file_of_a_terabyte_is_not_read_for_its_last_lines(tmp_path):
    file = Path(file_of(str(tmp_path), "/a"))
    with file.open("wb") as handle:
        handle.truncate(1 << 40)  # a hole, which would take minutes to read
    write(tmp_path, "/a", "stdout", START, "", *(f"line {number}" for number in range(100)))
    assert texts(tmp_path, "/a", "-n", "2") == ["line 98", "line 99"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    directory = tmp_path_factory.mktemp("logs")
    (directory / "logs.yaml").write_text(CONFIG)
    with RunningHost(directory / "logs.yaml", directory) as host:
        host.wait_ready("/talker")
        yield host
        assert host.stop() == 0


def test_a_sub_tree_is_followed_with_children_that_come_later(host):
    command = [COMMAND, "--run-dir", str(host.run_dir), "logs", "-f", "/talker", "/group"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            seen = {"/talker": False, "/group/first": False, "/group/second": False}
            for line in follower.stdout:
                seen |= {path: True for path in seen if f" {path} " in line}
                if seen["/talker"] and seen["/group/first"]:
                    host.tell("start", "/group/second")
                if all(seen.values()):
                    break
            assert all(seen.values())
        finally:
            follower.send_signal(signal.SIGINT)
        assert follower.wait(DEADLINE_S) == 130


@pytest.mark.parametrize("since", [(), ("--since", format_time(START))])
def test_following_begins_with_as_many_lines_as_were_asked_for(log_dir, since):
    command = [COMMAND, "logs", "--log-dir", str(log_dir), "-f", "-n", "2", *since, "/a"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            first = [follower.stdout.readline().rstrip() for _ in range(2)]
            assert [line.rpartition(" ")[2] for line in first] == ["three", "error"]
        finally:
            follower.send_signal(signal.SIGINT)
        assert follower.wait(DEADLINE_S) == 130


def test_usr1_begins_a_new_file_where_logrotate_has_moved_the_old_one(host):
    file = Path(file_of(host.ask("health")["log_dir"], "/talker"))
    moved = file.with_suffix(".log.1")
    file.rename(moved)
    host.process.send_signal(signal.SIGUSR1)
    generation = host.row("/talker")["generation"]
    host.tell("restart", "/talker")
    deadline = time.monotonic() + DEADLINE_S
    while not file.exists() or f"#{generation + 1} | out" not in file.read_text():
        assert time.monotonic() < deadline, host.output
    assert f"#{generation + 1} | out" not in moved.read_text()
