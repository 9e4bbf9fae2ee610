"""The README's first command, on a terminal, as a newcomer uses it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, *command: str, **environment: str) -> None:
        self._master, slave = os.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        self.output = ""

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read_until(self, text: str, deadline_s: float) -> None:
        """Read until `text` has appeared; "" means until the end."""
        deadline = time.monotonic() + deadline_s
        while not text or text not in self.output:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} has not appeared:\n{self.output}"
            if select.select([self._master], [], [], left)[0]:
                try:
                    self.output += os.read(self._master, 65536).decode(errors="replace")
                except OSError:  # EIO: nobody has the other side any more
                    assert not text, f"it has ended without {text!r}:\n{self.output}"
                    return

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
        self.process.wait(10)
        os.close(self._master)


@pytest.mark.skipif(
    not Path(sys.prefix).samefile(ROOT / ".venv") if (ROOT / ".venv").exists() else True,
    reason="make would install: the tests are not run from the project's own .venv (make test)",
)
def test_make_run_shows_a_tree_and_ctrl_c_ends_it_once_and_for_all(tmp_path):
    terminal = Terminal(
        "make",
        "run",
        SUPERVISOR_TREE_RUN_DIR=str(tmp_path / "run"),
        XDG_STATE_HOME=str(tmp_path / "state"),
    )
    try:
        terminal.read_until(" is running", 40)
        tree = psutil.Process(terminal.process.pid).children(recursive=True)
        assert len(tree) > 5
        terminal.press(b"\x03")
        terminal.read_until(" is stopping", 10)
        terminal.read_until("", 30)
        assert terminal.process.wait(10) != 0  # make itself says "Interrupt"
        assert not [process for process in tree if process.is_running()]
        assert "Traceback" not in terminal.output
    finally:
        terminal.close()
