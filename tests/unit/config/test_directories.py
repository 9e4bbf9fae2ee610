"""Flag, environment, file, default: in this order."""

from __future__ import annotations

import os

import pytest

from supervisor_tree.config.directories import resolve_dirs, resolve_run_dir
from supervisor_tree.config.hostconfig import HostConfig
from supervisor_tree.errors import ConfigError

EVERYTHING = {
    "SUPERVISOR_TREE_RUN_DIR": "/from/variable",
    "RUNTIME_DIRECTORY": "/run/from-systemd:/run/other",
    "XDG_RUNTIME_DIR": "/run/user/7",
    "HOME": "/home/ada",
}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in EVERYTHING.items() if name not in names}


def test_the_flag_wins_over_all() -> None:
    assert resolve_run_dir("/from/flag", "/from/file", EVERYTHING) == "/from/flag"


def test_the_variable_wins_over_the_file() -> None:
    assert resolve_run_dir(None, "/from/file", EVERYTHING) == "/from/variable"


def test_the_file_wins_over_the_defaults() -> None:
    environ = without("SUPERVISOR_TREE_RUN_DIR")
    assert resolve_run_dir(None, "/from/file", environ) == "/from/file"


def test_an_empty_variable_counts_as_not_given() -> None:
    environ = EVERYTHING | {"SUPERVISOR_TREE_RUN_DIR": ""}
    assert resolve_run_dir(None, "/from/file", environ) == "/from/file"


def test_the_first_default_is_the_directory_that_systemd_has_made() -> None:
    environ = without("SUPERVISOR_TREE_RUN_DIR")
    assert resolve_run_dir(None, None, environ) == "/run/from-systemd"


def test_the_second_default_is_the_users_runtime_directory() -> None:
    environ = without("SUPERVISOR_TREE_RUN_DIR", "RUNTIME_DIRECTORY")
    assert resolve_run_dir(None, None, environ) == "/run/user/7/supervisor-tree"


@pytest.mark.parametrize(
    ("uid", "expected"),
    [(0, "/run/supervisor-tree"), (1000, "/home/ada/.local/state/supervisor-tree/run")],
)
def test_the_last_default_depends_on_who_asks(
    monkeypatch: pytest.MonkeyPatch, uid: int, expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os, "access", lambda path, mode: uid == 0)
    assert resolve_run_dir(None, None, {"HOME": "/home/ada"}) == expected


def test_a_relative_xdg_directory_is_ignored_as_its_specification_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    environ = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "/state"}
    assert resolve_run_dir(None, None, environ) == "/state/supervisor-tree/run"


def test_a_relative_directory_becomes_absolute() -> None:
    assert resolve_run_dir("here", None, {}) == os.path.abspath("here")


def test_the_longest_directory_that_still_has_room_for_a_socket_is_taken() -> None:
    longest = "/" + "r" * 93  # and /control.sock make 107
    assert resolve_run_dir(longest, None, {}) == longest


@pytest.mark.parametrize("directory", ["/" + "r" * 94, "/" + "ü" * 50])
def test_a_directory_too_long_for_a_socket_is_a_configuration_error(directory: str) -> None:
    with pytest.raises(ConfigError, match=r"too long for a socket.*107 bytes.*--run-dir") as caught:
        resolve_run_dir(directory, None, {})
    assert caught.value.exit_code == 78


def test_who_named_the_directory_is_named_in_the_error() -> None:
    long = "/" + "r" * 200
    with pytest.raises(ConfigError, match="SUPERVISOR_TREE_RUN_DIR"):
        resolve_run_dir(None, None, {"SUPERVISOR_TREE_RUN_DIR": long})
    with pytest.raises(ConfigError, match=r"host\.run_dir"):
        resolve_run_dir(None, long, {})


def test_state_and_logs_of_the_file_win() -> None:
    host = HostConfig(name="n", run_dir="/r", state_dir="/s", log_dir="/l")
    assert resolve_dirs(host, None, {"STATE_DIRECTORY": "/systemd"}) == ("/r", "/s", "/l")


def test_state_and_logs_have_systemds_and_xdgs_defaults() -> None:
    host = HostConfig(name="n", run_dir="/r")
    systemd = {"STATE_DIRECTORY": "/var/lib/n"}
    assert resolve_dirs(host, None, systemd)[1:] == ("/var/lib/n", "/var/lib/n/logs")
    assert resolve_dirs(host, "/f", {"XDG_STATE_HOME": "/x"}) == (
        "/f",
        "/x/supervisor-tree/n",
        "/x/supervisor-tree/n/logs",
    )
    home = resolve_dirs(host, None, {"HOME": "/home/ada"})
    assert home[1] == "/home/ada/.local/state/supervisor-tree/n"
