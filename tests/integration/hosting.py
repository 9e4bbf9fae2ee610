"""A real host in a process of its own, steered as an operator does: by the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supervisor_tree.errors import NoHost

__all__ = ["COMMAND", "RunningHost"]

COMMAND = str(Path(sys.executable).parent / "supervisor-tree")


class RunningHost:
    """`supervisor-tree WORDS run FLAGS CONFIG`; leave its context and it is gone in any case.

    `through` is the command that becomes the host, or starts it as its own; `options` are
    more of Popen's.
    """

    def __init__(
        self,
        config: Path,
        directory: Path,
        *words: str,
        through: Sequence[str] = (),
        flags: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.run_dir = directory / "run"
        self._output = directory / "host.out"
        self._errors = directory / "host.err"
        environment = {
            **os.environ,
            "XDG_STATE_HOME": str(directory / "state"),
            "SUPERVISOR_TREE_RUN_DIR": str(self.run_dir),
            "FROM_HOST": "host",
        }
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*through, COMMAND, *words, "run", *flags, str(config)],
                cwd=config.parent.parent if config.parent.name == "conf" else config.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors if words else subprocess.STDOUT,
                **options,
            )

    def __enter__(self) -> RunningHost:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    @property
    def output(self) -> str:
        """What the host has said on its terminal."""
        return self._output.read_text(errors="replace")

    @property
    def errors(self) -> str:
        """What it has said beside that, if it was given words of its own."""
        return self._errors.read_text(errors="replace")

    def tell(self, *words: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """One command line; its exit code is the caller's to judge."""
        return subprocess.run(
            [COMMAND, "--run-dir", str(self.run_dir), *words],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def ask(self, *words: str) -> Any:
        """The JSON answer of one command line that must succeed."""
        result = self.tell("--json", *words)
        assert result.returncode == 0, f"{words}: {result.stderr}\nhost said:\n{self.output}"
        return json.loads(result.stdout)

    def row(self, path: str) -> dict[str, Any]:
        """One child's row of `status`."""
        return next(row for row in self.ask("status") if row["path"] == path)

    def wait_until_answering(self, deadline_s: float = 20.0) -> None:
        """The control socket is there."""
        deadline = time.monotonic() + deadline_s
        while self.tell("health").returncode == NoHost.exit_code:
            assert self.process.poll() is None, f"the host has ended:\n{self.output}"
            assert time.monotonic() < deadline, f"no answer from the host:\n{self.output}"

    def wait_ready(self, path: str, deadline_s: float = 30.0) -> None:
        """A child is ready."""
        self.wait_until_answering()
        result = self.tell("wait", path, "--for", "ready", "--timeout", f"{deadline_s:g}")
        assert result.returncode == 0, f"{path}: {result.stderr}\nhost said:\n{self.output}"

    def wait_generation(self, path: str, generation: int, deadline_s: float = 20.0) -> None:
        """A child has begun its `generation`th life, or a later one, and is ready."""
        deadline = time.monotonic() + deadline_s
        while (row := self.row(path))["generation"] < generation or not row["ready"]:
            assert time.monotonic() < deadline, f"{row}\nhost said:\n{self.output}"

    def stop(self, signal_number: int = signal.SIGTERM, deadline_s: float = 30.0) -> int:
        """Ask the host to end; returns its exit code."""
        self.process.send_signal(signal_number)
        return self.process.wait(deadline_s)
