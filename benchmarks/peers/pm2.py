"""pm2, told to restart without a delay.  `make bench` installs it by npm beside this package."""

from __future__ import annotations

import json

from benchmarks.peers.base import Peer
from benchmarks.workload import CHECKOUT

__all__ = ["Pm2"]


class Pm2(Peer):
    """Its daemon and everything it keeps are in the directory that PM2_HOME names."""

    name = "pm2"
    programs = ("node", "pm2")

    @classmethod
    def find(cls, program: str) -> str | None:
        path = CHECKOUT / "benchmarks" / "node_modules" / ".bin" / program
        return str(path) if path.exists() else super().find(program)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "PM2_HOME": str(self.directory / "pm2"),
            "PM2_DISABLE_VERSION_CHECK": "true",
        }

    def start(self) -> None:
        interpreter, script, *arguments = self.command
        app = {
            "interpreter": interpreter,
            "script": script,
            "args": arguments,
            "restart_delay": 0,
            "max_restarts": 1_000_000,
        }
        apps = [{"name": f"c{number}", **app} for number in range(self.count)]
        config = self.directory / "apps.json"
        config.write_text(json.dumps({"apps": apps}), encoding="utf-8")
        self.run([self._pm2(), "start", str(config)])

    @property
    def manager(self) -> int:
        """Its daemon; what was started has ended when all children are up."""
        return int((self.directory / "pm2" / "pm2.pid").read_text(encoding="utf-8"))

    def ask_to_end(self) -> None:
        self.tell([self._pm2(), "kill"])

    def status_command(self) -> list[str]:
        return [self._pm2(), "list"]

    def _pm2(self) -> str:
        return self.find("pm2") or "pm2"
