"""A disk without room: children live on, orders work, and it is over when there is room again.

The small disk is a tmpfs in a mount namespace of its own, which nobody else sees and which
goes with its last process (mount_namespaces(7)).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_AS_ROOT = () if os.geteuid() == 0 else ("--user", "--map-root-user")
IN_A_NAMESPACE = ("unshare", *_AS_ROOT, "--mount", "--propagation", "private")

SCENE = """
import errno, os, sys
import supervisor_tree
from supervisor_tree import Agent, ChildSpec, SupervisorSpec
from supervisor_tree.errors import TryAgain

class Echo(Agent):
    async def handle_call(self, request, sender):
        return request

disk = sys.argv[1]
spec = SupervisorSpec(children=(ChildSpec(id="echo", agent=Echo),), intensity=1000)
places = {f"{name}_dir": f"{disk}/{name}" for name in ("run", "log", "state")}
with supervisor_tree.run(spec, **places) as tree:
    tree.wait_for("/echo")
    echo = tree.status("/echo")[0]["pid"]
    with open(f"{disk}/fill", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
    tree.start_child("/", ChildSpec(id="late", command=("sleep", "1000")))
    try:
        tree.call("/echo", "a new member")
    except TryAgain as error:
        assert "No space left" in str(error), error
    else:
        raise AssertionError("there was room for another member")
    tree.restart("/late")
    assert tree.status("/echo")[0]["pid"] == echo
    tree.restart("/echo")
    os.unlink(f"{disk}/fill")
    assert tree.call("/echo", "hello") == "hello"
    assert "/late" in {member.path for member in tree.find()}
log = open(f"{disk}/log/host.log").read()
assert log.count("members: written again") == 1, log
assert os.listdir(f"{disk}/run") == ["lock"]
print("done")
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[str, ...]:
    """The words that run a command with `tmp_path`/disk as a file system of 512 KiB."""
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=512k small {tmp_path}/disk"
    words = (*IN_A_NAMESPACE, "sh", "-c", f'{mount} && exec "$@"', "sh")
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"cannot mount a small disk: {tried.stderr.strip()}")
    return words


def test_a_full_disk_ends_nothing_and_is_over_when_there_is_room(
    tmp_path: Path, small_disk: tuple[str, ...]
) -> None:
    scene = tmp_path / "scene.py"
    scene.write_text(SCENE)
    result = subprocess.run(
        [*small_disk, sys.executable, str(scene), str(tmp_path / "disk")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("done\n", "")
