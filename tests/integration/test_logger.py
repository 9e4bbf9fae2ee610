"""The logger process with the root's side of the logs, without spawner and host."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor_tree.core.specs import Logs
from supervisor_tree.runtime.logs import streams as logs_module
from supervisor_tree.runtime.logs.book import LogLine, file_of, files_of, format_batch, prefix_of
from supervisor_tree.runtime.logs.reader import Follower, read_since, tail
from supervisor_tree.runtime.logs.streams import LogStreams
from supervisor_tree.runtime.logs.wire import unread

DEADLINE_S = 20.0
BIG = Logs(rotation=1_000_000_000, retention=10, total_bytes=1_000_000_000)

# What the agents' bootstrap gives a plain callable, in a process of its own.
LOGGER = """
import json, sys
from types import SimpleNamespace
from supervisor_tree.agents.stopping import Stopping
from supervisor_tree.runtime.logs.logger import main
import resource, signal
stopping = Stopping()
stopping.listen([signal.SIGTERM])
args = json.loads(sys.argv[1])
if "file_size" in args:
    resource.setrlimit(resource.RLIMIT_FSIZE, (args["file_size"], args["file_size"]))
main(SimpleNamespace(args=args, stopping=stopping))
"""

# A child that writes numbered lines as fast as it can: argv = name, how many
WRITER = """
import sys
name, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    sys.stdout.write(f"{name} {number} {'x' * (number % 90)}\\n")
    if number % 7 == 0:
        sys.stdout.flush()
"""


class Root:
    """The part of the host that has to do with logs."""

    def __init__(self, directory: Path) -> None:
        self.log_dir = str(directory / "logs")
        self.directory = directory
        self.streams = LogStreams(on_frozen=self.replace_logger)
        self.streams.listen(str(directory))
        self.logger: subprocess.Popen[bytes] | None = None
        self.children: list[subprocess.Popen[bytes]] = []
        self.lives = 0

    def start_logger(self, **args: object) -> subprocess.Popen[bytes]:
        args |= {"run_dir": str(self.directory), "log_dir": self.log_dir}
        self.logger = subprocess.Popen([sys.executable, "-c", LOGGER, json.dumps(args)])
        self.streams.expect(self.logger.pid)
        return self.logger

    def connect(self, **args: object) -> None:
        before = self.streams.stats.connections
        self.start_logger(**args)
        self.until(lambda: self.streams.stats.connections > before)

    def kill_logger(self, signum: int = signal.SIGKILL) -> None:
        assert self.logger is not None
        self.logger.send_signal(signum)
        self.until(lambda: self.logger is not None and self.logger.poll() is not None)
        self.logger = None
        self.until(lambda: not self.streams.connected)

    def replace_logger(self) -> None:
        """What the rules do about a logger that takes nothing in."""
        assert self.logger is not None
        self.logger.kill()
        self.logger.wait(DEADLINE_S)
        self.start_logger()

    def pipe(self, path: str, logs: Logs | None = None, *, err: bool = False) -> int:
        """The write end of a new life's output."""
        read, write = os.pipe2(os.O_CLOEXEC)
        self.lives += 1
        out, error = (-1, read) if err else (read, -1)
        pid = 4000 + self.lives
        self.streams.attach(path, self.lives, pid, stdout=out, stderr=error, logs=logs)
        return write

    def child(self, path: str, code: str, *argv: str, logs: Logs | None = None) -> None:
        out = self.pipe(path, logs)
        process = subprocess.Popen([sys.executable, "-c", code, *argv], stdout=out)
        os.close(out)
        self.children.append(process)

    def until(self, condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Turn the root's loop until `condition` holds."""
        [(fd, handle)] = self.streams.sockets()
        deadline = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < deadline, "deadline passed"
            if select.select([fd], [], [], 0.01)[0]:
                handle()
            due = self.streams.due()
            if due is not None and time.monotonic() >= due:
                self.streams.tick()

    def all_written(self) -> None:
        self.until(lambda: self.streams.stats.streams == 0)

    def lines(self, path: str) -> list[LogLine]:
        return list(read_since(self.log_dir, path, 0))

    def texts(self, path: str) -> list[str]:
        return [line.text for line in self.lines(path)]

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait(DEADLINE_S)
        if self.logger is not None:
            self.logger.kill()
            self.logger.wait(DEADLINE_S)
        self.streams.close()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path)
    yield root
    root.close()


