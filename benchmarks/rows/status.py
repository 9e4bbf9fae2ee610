"""How long an operator waits for a picture, and what it costs the root."""

from __future__ import annotations

import contextlib

from benchmarks.measure import command_seconds, cpu_seconds, now_s
from benchmarks.peers import Circus, Ours, Peer, Pm2, Runit, Supervisord
from benchmarks.report import Options, Report, at_most
from benchmarks.workload import TRIVIAL

__all__ = ["run"]

_UP_S = 60.0
_COMMAND_S = 20.0
_CHILDREN = 10
_PING, _STATUS = "ping on an open connection", "status on an open connection"
_INSIDE = "root's CPU for one status"


def run(options: Options) -> Report:
    """The status commands with 10 children each, in turn; then replies of a large host."""
    report = Report("status", "status: command with 10 children; replies with 1,000", "ms")
    kinds: list[type[Peer]] = [Ours]
    if options.peers:
        kinds += [Supervisord, Circus, Pm2, Runit]
    _commands(report, kinds, 5 if options.quick else 30)
    report.compare(f"{Ours.name} status", f"{Supervisord.name} status", most=0.6)
    _replies(report, 100 if options.quick else 1000, 20 if options.quick else 200)
    for who in (_PING, _INSIDE):
        median = report.median(who)
        assert median is not None
        report.figures.append(at_most(who, median, 2.0, "ms"))
    return report


def _commands(report: Report, kinds: list[type[Peer]], rounds: int) -> None:
    with contextlib.ExitStack() as stack:
        peers = []
        for kind in kinds:
            reason = kind.missing()
            if reason is not None:
                report.left_out.append(f"{kind.name}: {reason}")
                continue
            peer = stack.enter_context(kind(TRIVIAL, _CHILDREN))
            peer.wait_up(_UP_S)
            peers.append(peer)
        samples: dict[str, list[float]] = {peer.name: [] for peer in peers}
        for _ in range(rounds):
            for peer in peers:
                argv = peer.status_command()
                assert argv is not None, peer.name
                seconds = command_seconds(argv, peer.environment, _COMMAND_S)
                samples[peer.name].append(seconds * 1000)
    for name, taken in samples.items():
        report.enter(f"{name} status", taken)


def _replies(report: Report, count: int, rounds: int) -> None:
    with Ours(TRIVIAL, count) as host:
        host.wait_up(_UP_S)
        host.wait_ready(_UP_S)
        with host.client() as client:
            for who, verb in ((_PING, "ping"), (_STATUS, "status")):
                samples = []
                spent = cpu_seconds([host.pid])
                for _ in range(rounds):
                    begin = now_s()
                    client.request(verb, {})
                    samples.append((now_s() - begin) * 1000)
                report.enter(who, samples)
            report.enter(_INSIDE, [(cpu_seconds([host.pid]) - spent) / rounds * 1000])
