"""Files are read with a bound; whatever else bears a file's name is refused, and is closed."""

from __future__ import annotations

import os

import pytest

from supervisor_tree.files import create_anew, open_regular, read_regular, write_whole


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_no_more_is_read_than_was_asked_for(tmp_path):
    (tmp_path / "x").write_bytes(b"0123456789")
    assert read_regular(tmp_path / "x", 4) == b"0123"
    assert read_regular(str(tmp_path / "x"), 100) == b"0123456789"


@pytest.mark.parametrize("what", ["directory", "fifo", "device", "dangling"])
def test_what_is_no_regular_file_is_refused_at_once_and_leaves_no_descriptor(tmp_path, what):
    path = tmp_path / "x"
    match what:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "dangling":
            path.symlink_to(tmp_path / "nothing")
    before = descriptors()
    with pytest.raises(OSError, match=r"it is no regular file|No such file or directory"):
        read_regular(path, 10)
    assert descriptors() == before


def test_a_link_is_not_followed_where_that_is_asked_for(tmp_path):
    (tmp_path / "x").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert read_regular(tmp_path / "link", 10) == b"secret"
    with pytest.raises(OSError, match="symbolic links"):
        open_regular(tmp_path / "link", os.O_NOFOLLOW)


@pytest.mark.parametrize("what", ["nothing", "fifo", "file", "link"])
def test_what_is_written_is_a_new_file_whatever_has_borne_its_name(tmp_path, what):
    (tmp_path / "other").write_text("untouched")
    match what:
        case "fifo":
            os.mkfifo(tmp_path / "x.new")
        case "file":
            (tmp_path / "x.new").write_text("longer than what comes")
        case "link":
            (tmp_path / "x.new").symlink_to(tmp_path / "other")
    write_whole(tmp_path / "x.json", b"content", durable=True)
    assert (tmp_path / "x.json").read_bytes() == b"content"
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "other").read_text() == "untouched"
    assert {path.name for path in tmp_path.iterdir()} == {"x.json", "other"}


def test_what_cannot_be_written_leaves_the_former_content_and_no_descriptor(tmp_path):
    (tmp_path / "x.json").write_text("former")
    (tmp_path / "x.new").mkdir()
    before = descriptors()
    with pytest.raises(OSError, match=r"directory|permitted"):
        write_whole(tmp_path / "x.json", b"content")
    with pytest.raises(OSError, match=r"directory|permitted"):
        create_anew(tmp_path / "x.new")
    assert (tmp_path / "x.json").read_text() == "former"
    assert descriptors() == before
