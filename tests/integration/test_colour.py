"""Colour: on a terminal that has it, by the same rule for every verb."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from supervisor_tree.cli.parser import VERBS
from tests.integration.hosting import COMMAND, RunningHost

# Verbs that need words to say anything; others are run without.
WORDS = {
    "check": ["CONFIG"],
    "plan": ["CONFIG"],
    "apply": ["CONFIG"],
    "unit": ["CONFIG"],
    "completion": ["bash"],
    "wait": ["/a", "--for", "ready"],
    "signal": ["CONT", "/a"],
    "reset-failed": ["/broken"],
    "call": ["/a", "null"],
    "cast": ["/a", "null"],
    "publish": ["a.b", "null"],
    **{verb: ["/a"] for verb in ("show", "explain", "logs", "start", "kill", "restart")},
    **{verb: ["/none"] for verb in ("stop", "enable", "disable")},
}
# Those that do not end by themselves, or end the host; `run` has a test of its own.
ENDLESS = {"run", "shutdown", "subscribe", "top"}
PAINTED = ("status", "tree", "events", "doctor", "show")


def without_colours() -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.endswith("_COLOR")}
    return {**plain, "TERM": "xterm-256color", "COLUMNS": "100"}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    directory = tmp_path_factory.mktemp("colour")
    before = os.getcwd()
    os.chdir(directory)  # some verbs write into the working directory
    config = directory / "host.yaml"
    config.write_text(
        "version: 1\ntree:\n  intensity: 1000\n  children:\n"
        "    - {id: a, command: [sh, -c, 'echo words; sleep 100']}\n"
        "    - {id: broken, command: [no-such-program], on_limit: park}\n"
    )
    with RunningHost(config, directory) as running:
        running.config = config  # type: ignore[attr-defined]
        running.wait_ready("/a")
        yield running
    os.chdir(before)


def command(host: RunningHost, verb: str, *before: str) -> list[str]:
    config: Path = host.config  # type: ignore[attr-defined]
    words = [str(config) if word == "CONFIG" else word for word in WORDS.get(verb, [])]
    return [COMMAND, "--run-dir", str(host.run_dir), *before, verb, *words]


def on_terminal(words: Sequence[str], environment: dict[str, str]) -> bytes:
    """What a command writes when all of its streams are a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=environment) as run:
        os.close(slave)
        shown = b""
        try:
            while part := os.read(master, 65536):
                shown += part
        except OSError:  # EIO: nobody is at the other end any more
            pass
        finally:
            os.close(master)
        run.wait(30)
    return shown


def in_pipe(words: Sequence[str], environment: dict[str, str]) -> bytes:
    done = subprocess.run(words, env=environment, capture_output=True, timeout=50, check=False)
    return done.stdout + done.stderr


def painted(outputs: dict[str, bytes]) -> list[str]:
    return [verb for verb, shown in outputs.items() if b"\x1b" in shown]


def of_all(verbs: Sequence[str], run) -> dict[str, bytes]:
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(verbs, threads.map(run, verbs), strict=True))


QUIET = sorted(set(VERBS) - ENDLESS)


pytestmark = pytest.mark.timeout(300)  # a hundred commands, on a machine that has more to do


def test_no_verb_paints_where_colour_is_not_wanted(host: RunningHost) -> None:
    environment = without_colours() | {"NO_COLOR": "1", "FORCE_COLOR": "1"}
    outputs = of_all(QUIET, lambda verb: on_terminal(command(host, verb), environment))
    assert all(outputs[verb] for verb in PAINTED)
    assert painted(outputs) == []


def test_no_verb_paints_json(host: RunningHost) -> None:
    forced = without_colours() | {"FORCE_COLOR": "1"}
    outputs = of_all(QUIET, lambda verb: on_terminal(command(host, verb, "--json"), forced))
    assert painted(outputs) == []


def test_neither_a_dumb_terminal_nor_a_pipe_is_painted(host: RunningHost) -> None:
    plain, dumb = without_colours(), without_colours() | {"TERM": "dumb"}
    shown = of_all(PAINTED, lambda verb: on_terminal(command(host, verb), dumb))
    assert painted(shown) == []
    shown = of_all(PAINTED, lambda verb: in_pipe(command(host, verb), plain))
    assert painted(shown) == []


def test_a_terminal_is_painted_and_a_pipe_too_if_asked(host: RunningHost) -> None:
    plain, forced = without_colours(), without_colours() | {"FORCE_COLOR": "1"}
    shown = of_all(PAINTED, lambda verb: on_terminal(command(host, verb), plain))
    assert painted(shown) == list(PAINTED)
    shown = of_all(PAINTED, lambda verb: in_pipe(command(host, verb), forced))
    assert painted(shown) == list(PAINTED)


@pytest.mark.parametrize(("said", "colour"), [({"FORCE_COLOR": "1"}, True), ({}, False)])
def test_a_host_in_the_foreground_goes_by_the_same_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], colour: bool
) -> None:
    for key in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(key, raising=False)
    for key, value in said.items():
        monkeypatch.setenv(key, value)
    config = tmp_path / "host.yaml"
    config.write_text("version: 1\ntree: {children: [{id: a, command: [sleep, '100']}]}\n")
    with RunningHost(config, tmp_path) as running:
        running.wait_ready("/a")
        assert running.stop() == 0
        assert ("\x1b" in running.output) is colour