def numbers(root: Root, path: str) -> list[int]:
    return [int(text.split()[1]) for text in root.texts(path) if text.split()[0] == path[1:]]


def test_lines_of_both_streams_reach_the_file_of_their_path(root: Root) -> None:
    root.connect()
    out, err = root.pipe("/chat/bot"), root.pipe("/chat/bot", err=True)
    os.write(out, b"hello\nworld\n")
    os.write(err, b"oops\n")
    os.close(out)
    os.close(err)
    root.all_written()
    found = {
        (line.stream, line.pid, line.generation, line.text) for line in root.lines("/chat/bot")
    }
    assert found == {
        ("stdout", 4001, 1, "hello"),
        ("stdout", 4001, 1, "world"),
        ("stderr", 4002, 2, "oops"),
    }
    assert (root.streams.stats.lines, root.streams.stats.bytes) == (3, 17)


def test_killing_the_logger_twenty_times_loses_and_doubles_no_line(root: Root) -> None:
    count = 20_000
    root.connect()
    paths = [f"/w{number}" for number in range(10)]
    for path in paths:
        root.child(path, WRITER, path[1:], str(count), logs=BIG)
    for kill in range(20):
        seen = kill * 200
        # Writers wait for room in their pipes, so that each logger dies over its work.
        root.until(
            lambda seen=seen: any(
                len(tail(root.log_dir, path, 1)) and numbers_at_end(root, path) > seen
                for path in paths
            )
        )
        root.kill_logger()
        root.connect()
    root.all_written()
    for path in paths:
        assert numbers(root, path) == list(range(count))
    assert root.streams.stats.connections == 21


def numbers_at_end(root: Root, path: str) -> int:
    last = tail(root.log_dir, path, 1)
    return int(last[0].text.split()[1]) if last else -1


def test_an_unfinished_line_survives_the_logger_and_is_written_once(root: Root) -> None:
    root.connect()
    out = root.pipe("/a")
    os.write(out, b"whole\nbegun ")
    root.until(lambda: root.texts("/a") == ["whole"])
    root.kill_logger()
    root.connect()
    os.write(out, b"and ended\n")
    os.close(out)
    root.all_written()
    assert [(line.text, line.partial) for line in root.lines("/a")] == [
        ("whole", False),
        ("begun and ended", False),
    ]


def test_a_last_line_without_line_end_is_written(root: Root) -> None:
    root.connect()
    out = root.pipe("/a")
    os.write(out, b"last words")
    os.close(out)
    root.all_written()
    assert root.texts("/a") == ["last words"]


def test_what_a_silent_child_has_begun_is_shown_as_a_piece(root: Root) -> None:
    root.connect()
    out = root.pipe("/a")
    os.write(out, b"Password: ")
    root.until(lambda: root.texts("/a") == ["Password: "])
    os.write(out, b"secret\n")
    os.close(out)
    root.all_written()
    assert [(line.text, line.partial) for line in root.lines("/a")] == [
        ("Password: ", True),
        ("secret", False),
    ]


