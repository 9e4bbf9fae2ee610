"""supervisord, with the time that a start takes to count (startsecs) set to nothing."""

from __future__ import annotations

import shlex

from benchmarks.peers.base import PEER_BIN, Peer

__all__ = ["Supervisord"]


class Supervisord(Peer):
    """It looks once a second for what has to be started."""

    name = "supervisord"
    programs = ("supervisord", "supervisorctl")
    slow = True

    @classmethod
    def find(cls, program: str) -> str | None:
        path = PEER_BIN / program
        return str(path) if path.exists() else super().find(program)

    def start(self) -> None:
        config = self.directory / "supervisord.conf"
        config.write_text(self._config(), encoding="utf-8")
        self.run([self.find("supervisord") or "supervisord", "-n", "-c", str(config)])

    def status_command(self) -> list[str]:
        config = str(self.directory / "supervisord.conf")
        return [self.find("supervisorctl") or "supervisorctl", "-c", config, "status"]

    def _config(self) -> str:
        where = self.directory
        return f"""
[unix_http_server]
file={where}/ctl
[supervisord]
logfile={where}/log
pidfile={where}/pid
childlogdir={where}
minfds=4096
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{where}/ctl
[program:c]
command={shlex.join(self.command)}
process_name=%(program_name)s%(process_num)d
numprocs={self.count}
startsecs=0
startretries=1000000
autorestart=true
"""
