"""The verb `build`: a command on demand, beside the child it is for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.hosting import RunningHost

CONFIG = """\
version: 1
host: {name: build, logs: {redact: ["token=\\\\S+"]}}
tree:
  children:
    - id: good
      command: [sleep, "1000"]
      env: {WORD: made}
      build: {command: [sh, -c, "echo $WORD in $PWD; echo token=1 >&2; seq 20000"], cwd: workshop}
    - {id: bad, command: [sleep, "1000"], build: {command: [sh, -c, "echo no; exit 7"]}}
    - {id: dead, command: [sleep, "1000"], build: {command: [sh, -c, "kill -9 $$"]}}
    - {id: slow, command: [sleep, "1000"], build: {command: [sleep, "1000"], timeout: 200ms}}
    - {id: lost, command: [sleep, "1000"], build: {command: [no-such-compiler]}}
    - {id: none, command: [sleep, "1000"]}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    directory = tmp_path_factory.mktemp("build")
    (directory / "workshop").mkdir()
    (directory / "build.yaml").write_text(CONFIG)
    with RunningHost(directory / "build.yaml", directory) as host:
        host.wait_ready("/")
        yield host
        assert host.stop() == 0


def test_a_build_shows_all_its_output_and_runs_as_the_child_would(host):
    result = host.tell("build", "/good")
    assert result.returncode == 0
    first, *numbers = result.stdout.splitlines()
    assert first.startswith("made in ")
    assert first.endswith("/workshop")
    assert numbers == [str(number) for number in range(1, 20_001)]
    assert "[redacted]" in result.stderr
    assert host.row("/good")["generation"] == 1


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/bad", 7, "the build has failed after"),
        ("/dead", 128 + 9, "its log is /_/build.dead"),
        ("/slow", 124, "took longer than its timeout"),
        ("/lost", 1, "cannot build /lost: cannot execute 'no-such-compiler'"),
        ("/none", 2, "/none has no build command"),
        ("/missing", 4, "no child has the path /missing"),
    ],
)
def test_a_build_that_fails_hands_its_code_on_and_leaves_the_child_alone(host, path, code, says):
    result = host.tell("build", path)
    assert result.returncode == code, result.stderr
    assert says in result.stderr
    if code not in {2, 4}:
        row = host.row(path)
        assert (row["state"], row["generation"], row["restarts"]) == ("running", 1, 0)
    assert not any(row["path"].startswith("/_/build") for row in host.ask("status", "--all"))


def test_a_build_can_be_repeated_and_is_told_as_json(host):
    for _ in range(2):
        result = host.tell("--json", "build", "/bad")
        told = json.loads(result.stdout)
        assert (result.returncode, told["exit_code"], told["code"]) == (7, 7, 7)
        assert (told["output"], told["timed_out"], told["path"]) == (["no"], False, "/bad")


def test_the_output_of_a_build_stays_in_its_log(host):
    host.tell("build", "/bad")
    log = Path(host.ask("health")["log_dir"]) / "_" / "build.bad.log"
    assert "/_/build.bad stdout" in log.read_text()
