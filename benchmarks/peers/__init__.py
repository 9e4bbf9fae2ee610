"""The contestants: ourselves, the limit, and everybody else who supervises processes."""

from __future__ import annotations

from benchmarks.peers.base import Peer, PeerFailed
from benchmarks.peers.circus import Circus
from benchmarks.peers.forks import BareForks, DressedForks
from benchmarks.peers.otp import OtpPort
from benchmarks.peers.ours import Ours, OursWarm
from benchmarks.peers.pm2 import Pm2
from benchmarks.peers.runit import Runit
from benchmarks.peers.s6 import S6
from benchmarks.peers.supervisord import Supervisord

__all__ = [
    "EXEC_PEERS",
    "S6",
    "BareForks",
    "Circus",
    "DressedForks",
    "OtpPort",
    "Ours",
    "OursWarm",
    "Peer",
    "PeerFailed",
    "Pm2",
    "Runit",
    "Supervisord",
]

EXEC_PEERS: tuple[type[Peer], ...] = (Runit, S6, Supervisord, Circus, Pm2, OtpPort)
