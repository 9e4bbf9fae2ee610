"""The form of log lines, and reading them back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_tree.runtime.logs.book import (
    LogLine,
    file_of,
    format_batch,
    format_time,
    parse_line,
    paths_under,
    prefix_of,
    rotated_files,
)
from supervisor_tree.runtime.logs.reader import Follower, read_since, tail

START = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def entry(number: int, path: str = "/a", at: float | None = None) -> bytes:
    prefix = prefix_of(START + number if at is None else at, path, "stdout", 12, 3)
    return format_batch(b"line %d" % number, prefix)


def write(log_dir: Path, name: str, numbers: range, path: str = "/a") -> Path:
    file = log_dir / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "ab") as handle:
        handle.writelines(entry(number, path) for number in numbers)
    return file


def rotated_name(number: int) -> str:
    return f"a.2027-01-15_08-00-{number:02d}_000000.log"


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


def expected(numbers: range) -> list[str]:
    return [f"line {number}" for number in numbers]


def test_a_line_is_readable_and_says_who_wrote_it_when() -> None:
    prefix = prefix_of(START + 0.25, "/chat/bot", "stderr", 4711, 3)
    assert format_batch(b"one\ntwo", prefix) == (
        b"2023-11-14T22:13:20.250Z /chat/bot stderr 4711 #3 | one\n"
        b"2023-11-14T22:13:20.250Z /chat/bot stderr 4711 #3 | two\n"
    )


def test_a_piece_of_a_line_is_marked() -> None:
    line = prefix_of(START, "/a", "stdout", 1, 1, partial=True) + b"Password: "
    assert parse_line(line) == LogLine(
        "2023-11-14T22:13:20.000Z", "/a", "stdout", 1, 1, "Password: ", partial=True
    )


@given(
    path=st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1),
    stream=st.sampled_from(["stdout", "stderr", "note"]),
    pid=st.integers(1, 1 << 22),
    generation=st.integers(1, 1 << 40),
    text=st.text(st.characters(codec="utf-8", exclude_characters="\n")),
    partial=st.booleans(),
)
def test_what_is_written_is_read(  # noqa: PLR0913
    *, path: str, stream: str, pid: int, generation: int, text: str, partial: bool
) -> None:
    prefix = prefix_of(START, "/" + path, stream, pid, generation, partial=partial)
    line = format_batch(text.encode(), prefix)
    assert line.count(b"\n") == 1
    assert parse_line(line) == LogLine(
        format_time(START), "/" + path, stream, pid, generation, text, partial
    )


@given(st.binary())
def test_any_bytes_of_a_child_can_be_shown(data: bytes) -> None:
    prefix = prefix_of(START, "/a", "stdout", 1, 1)
    lines = format_batch(data, prefix).removesuffix(b"\n").split(b"\n")
    shown = [parse_line(line) for line in lines]
    assert b"\n".join(line.removeprefix(prefix) for line in lines) == data.removesuffix(b"\n")
    for line, raw in zip(shown, data.removesuffix(b"\n").split(b"\n"), strict=True):
        assert line is not None
        assert line.text == raw.decode("utf-8", "backslashreplace")


@given(st.text() | st.binary())
def test_a_line_of_another_program_is_none_of_ours(line: str | bytes) -> None:
    assert parse_line(line) is None


def test_json_has_one_shape_and_names_pieces() -> None:
    line = LogLine("2023-11-14T22:13:20.000Z", "/a", "stdout", 1, 2, "text")
    assert line.to_json() == {
        "ts": "2023-11-14T22:13:20.000Z",
        "path": "/a",
        "stream": "stdout",
        "pid": 1,
        "generation": 2,
        "text": "text",
    }
    piece = LogLine("2023-11-14T22:13:20.000Z", "/a", "stdout", 1, 2, "text", partial=True)
    assert piece.to_json()["partial"] is True


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "host.log"),
        ("/chat/bot", "chat/bot.log"),
        ("/_/logger", "_/logger.log"),
        ("/../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd.log"),
        ("/a b/50%", "a%20b/50%25.log"),
        ("/größe.v2", "größe.v2.log"),
    ],
)
def test_every_path_has_a_file_below_the_log_directory(path: str, file: str) -> None:
    assert file_of("/logs", path) == f"/logs/{file}"


def test_rotated_files_are_listed_by_age_and_no_sibling_is_among_them(tmp_path: Path) -> None:
    names = [
        "a.2027-01-15_08-00-01_000000.log",
        "a.2027-01-15_08-00-02_000000.log",
        "a.2027-01-15_08-00-02_000000.2.log",
        "a.2027-01-15_08-00-02_000000.10.log",
    ]
    others = ["a.log", "a.b.log", "ab.2027-01-15_08-00-01_000000.log", "a.log.1", "a.2027.log"]
    for name in reversed(names + others):
        (tmp_path / name).touch()
    assert [os.path.basename(file) for file in rotated_files(file_of(str(tmp_path), "/a"))] == names


def test_a_path_without_files_has_no_lines(tmp_path: Path) -> None:
    assert tail(str(tmp_path / "none"), "/a", 10) == []
    assert list(read_since(str(tmp_path), "/a", 0)) == []
    with Follower(str(tmp_path), "/a", n=5) as follower:
        assert follower.poll() == []


@pytest.mark.parametrize("n", [0, 1, 7, 10, 19, 20, 21])
def test_tail_reads_across_rotated_files(tmp_path: Path, n: int) -> None:
    write(tmp_path, rotated_name(1), range(10))
    write(tmp_path, rotated_name(2), range(10, 17))
    write(tmp_path, "a.log", range(17, 20))
    assert texts(tail(str(tmp_path), "/a", n)) == expected(range(20))[20 - min(n, 20) :]


def test_tail_leaves_out_a_line_that_is_still_being_written(tmp_path: Path) -> None:
    file = write(tmp_path, "a.log", range(2))
    with open(file, "ab") as handle:
        handle.write(entry(2)[:-3])
    assert texts(tail(str(tmp_path), "/a", 10)) == expected(range(2))


def test_tail_of_a_long_file_reads_its_end_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.log", range(50_000))
    read = 0
    pread = os.pread

    def counted(fd: int, count: int, offset: int) -> bytes:
        nonlocal read
        data = pread(fd, count, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    assert texts(tail(str(tmp_path), "/a", 1000)) == expected(range(49_000, 50_000))
    assert read <= 200_000


def test_tail_passes_over_lines_of_others_in_the_same_file(tmp_path: Path) -> None:
    file = write(tmp_path, "host.log", range(3), "/")
    write(tmp_path, "host.log", range(3, 6), "/host")
    with open(file, "ab") as handle:
        handle.write(b"scribbled by hand\n")
    assert texts(tail(str(tmp_path), "/", 2)) == expected(range(1, 3))
    assert texts(tail(str(tmp_path), "/host", 2)) == expected(range(4, 6))


@pytest.mark.parametrize("first", [0, 1, 4_999, 9_999, 12_345, 19_999])
def test_since_finds_its_place_in_long_files(tmp_path: Path, first: int) -> None:
    for file in (
        write(tmp_path, rotated_name(1), range(10_000)),
        write(tmp_path, "a.log", range(10_000, 20_000)),
    ):
        os.utime(file, (START + 20_000, START + 20_000))
    found = list(read_since(str(tmp_path), "/a", START + first))
    assert texts(found) == expected(range(first, 20_000))


def test_since_passes_over_files_that_are_too_old(tmp_path: Path) -> None:
    old = write(tmp_path, rotated_name(1), range(10))
    os.utime(old, (START + 10, START + 10))
    write(tmp_path, "a.log", range(100, 110))
    assert texts(list(read_since(str(tmp_path), "/a", START + 50))) == expected(range(100, 110))


def test_following_begins_with_the_last_lines(tmp_path: Path) -> None:
    write(tmp_path, rotated_name(1), range(3))
    write(tmp_path, "a.log", range(3, 5))
    with Follower(str(tmp_path), "/a", n=4) as follower:
        write(tmp_path, "a.log", range(5, 7))
        assert texts(follower.poll()) == expected(range(1, 7))
        assert follower.poll() == []


def test_following_may_begin_at_a_time(tmp_path: Path) -> None:
    write(tmp_path, rotated_name(1), range(3))
    write(tmp_path, "a.log", range(3, 5))
    with Follower(str(tmp_path), "/a", since=START + 2) as follower:
        write(tmp_path, "a.log", range(5, 7))
        assert texts(follower.poll()) == expected(range(2, 7))


def test_following_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    file = write(tmp_path, "a.log", range(1))
    with Follower(str(tmp_path), "/a") as follower:
        line = entry(1)
        with open(file, "ab", buffering=0) as handle:
            handle.write(line[:10])
            assert follower.poll() == []
            handle.write(line[10:])
        assert texts(follower.poll()) == ["line 1"]


def test_following_goes_through_all_files_that_were_rotated_meanwhile(tmp_path: Path) -> None:
    live = write(tmp_path, "a.log", range(2))
    with Follower(str(tmp_path), "/a") as follower:
        write(tmp_path, "a.log", range(2, 4))
        live.rename(tmp_path / rotated_name(1))
        write(tmp_path, rotated_name(2), range(4, 6))
        write(tmp_path, rotated_name(3), range(6, 8))
        write(tmp_path, "a.log", range(8, 10))
        assert texts(follower.poll()) == expected(range(2, 10))


def test_following_survives_retention_of_the_file_it_reads(tmp_path: Path) -> None:
    live = write(tmp_path, "a.log", range(2))
    with Follower(str(tmp_path), "/a") as follower:
        write(tmp_path, "a.log", range(2, 3))
        live.unlink()
        write(tmp_path, rotated_name(2), range(4, 6))
        write(tmp_path, "a.log", range(6, 8))
        assert texts(follower.poll()) == ["line 2", *expected(range(4, 8))]


def test_following_waits_while_a_rotation_is_half_done(tmp_path: Path) -> None:
    live = write(tmp_path, "a.log", range(2))
    with Follower(str(tmp_path), "/a") as follower:
        live.rename(tmp_path / rotated_name(1))
        assert follower.poll() == []
        write(tmp_path, "a.log", range(2, 4))
        assert texts(follower.poll()) == expected(range(2, 4))


def test_following_begins_anew_in_a_file_that_was_truncated(tmp_path: Path) -> None:
    file = write(tmp_path, "a.log", range(3))
    with Follower(str(tmp_path), "/a") as follower:
        os.truncate(file, 0)
        assert follower.poll() == []
        write(tmp_path, "a.log", range(3, 4))
        assert texts(follower.poll()) == ["line 3"]


def test_a_path_that_has_no_file_yet_can_be_followed(tmp_path: Path) -> None:
    with Follower(str(tmp_path), "/a") as follower:
        assert follower.poll() == []
        write(tmp_path, "a.log", range(2))
        assert texts(follower.poll()) == expected(range(2))


def test_a_first_file_that_is_full_before_it_was_seen_is_followed_too(tmp_path: Path) -> None:
    write(tmp_path, rotated_name(1), range(2))
    with Follower(str(tmp_path), "/a") as follower:
        write(tmp_path, rotated_name(2), range(2, 4))
        write(tmp_path, rotated_name(3), range(4, 6))
        write(tmp_path, "a.log", range(6, 8))
        assert texts(follower.poll()) == expected(range(2, 8))


def test_all_logs_below_a_supervisor_are_found(tmp_path: Path) -> None:
    for name in ("host.log", "chat.log", "chat/bot.log", "chat/x/y.log", "other.log"):
        write(tmp_path, name, range(1))
    write(tmp_path / "chat", "bot.2027-01-15_08-00-01_000000.log", range(1))
    assert paths_under(str(tmp_path), "/chat") == ["/chat", "/chat/bot", "/chat/x/y"]
    assert paths_under(str(tmp_path), "/chat/bot") == ["/chat/bot"]
    everything = ["/", "/chat", "/chat/bot", "/chat/x/y", "/other"]
    assert paths_under(str(tmp_path), "/") == everything
