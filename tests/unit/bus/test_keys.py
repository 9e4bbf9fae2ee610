"""Keys of a host: made once, kept from others, refused when others could have read them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from supervisor_tree import cli
from supervisor_tree.bus.keys import public_key_of, read_secret_key


def test_the_verb_makes_a_pair_and_prints_the_public_key(tmp_path: Path, capsys) -> None:
    directory = tmp_path / "keys"
    assert cli.command(["keys", "--dir", str(directory)]) == 0
    printed = capsys.readouterr().out
    assert printed == (directory / "host.public").read_text()
    secret = read_secret_key(directory / "host.secret")
    assert public_key_of(secret) == printed.strip()
    assert stat.S_IMODE((directory / "host.secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_key_is_replaced_by_force_alone(tmp_path: Path, capsys) -> None:
    assert cli.command(["keys", "--dir", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    assert cli.command(["keys", "--dir", str(tmp_path)]) == 1
    assert "there is a key already" in capsys.readouterr().err
    assert (tmp_path / "host.public").read_text() == first
    assert cli.command(["--json", "keys", "--dir", str(tmp_path), "--force"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["public"] != first.strip()
    assert public_key_of(read_secret_key(Path(answer["secret_file"]))) == answer["public"]


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert cli.command(["keys", "--dir", str(tmp_path / "file")]) == 1
    assert f"{tmp_path}/file" in capsys.readouterr().err


def test_a_secret_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    assert cli.command(["keys", "--dir", str(tmp_path)]) == 0
    (tmp_path / "host.secret").chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        read_secret_key(tmp_path / "host.secret")


@pytest.mark.parametrize("text", ["", "x" * 39, "x" * 41, "ä" * 40, "x y" * 13 + "x"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "host.secret"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(ValueError, match="no CURVE key"):
        read_secret_key(file)
