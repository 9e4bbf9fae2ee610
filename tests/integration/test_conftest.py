"""The net under the tests is itself tested: each kind of mess must fail a session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent.parent / "conftest.py"


def session(tmp_path: Path, body: str, *, tier: str = "integration", **environment: str):
    """Run pytest over one test in a project of its own."""
    folder = tmp_path / "tests" / tier
    folder.mkdir(parents=True)
    (tmp_path / "tests" / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_it.py").write_text(body)
    (tmp_path / "setup.cfg").write_text(
        "[tool:pytest]\naddopts = --import-mode=importlib\n"
        "markers =\n    needs(*programs): x\n    kills_the_root: x\n"
    )
    keep = {k: v for k, v in os.environ.items() if k not in ("REQUIRE_ALL", "ST_TEST_SESSION")}
    command = [sys.executable, "-m", "pytest", "-q", str(folder)]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env={**keep, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


MESSES = {
    "process": """
import subprocess
kept = []
def test_it():
    kept.append(subprocess.Popen(["sleep", "100"]))
""",
    "process that has left the session": """
import os, subprocess
def test_it():
    subprocess.run(["setsid", "--fork", "sleep", "100"])
""",
    "descriptor": """
import os
def test_it():
    os.pipe()
""",
    "thread": """
import threading
def test_it():
    threading.Thread(target=threading.Event().wait, daemon=True, name="forgotten").start()
""",
    "socket file": """
import socket
def test_it(tmp_path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
""",
}


@pytest.mark.parametrize("mess", MESSES)
def test_a_session_that_leaves_something_behind_fails_and_names_it(tmp_path, mess):
    result = session(tmp_path, MESSES[mess])
    assert result.returncode == 1, result.stdout
    assert "the tests have left behind" in result.stdout
    assert f"\n  {mess.split()[0]}" in result.stdout


IMPURE = """
import os, socket, subprocess, time

def test_fork():
    os.fork()

def test_sleep():
    time.sleep(0)

def test_sleep_by_its_own_name():
    from time import sleep
    sleep(0)

def test_socket():
    socket.socket()

def test_process():
    subprocess.run(["true"])

def test_signal():
    os.kill(os.getpid(), 0)
"""


@pytest.mark.parametrize("tier", ["unit", "transcripts", "properties"])
def test_a_pure_test_is_refused_what_is_not_pure(tmp_path, tier):
    result = session(tmp_path, IMPURE, tier=tier)
    assert "6 failed" in result.stdout
    assert result.stdout.count("a test of a pure tier must not") >= 6


def test_a_test_of_another_tier_is_let_be(tmp_path):
    result = session(
        tmp_path, IMPURE.replace("os.fork()", "os.waitpid(os.fork() or os._exit(0), 0)")
    )
    assert "6 passed" in result.stdout, result.stdout


MISSING = """
import pytest
@pytest.mark.needs("no-such-program")
def test_it():
    pass
"""


def test_the_sockets_of_a_killed_root_are_excused(tmp_path):
    body = MESSES["socket file"].replace("def", "import pytest\n@pytest.mark.kills_the_root\ndef")
    assert session(tmp_path, body).returncode == 0


def test_a_missing_program_is_named_when_its_test_is_skipped(tmp_path):
    result = session(tmp_path, MISSING)
    assert result.returncode == 0
    assert "1 skipped" in result.stdout


@pytest.mark.parametrize("body", [MISSING, "import pytest\npytest.importorskip('no_such_module')"])
def test_under_require_all_a_skip_is_a_failure(tmp_path, body):
    result = session(tmp_path, body, REQUIRE_ALL="1")
    assert result.returncode != 0
    assert "REQUIRE_ALL is set, and this was skipped" in result.stdout
    assert "no-such-program not found" in result.stdout or "no_such_module" in result.stdout
