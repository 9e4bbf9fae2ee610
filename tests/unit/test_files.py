"""Files are read with a bound; whatever else bears a file's name is refused, and is closed."""

from __future__ import annotations

import os

import pytest

from supervisor_tree.files import open_regular, read_regular


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
