"""`supervisor-tree run`, as an operator runs it: control socket, logger, captured output."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.measure import children_of, now_s
from benchmarks.peers.base import Peer
from benchmarks.workload import CHECKOUT
from supervisor_tree.control.client import ControlClient
from supervisor_tree.errors import NoHost

__all__ = ["COMMAND", "Ours", "OursWarm"]

COMMAND = str(Path(sys.executable).parent / "supervisor-tree")


class Ours(Peer):
    """One flat supervisor; limits and delays of restarts as if there were none."""

    name = "supervisor_tree"
    warm: ClassVar[int] = 0

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    def wait_ready(self, limit_s: float) -> float:
        """When the root says that its tree is ready, on our clock."""
        deadline = now_s() + limit_s
        while True:
            try:
                with self.client() as client:
                    client.request("wait", {"path": "/", "for": "ready"}, timeout=limit_s)
                    return now_s()
            except NoHost:  # its socket is not there yet
                if now_s() > deadline:
                    raise
                time.sleep(0.005)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "PYTHONPATH": str(CHECKOUT),
            "SUPERVISOR_TREE_RUN_DIR": str(self.run_dir),
            "XDG_STATE_HOME": str(self.directory / "state"),
        }

    def start(self) -> None:
        config = self.directory / "host.yaml"  # JSON is YAML
        config.write_text(json.dumps(self.config()), encoding="utf-8")
        self.run([COMMAND, "run", str(config)])

    def client(self) -> ControlClient:
        """A connection to the root."""
        return ControlClient(self.run_dir)

    def status_command(self) -> list[str]:
        return [COMMAND, "status"]

    def pids(self) -> dict[str, int]:
        """The host's own processes: root, spawner, logger."""
        with self.client() as client:
            rows = client.request("status", {"path": "/", "all": True})
        logger = next(row["pid"] for row in rows if row["path"] == "/_/logger")
        return {"root": self.pid, "spawner": self._spawner(), "logger": logger}

    def _spawner(self) -> int:
        (spawner,) = children_of(self.pid)
        return spawner

    def config(self) -> dict[str, Any]:
        """The whole configuration."""
        return {
            "version": 1,
            "host": {"name": "bench"},
            "tree": {
                "strategy": "one_for_one",
                "intensity": 1_000_000,
                "period": "1s",
                "children": [self._child(number) for number in range(self.count)],
            },
        }

    def _child(self, number: int) -> dict[str, Any]:
        child: dict[str, Any] = {
            "id": f"c{number}",
            "agent": self.workload.agent,
            "args": {"fifo": str(self.lines.path)},
        }
        if self.warm:
            child["warm"] = self.warm
        return child


class OursWarm(Ours):
    """The same with a spare kept forked ahead."""

    name = "supervisor_tree, warm: 1"
    warm = 1
