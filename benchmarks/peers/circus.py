"""circus, looking after its processes as often as can be asked for without burning CPU."""

from __future__ import annotations

import shlex

from benchmarks.peers.base import PEER_BIN, Peer

__all__ = ["Circus"]


class Circus(Peer):
    """`check_delay` is 0.1 s here; it is 5 s unless one says so."""

    name = "circus"
    programs = ("circusd", "circusctl")

    @classmethod
    def find(cls, program: str) -> str | None:
        path = PEER_BIN / program
        return str(path) if path.exists() else super().find(program)

    def start(self) -> None:
        config = self.directory / "circus.ini"
        config.write_text(self._config(), encoding="utf-8")
        self.run([self.find("circusd") or "circusd", str(config)])

    def status_command(self) -> list[str]:
        return [self.find("circusctl") or "circusctl", *self._endpoint(), "list", "c"]

    def _endpoint(self) -> list[str]:
        return ["--endpoint", f"ipc://{self.directory}/ctl"]

    def _config(self) -> str:
        return f"""
[circus]
endpoint = ipc://{self.directory}/ctl
pubsub_endpoint = ipc://{self.directory}/pub
check_delay = 0.1
warmup_delay = 0
[watcher:c]
cmd = {shlex.join(self.command)}
numprocesses = {self.count}
warmup_delay = 0
max_retry = -1
copy_env = True
"""
