"""What every test may rely on and must obey.

* Nothing is left behind: a process, descriptor, thread or socket file that outlives the
  session fails it, by name, with the test that made it.
* The pure tiers (unit, transcripts, properties, fuzz) neither fork, nor open a socket, nor
  sleep, nor signal: the interpreter itself refuses, through an audit hook.
* REQUIRE_ALL=1: whatever would be skipped fails.  CI runs so.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

# No test is judged by the clock, and an example's 200 ms would be.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

ROOT = Path(__file__).parent.parent
PURE_TIERS = ("unit", "transcripts", "properties", "fuzz")
DEADLINE_S = 5.0  # how long after the last test a process may still be ending

# The Debian package of each program that a test may need.
PACKAGES = {
    "erl": "erlang-base",
    "escript": "erlang-base",
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
    "nginx": "nginx-light",
    "make": "make",
    "git": "git",
    "linux.uml": "user-mode-linux",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="write the golden transcripts anew; read the diff"
    )


# --- nothing skipped in silence --------------------------------------------------------


def require_all() -> bool:
    return os.environ.get("REQUIRE_ALL", "") not in ("", "0")


def find_program(name: str) -> str | None:
    """Debian keeps servers in /usr/sbin, which is on root's PATH alone."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        missing = [program for program in mark.args if find_program(program) is None]
        if missing:
            packages = " ".join(sorted({PACKAGES.get(program, program) for program in missing}))
            pytest.skip(f"{', '.join(missing)} not found (Debian: apt install {packages})")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.skipped and require_all() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL is set, and this was skipped: {reason_of(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    report = yield
    if report.skipped and require_all():
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_ALL is set, and this was skipped: {reason_of(report)}"
    return report


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    longrepr = report.longrepr
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


# --- the pure tiers --------------------------------------------------------------------

FORBIDDEN = {
    "os.exec": "replace the process",
    "os.fork": "fork",
    "os.forkpty": "fork",
    "os.kill": "send signals",
    "os.posix_spawn": "start a process",
    "os.system": "start a process",
    "socket.__new__": "open a socket",
    "subprocess.Popen": "start a process",
}
guarded_test: str | None = None


def guard(event: str, _args: object) -> None:
    if guarded_test is not None and event in FORBIDDEN:
        what = FORBIDDEN[event]
        raise AssertionError(f"{guarded_test}: a test of a pure tier must not {what} ({event})")


sys.addaudithook(guard)


def refuse_to_sleep(_seconds: float) -> None:
    raise AssertionError(f"{guarded_test}: a test of a pure tier must not sleep")


@pytest.fixture(autouse=True)
def pure_tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse what a pure test must not do; other tiers are left alone."""
    global guarded_test  # noqa: PLW0603  (an audit hook cannot be taken away again)
    if not is_pure(request.node.path):
        yield
        return
    guarded_test = request.node.nodeid
    monkeypatch.setattr(time, "sleep", refuse_to_sleep)  # has no audit event before 3.13
    try:
        yield
    finally:
        guarded_test = None


def is_pure(path: Path) -> bool:
    return any(path.is_relative_to(ROOT / "tests" / tier) for tier in PURE_TIERS)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a name so short that a path of a socket fits in behind it (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="st-") as directory:
        yield Path(directory)


# --- nothing left behind ---------------------------------------------------------------

# Every process that a test starts inherits this; hosts hand it on to their children.
SESSION_KEY = "ST_TEST_SESSION"


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[None]:
    """Fail the session on any process, descriptor, thread or socket file it leaves."""
    mark = uuid.uuid4().hex
    os.environ[SESSION_KEY] = mark
    gc.collect()
    descriptors, threads = open_descriptors(), set(threading.enumerate())
    yield
    gc.collect()
    base = tmp_path_factory.getbasetemp()
    left = [
        *left_processes(mark, str(base)),
        *(f"thread: {thread.name}" for thread in set(threading.enumerate()) - threads),
        *(
            f"descriptor {number}: {target}{grown_in(request.config)}"
            for number, target in open_descriptors().items()
            if descriptors.get(number) != target
        ),
        *(f"socket file: {path}" for path in left_sockets(base, request.config)),
    ]
    del os.environ[SESSION_KEY]
    if left:
        pytest.fail("the tests have left behind:\n  " + "\n  ".join(left), pytrace=False)


def open_descriptors() -> dict[int, str]:
    """Number -> what it is, above the standard ones, which pytest turns about itself."""
    found = {}
    for name in filter(lambda name: int(name) > 2, os.listdir("/proc/self/fd")):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def left_processes(mark: str, base: str) -> list[str]:
    """Descendants, and what bears our mark; they are ended, so that only we fail."""
    ours = {process.pid: process for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        run_dir = environment.get("SUPERVISOR_TREE_RUN_DIR", "")
        if environment.get(SESSION_KEY) == mark or run_dir.startswith(base):
            ours[process.pid] = process
    ours.pop(os.getpid(), None)
    _, alive = psutil.wait_procs(list(ours.values()), timeout=DEADLINE_S)
    lines = []
    for process in alive:
        try:
            test = process.environ().get("PYTEST_CURRENT_TEST", "?")
            lines.append(f"process {process.pid}: {' '.join(process.cmdline())} (from {test})")
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(alive, timeout=DEADLINE_S)
    return lines


GREW: pytest.StashKey[list[str]] = pytest.StashKey()
SOCKETS_STAY: pytest.StashKey[list[Path]] = pytest.StashKey()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None):
    """Note which tests end with more descriptors than they began with: the suspects."""
    before = len(os.listdir("/proc/self/fd"))
    result = yield
    if len(os.listdir("/proc/self/fd")) > before:
        item.config.stash.setdefault(GREW, []).append(item.nodeid)
    return result


@pytest.fixture(autouse=True)
def excused_sockets(request: pytest.FixtureRequest) -> None:
    """A root that is killed cannot tidy up: note where."""
    if "tmp_path" in request.fixturenames and request.node.get_closest_marker("kills_the_root"):
        excused = request.config.stash.setdefault(SOCKETS_STAY, [])
        excused.append(request.getfixturevalue("tmp_path"))


def grown_in(config: pytest.Config) -> str:
    tests = config.stash.get(GREW, [])
    return f" (descriptors grew in {', '.join(tests[:5])})" if tests else ""


def left_sockets(base: Path, config: pytest.Config) -> list[Path]:
    excused = config.stash.get(SOCKETS_STAY, [])
    return [
        path
        for path in base.rglob("*")
        if path.is_socket() and not any(path.is_relative_to(directory) for directory in excused)
    ]