def test_a_line_longer_than_a_pipe_is_split_and_complete(root: Root) -> None:
    root.connect()
    size = 3_000_000
    code = f"import sys; sys.stdout.write('ab' * {size // 2} + '\\nend\\n')"
    root.child("/long", code, logs=BIG)
    root.all_written()
    *pieces, last, end = root.lines("/long")
    assert all(piece.partial for piece in pieces)
    assert not last.partial
    assert "".join(line.text for line in [*pieces, last]) == "ab" * (size // 2)
    assert end.text == "end"


def test_bytes_that_are_no_text_stay_as_they_are(root: Root) -> None:
    root.connect()
    raw = b"\xff\x00\xc3\x28 \x1b[31mred\x1b[0m 10%\r20%\xe2\x80\xa8|\n"
    out = root.pipe("/a")
    os.write(out, raw)
    os.close(out)
    root.all_written()
    (file,) = files_of(root.log_dir, "/a")
    assert Path(file).read_bytes().endswith(b" | " + raw)
    assert root.texts("/a") == ["\\xff\x00\\xc3( \x1b[31mred\x1b[0m 10%\r20%\u2028|"]


def test_rotation_keeps_every_line_within_retention(root: Root) -> None:
    root.connect()
    limits = Logs(rotation=20_000, retention=1000)
    with Follower(root.log_dir, "/w") as follower:
        root.child("/w", WRITER, "w", "5000", logs=limits)
        followed: list[LogLine] = []
        root.until(lambda: not followed.extend(follower.poll()) and not root.streams.stats.streams)
        followed += follower.poll()
    assert numbers(root, "/w") == list(range(5000))
    assert [line.text for line in followed] == root.texts("/w")
    files = files_of(root.log_dir, "/w")
    assert len(files) > 10
    assert max(os.path.getsize(file) for file in files) <= 20_000


def test_retention_keeps_the_newest_and_spares_a_sibling_of_similar_name(root: Root) -> None:
    root.connect()
    sibling = root.pipe("/w.b")
    os.write(sibling, b"not a former w\n")
    os.close(sibling)
    root.child("/w", WRITER, "w", "5000", logs=Logs(rotation=20_000, retention=3))
    root.all_written()
    assert len(files_of(root.log_dir, "/w")) == 4
    found = numbers(root, "/w")
    assert found == list(range(found[0], 5000))
    assert root.texts("/w.b") == ["not a former w"]


def test_kills_during_rotation_lose_and_double_no_line(root: Root) -> None:
    root.connect()
    root.child("/w", WRITER, "w", "20000", logs=Logs(rotation=5_000, retention=10_000))
    for kill in range(8):
        root.until(lambda seen=kill * 1000: numbers_at_end(root, "/w") > seen)
        root.kill_logger()
        root.connect()
    root.all_written()
    assert numbers(root, "/w") == list(range(20_000))


def test_all_files_together_stay_within_the_budget(root: Root) -> None:
    total = 200_000
    root.connect(total_bytes=total)
    for number in range(4):
        root.child(f"/w{number}", WRITER, f"w{number}", "5000", logs=Logs(rotation=30_000))
    used = 0

    def done() -> bool:
        nonlocal used
        now = 0
        for file in Path(root.log_dir).rglob("*.log"):
            with contextlib.suppress(FileNotFoundError):
                now += file.stat().st_size
        used = max(used, now)
        return root.streams.stats.streams == 0

    root.until(done)
    assert 0 < used <= total + 30_000
    assert all(numbers(root, f"/w{number}")[-1] == 4999 for number in range(4))


def test_what_nobody_has_written_for_long_is_deleted_and_the_rest_stays(root: Root) -> None:
    now, day = time.time(), 86400.0
    folder = Path(root.log_dir)
    folder.mkdir()
    for name, age in (("gone.log", 31), ("kept.log", 29), ("a.2027-01-15_08-00-00_000000.log", 9)):
        (folder / name).write_text("old\n")
        os.utime(folder / name, (now - age * day, now - age * day))
    root.connect(max_age=30 * day)
    out = root.pipe("/a", Logs(max_age=7 * day))
    os.write(out, b"one\n")
    os.close(out)
    root.all_written()
    root.until(lambda: not (folder / "gone.log").exists())
    root.kill_logger()
    root.connect(max_age=7 * day)
    root.until(lambda: sorted(os.listdir(folder)) == ["a.log"])


def test_a_file_of_old_lines_is_begun_anew_though_it_is_small(root: Root) -> None:
    now, day = time.time(), 86400.0
    old = prefix_of(now - 16 * day, "/a", "stdout", 1, 1)
    Path(root.log_dir).mkdir()
    Path(file_of(root.log_dir, "/a")).write_bytes(format_batch(b"of old", old))
    root.connect()
    out = root.pipe("/a", Logs(max_age=30 * day))
    os.write(out, b"of today\n")
    os.close(out)
    root.all_written()
    former, present = files_of(root.log_dir, "/a")
    assert Path(former).read_text().endswith("of old\n")
    assert Path(present).read_text().endswith("of today\n")


def test_a_file_that_cannot_grow_costs_lines_and_says_so_but_blocks_no_child(root: Root) -> None:
    root.connect(file_size=50_000)
    out = root.pipe("/w", BIG)
    line = b"y" * 99 + b"\n"
    os.write(out, line * 20)
    root.until(lambda: len(root.texts("/w")) == 20)
    sent = 20
    while sent < 20_000:  # far more than file and pipe can hold
        assert select.select([], [out], [], DEADLINE_S)[1], "the child is blocked"
        sent += os.write(out, line * 20) // len(line)
    (file,) = files_of(root.log_dir, "/w")
    assert os.path.getsize(file) <= 50_000
    root.until(lambda: fits(out))
    os.rename(file, file + ".moved")  # an operator makes room

    def told() -> bool:
        os.write(out, b"later\n")
        return any(one.stream == "note" for one in root.lines("/w"))

    root.until(told)
    os.close(out)
    root.all_written()
    (note,) = [one for one in root.lines("/w") if one.stream == "note"]
    dropped = int(note.text.split()[1])
    assert note.text == f"dropped {dropped} lines: File too large"
    assert dropped == root.streams.stats.dropped
    kept = Path(file + ".moved").read_bytes().count(b"\n")
    late = root.texts("/w").count("later")
    assert kept + dropped + late == root.streams.stats.lines + root.streams.stats.dropped
    assert Path(file + ".moved").read_bytes().endswith(b"y\n")


def fits(out: int) -> bool:
    return unread(out) == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB, which only root can mount."""
    target = tmp_path / "logs"
    target.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", bytes(target), b"tmpfs", 0, b"size=256k"):
        pytest.skip(f"cannot mount a tmpfs: {os.strerror(ctypes.get_errno())}")
    yield target
    assert libc.umount2(bytes(target), 2) == 0


def test_a_full_disk_costs_lines_until_there_is_room_again(tiny_disk: Path, root: Root) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"0" * 200 * 1024)
    root.connect()
    out = root.pipe("/w", BIG)
    for number in range(5000):
        assert select.select([], [out], [], DEADLINE_S)[1], "the child is blocked"
        os.write(out, b"%04d %s\n" % (number, b"z" * 94))
    root.until(lambda: fits(out))
    ballast.unlink()
    root.until(lambda: any(line.stream == "note" for line in root.lines("/w")))
    os.write(out, b"5000 end\n")
    os.close(out)
    root.all_written()
    kept = [line for line in root.lines("/w") if line.stream == "stdout"]
    notes = [line for line in root.lines("/w") if line.stream == "note"]
    assert all("No space left on device" in note.text for note in notes)
    dropped = sum(int(note.text.split()[1]) for note in notes)
    assert dropped > 0
    assert len(kept) + dropped == 5001
    assert kept[-1].text == "5000 end"


def test_a_disk_that_has_become_read_only_costs_lines_until_it_is_mended(
    tiny_disk: Path, root: Root
) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    remount, read_only = 32, 1  # mount(2)
    root.connect()
    out = root.pipe("/w")
    os.write(out, b"before\n")
    root.until(lambda: root.texts("/w") == ["before"])
    root.streams.reopen()  # a disk with a file that is being written is not remounted
    root.until(lambda: not libc.mount(None, bytes(tiny_disk), None, remount | read_only, None))
    os.write(out, b"meanwhile\n")
    root.until(lambda: root.streams.stats.dropped == 1)
    assert root.streams.stats.problem == "Read-only file system"
    assert not libc.mount(None, bytes(tiny_disk), None, remount, None)
    root.until(lambda: root.streams.stats.problem == "")
    os.write(out, b"after\n")
    os.close(out)
    root.all_written()
    told = "dropped 1 lines: Read-only file system"
    assert root.texts("/w") == ["before", told, "after"]


def test_a_file_that_cannot_be_opened_costs_lines_and_the_loss_is_told_at_once(root: Root) -> None:
    problems: list[str] = []
    root.streams.on_problem = problems.append
    file = Path(file_of(root.log_dir, "/w"))
    file.parent.mkdir()
    file.symlink_to("/proc/self/mem")  # which cannot be appended to
    root.connect()
    out = root.pipe("/w")
    os.write(out, b"one\ntwo\n")
    root.until(lambda: root.streams.stats.dropped == 2)
    assert problems == ["Invalid argument"]
    root.kill_logger()
    root.connect()
    file.unlink()
    os.write(out, b"three\n")
    os.close(out)
    root.all_written()
    assert root.texts("/w")[-1] == "three"
    assert root.streams.stats.problem == problems[-1] == ""


def test_without_a_logger_children_go_on_and_the_loss_is_told(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "OUTAGE_S", 0.05)
    out = root.pipe("/w", BIG)
    capacity = fcntl.fcntl(out, fcntl.F_GETPIPE_SZ)
    os.set_blocking(out, False)
    sent = 0

    def push() -> bool:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            for _ in range(10):
                os.write(out, b"w %07d\n" % sent)
                sent += 1
        return sent * 10 > 4 * capacity

    root.until(push)
    root.connect()
    os.close(out)
    root.all_written()
    lines = root.lines("/w")
    (note,) = [line for line in lines if line.stream == "note"]
    lost = int(note.text.split()[1])
    assert note.text == f"lost {lost} lines while no logger was running"
    assert lost == root.streams.stats.lost_lines > 0
    assert numbers(root, "/w") == list(range(lost, sent))


def test_a_frozen_logger_is_replaced_and_no_line_is_lost(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "OUTAGE_S", DEADLINE_S)  # an interpreter has to start here
    root.connect()
    root.child("/w", WRITER, "w", "20000", logs=BIG)
    root.until(lambda: bool(root.texts("/w")))
    assert root.logger is not None
    frozen = root.logger
    frozen.send_signal(signal.SIGSTOP)
    root.until(lambda: frozen.poll() is not None)
    root.all_written()
    assert numbers(root, "/w") == list(range(20_000))
    assert root.streams.stats.lost_lines == 0


def test_a_frozen_logger_that_cannot_be_ended_blocks_no_child(root: Root) -> None:
    root.streams.on_frozen = lambda: None  # asleep in the kernel, where no signal reaches it
    root.connect()
    root.child("/w", WRITER, "w", "20000", logs=BIG)
    assert root.logger is not None
    root.logger.send_signal(signal.SIGSTOP)
    root.until(lambda: root.children[0].poll() is not None)
    assert root.streams.stats.lost_lines > 0
    frozen = root.logger
    root.connect()
    frozen.kill()
    frozen.wait(DEADLINE_S)
    root.all_written()
    written = [line for line in root.lines("/w") if line.stream == "stdout"]
    assert len(written) + root.streams.stats.lost_lines == 20_000


def test_a_logger_that_is_only_idle_is_left_alone(root: Root) -> None:
    root.connect()
    out = root.pipe("/a")
    for number in range(4):
        look = root.streams.due()
        root.until(lambda look=look: root.streams.due() != look)
        os.write(out, b"%d\n" % number)
    os.close(out)
    root.all_written()
    assert root.streams.stats.connections == 1


def test_a_log_file_that_was_moved_is_begun_anew(root: Root) -> None:
    root.connect()
    out = root.pipe("/a")
    os.write(out, b"one\n")
    root.until(lambda: root.texts("/a") == ["one"])
    (file,) = files_of(root.log_dir, "/a")
    os.rename(file, file + ".1")
    os.write(out, b"two\n")
    root.until(lambda: root.texts("/a") == ["two"])
    os.close(out)
    root.all_written()


def test_reopen_lets_go_of_the_files(root: Root) -> None:
    root.connect()
    assert root.logger is not None
    out = root.pipe("/a")
    os.write(out, b"one\n")
    file = os.path.join(root.log_dir, "a.log")
    descriptors = Path(f"/proc/{root.logger.pid}/fd")

    def is_open() -> bool:
        for entry in descriptors.iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed between two looks
                if os.readlink(entry) == file:
                    return True
        return False

    root.until(is_open)
    root.streams.reopen()
    root.until(lambda: not is_open())
    os.close(out)
    root.all_written()


def test_the_root_writes_its_own_lines_without_ever_blocking(root: Root) -> None:
    write = root.streams.own_writer()
    for number in range(20_000):
        write(f"line {number} {'x' * 50}")
    assert root.streams.stats.own_dropped > 0
    root.connect()
    root.until(lambda: len(root.lines("/")) > 0)
    write("the end")
    root.until(lambda: root.texts("/")[-1:] == ["the end"])
    texts = root.texts("/")
    dropped = root.streams.stats.own_dropped
    assert f"dropped {dropped} lines: the logger was behind" in texts
    assert len(texts) + dropped == 20_002
    assert root.lines("/")[0].pid == os.getpid()


def test_a_logger_that_is_asked_to_stop_writes_what_there_is_and_ends(root: Root) -> None:
    root.connect()
    assert root.logger is not None
    out = root.pipe("/a")
    os.write(out, b"one\ntwo\n")
    os.close(out)
    root.logger.send_signal(signal.SIGTERM)
    root.until(lambda: root.logger is not None and root.logger.poll() is not None)
    assert root.logger.returncode == 0
    root.until(lambda: not root.streams.connected)
    assert root.texts("/a") == ["one", "two"]
    assert root.streams.stats.streams == 0


def test_what_no_logger_has_taken_is_written_when_the_host_ends(root: Root) -> None:
    write = root.streams.own_writer()
    out = root.pipe("/a")
    os.write(out, b"one\ntwo")
    write("last words")
    root.streams.close(root.log_dir)
    os.close(out)
    assert root.texts("/a") == ["one", "two"]
    assert root.texts("/") == ["last words"]
    root.streams = LogStreams()


def test_another_process_cannot_pose_as_the_logger(root: Root) -> None:
    process = root.start_logger()
    root.streams.expect(1)
    root.until(lambda: process.poll() is not None)
    assert root.streams.stats.connections == 0
    root.logger = None


def test_a_thousand_streams_reach_their_files(root: Root) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        root.connect()
        outs = [root.pipe(f"/many/{number}") for number in range(1000)]
        for number, out in enumerate(outs):
            os.write(out, b"i am %d\n" % number)
            os.close(out)
        root.all_written()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(root.texts(f"/many/{number}") == [f"i am {number}"] for number in range(1000))


SECRET = Logs(redact=(r"password=\S+",))


def test_secrets_never_reach_the_file(root: Root) -> None:
    root.connect()
    out = root.pipe("/a", SECRET)
    other = root.pipe("/b", Logs())
    os.write(out, b"user=x password=hunter2\nfine\n")
    os.write(other, b"password=known\n")
    for end in (out, other):
        os.close(end)
    root.all_written()
    assert root.texts("/a") == ["user=x [redacted]", "fine"]
    assert root.texts("/b") == ["password=known"]


def test_a_secret_that_a_silent_child_has_half_written_waits_for_its_end(root: Root) -> None:
    root.connect()
    out = root.pipe("/a", SECRET)
    os.write(out, b"first\nlogin password=hun")
    root.until(lambda: root.texts("/a") == ["first"])
    root.kill_logger()
    root.connect()
    os.write(out, b"ter2 done\n")
    os.close(out)
    root.all_written()
    assert root.texts("/a") == ["first", "login [redacted] done"]
    assert not any(line.partial for line in root.lines("/a"))


def test_a_secret_across_the_pieces_of_a_long_line_never_reaches_the_file(root: Root) -> None:
    root.connect()
    parts = 'line = ("x" * 65_500 + " password=" + "s" * 200 + " ") * 4'
    root.child("/a", f"{parts}; print(line)", logs=SECRET)
    root.all_written()
    found = "".join(root.texts("/a"))
    assert found == ("x" * 65_500 + " [redacted] ") * 4
    assert len(root.texts("/a")) > 1


def test_a_pattern_that_goes_astray_holds_up_nobody_and_lets_nothing_through(root: Root) -> None:
    root.connect()
    astray = Logs(redact=("(a+)+b", "password=\\S+"))
    code = "for _ in range(2000): print('a' * 40 + 'c password=1', flush=False)"
    root.child("/astray", code, logs=astray)
    root.child("/w", WRITER, "w", "20000")
    root.all_written()
    assert numbers(root, "/w") == list(range(20_000))
    assert len(root.texts("/astray")) == 2000
    assert not any("password" in text for text in root.texts("/astray"))
    assert root.streams.stats.connections == 1


def test_what_the_root_writes_in_the_end_is_without_secrets_too(root: Root) -> None:
    out = root.pipe("/a", SECRET)
    os.write(out, b"password=hunter2 1\npassword=hun")
    os.close(out)
    root.streams.close(root.log_dir)
    root.streams = LogStreams()
    assert root.texts("/a") == ["[redacted] 1", "[redacted]"]
