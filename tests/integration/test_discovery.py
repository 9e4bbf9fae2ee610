"""Agents are found by a pattern; a file that is wrong is told and left out, and the others run."""

from __future__ import annotations

import pytest

from tests.integration.hosting import RunningHost

MAIN = "version: 1\ninclude: [agents/*.yaml]\n"
GOOD = "id: {}\ncommand: [sleep, '1000']\n"


@pytest.mark.parametrize("broken", ["id: broken\ncommand: 7\n", "id: [\n", "\x00"])
def test_one_broken_file_is_told_and_the_rest_run(tmp_path, broken):
    (tmp_path / "agents").mkdir()
    for name in ("one", "two"):
        (tmp_path / "agents" / f"{name}.yaml").write_text(GOOD.format(name))
    (tmp_path / "agents" / "broken.yaml").write_text(broken)
    main = tmp_path / "found.yaml"
    main.write_text(MAIN)
    with RunningHost(main, tmp_path) as host:
        host.wait_ready("/")
        rows = {row["path"]: row["state"] for row in host.ask("status")}
        assert rows == {"/": "running", "/one": "running", "/two": "running"}
        assert f"left out: {tmp_path}/agents/broken.yaml" in host.output
        one = host.row("/one")["pid"]
        (tmp_path / "agents" / "one.yaml").write_text(broken)
        (tmp_path / "agents" / "broken.yaml").write_text(GOOD.format("broken"))
        assert host.tell("apply").returncode == 1
        assert host.row("/one")["pid"] == one, "the life of a file that became broken goes on"
        assert host.row("/broken")["state"] == "running"
        check = host.tell("check", str(main))
        assert check.returncode == 78
        assert "agents/one.yaml" in check.stderr
