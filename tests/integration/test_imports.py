"""What an import pulls in: the command line is measured, and each of these costs milliseconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    *("asyncio", "dill", "dotenv", "loguru", "msgpack", "multiprocess", "psutil", "pydantic"),
    *("rich", "ruamel", "setproctitle", "yaml", "zmq"),
}
LIGHT_MODULES = [
    "supervisor_tree",
    "supervisor_tree.cli",
    "supervisor_tree.config",
    "supervisor_tree.config.directories",
    "supervisor_tree.core.tree",
    "supervisor_tree.errors",
]


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_a_light_module_imports_nothing_heavy(module):
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert not HEAVY & set(result.stdout.split())


def test_the_spawner_does_without_zeromq():
    """A ZeroMQ context must never cross a fork."""
    code = "import sys, supervisor_tree.spawner.server; sys.exit('zmq' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert result.returncode == 0


def test_the_root_does_without_a_loop_that_it_does_not_turn():
    """asyncio brings ssl and subprocess: seven megabytes that a root has no use for."""
    code = "import sys, supervisor_tree.host; print({'asyncio', 'ssl'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert result.stdout == "set()\n"
