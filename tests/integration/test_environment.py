"""The environment of a child: computed afresh at each start, later sources winning."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.hosting import RunningHost

KEYS = ("FROM_HOST", "FROM_FILE", "FROM_CHILD_FILE", "FROM_ENV", "SUPERVISOR_TREE_PATH")
SHOW = (
    "import json, os, sys; "
    f"json.dump({{key: os.environ.get(key) for key in {KEYS}}}, open(sys.argv[1] + '.new', 'w')); "
    "os.rename(sys.argv[1] + '.new', sys.argv[1]); __import__('signal').pause()"
)


def test_later_sources_win_and_files_are_read_at_each_start(tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    (tmp_path / ".env").write_text(
        "# for all\nFROM_FILE=host-file\nFROM_CHILD_FILE=host-file\nFROM_ENV=host-file\n"
    )
    (tmp_path / "own.env").write_text("FROM_CHILD_FILE=own-file\nFROM_ENV=own-file\n")
    config = tmp_path / "host.yaml"
    config.write_text(
        "version: 1\n"
        "host: {env_file: .env}\n"
        "tree:\n"
        "  children:\n"
        "    - id: a\n"
        "      env_file: own.env\n"
        "      env: {FROM_ENV: env}\n"
        f"      command: [python3, -c, {json.dumps(SHOW)}, {shown}]\n"
    )
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/a")
        assert read(shown, host, 1) == ["host", "host-file", "own-file", "env", "/a"]
        shown.unlink()
        (tmp_path / ".env").write_text("FROM_FILE=changed\n")
        assert host.tell("restart", "/a").returncode == 0
        assert read(shown, host, 2) == ["host", "changed", "own-file", "env", "/a"]
        (tmp_path / "own.env").unlink()
        refused = host.tell("restart", "/a")
        assert refused.returncode == 1
        assert "own.env" in refused.stderr


def read(shown: Path, host: RunningHost, generation: int) -> list[str]:
    host.wait_generation("/a", generation)
    while not shown.exists():
        host.row("/a")
    values = json.loads(shown.read_text())
    return [values[key] for key in KEYS]
