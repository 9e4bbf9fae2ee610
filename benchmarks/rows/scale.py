"""What a host with 1,000 children costs: its watchdogs, one change, one look at all."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.measure import command_seconds, cpu_seconds, memory_bytes, now_s
from benchmarks.peers import Circus, Ours, Peer, Pm2, Supervisord
from benchmarks.peers.ours import COMMAND
from benchmarks.report import Options, Report, at_most
from benchmarks.workload import TRIVIAL
from supervisor_tree.config import load
from supervisor_tree.config.contents import origin_of
from supervisor_tree.control.client import ControlClient
from supervisor_tree.core.origin import origin_to_data
from supervisor_tree.core.specdata import to_data

__all__ = ["apply", "stats", "watchdogs"]

_UP_S = 300.0
_COMMAND_S = 60.0
_SETTLE_S = 3.0
_MB = 1_000_000
_ORDER = "the order alone, until it is carried out"
_CHANGED = "0"  # the number that is given to the first child, in each round another


class _Watched(Ours):
    """Each child is to give a sign of life every ten seconds; agents do so by themselves."""

    def _child(self, number: int) -> dict[str, Any]:
        return super()._child(number) | {"watchdog": {"idle": "10s"}}


class _Separate(Supervisord):
    """A program of its own for each child, so that one can be changed."""

    changes = 0

    def _config(self) -> str:
        head, program = super()._config().split("[program:c]")
        one = program.replace("%(program_name)s%(process_num)d", "%(program_name)s")
        one = one.replace(f"numprocs={self.count}\n", "")
        programs = [f"[program:c{number}]{one}" for number in range(self.count)]
        programs[0] += f"environment=CHANGED={self.changes}\n"
        return head + "".join(programs)

    def change_one(self) -> None:
        self.changes += 1
        (self.directory / "supervisord.conf").write_text(self._config(), encoding="utf-8")

    def update_command(self) -> list[str]:
        return [*self.status_command()[:-1], "update"]


def watchdogs(options: Options) -> Report:
    """1,000 children that are watched; managers of peers that watch over nothing but pids."""
    count, span_s = (100, 2.0) if options.quick else (1000, 30.0)
    report = Report(
        "scale-watchdogs", f"{count:,} idle children with watchdogs of 10 s", "% of a core"
    )
    with _up(report, _Watched, count) as host:
        assert isinstance(host, Ours)
        host.wait_ready(_UP_S)
        pids = host.pids()
        both = [pids["root"], pids["spawner"]]
        share = _share(both, span_s)
        report.enter(f"{Ours.name}, root and spawner", [share])
        rss = sum(memory_bytes(pid, "Rss") for pid in both) / _MB
        report.figures.append(at_most("CPU of root and spawner", share, 1.0, "%"))
        report.figures.append(at_most("RSS of root and spawner", rss, 60.0, "MB"))
    for kind in (Supervisord, Circus, Pm2) if options.peers else ():
        for fewer in _counts(options):
            with _up(report, kind, fewer) as peer:
                if peer is not None:
                    share = _share([peer.manager], span_s)
                    report.enter(f"{kind.name}, {fewer} children, no watchdogs", [share])
    return report


def apply(options: Options) -> Report:
    """One line is changed: the order alone, until it is carried out, and the command with all.

    The goal is the order's: what the command does before is to read the file, and its time is
    that of YAML.  The children that are not meant keep their processes.
    """
    count, rounds = (100, 2) if options.quick else (1000, 7)
    report = Report("scale-apply", f"apply of one change among {count:,} children", "ms")
    with _up(report, Ours, count) as host:
        assert isinstance(host, Ours)
        host.wait_ready(_UP_S)
        orders, commands, touched = [], [], []
        with host.client() as client:
            for change in range(2 * rounds):
                before = _lives(client)
                data = host.config()
                data["tree"]["children"][0]["args"][_CHANGED] = change
                (host.directory / "host.yaml").write_text(json.dumps(data), encoding="utf-8")
                if change % 2:
                    commands.append(_command(host, [COMMAND, "apply"]))
                else:
                    orders.append(_order(host, client))
                after = _lives(client)
                touched.append(sum(before[path] != after[path] for path in before))
    report.enter(_ORDER, orders)
    report.enter(f"{Ours.name} apply, {count:,} children", commands)
    median = report.median(_ORDER)
    assert median is not None
    report.figures.append(at_most(_ORDER, median, 150.0, "ms"))
    report.figures.append(at_most("processes touched by one change", max(touched), 1, ""))
    for fewer in _counts(options) if options.peers else ():
        with _up(report, _Separate, fewer) as peer:
            if isinstance(peer, _Separate):
                samples = []
                for _ in range(rounds):
                    peer.change_one()
                    samples.append(_command(peer, peer.update_command()))
                report.enter(f"{peer.name} update, {fewer} children", samples)
    return report


def stats(options: Options) -> Report:
    """The command that shows what every child uses; of supervisord, which has none, nothing."""
    count, rounds = (100, 2) if options.quick else (1000, 7)
    report = Report("scale-stats", f"stats of {count:,} children", "ms")
    kinds: list[tuple[type[Peer], int]] = [(Ours, count)]
    for fewer in _counts(options) if options.peers else ():
        kinds += [(Ours, fewer), (Circus, fewer), (Pm2, fewer)]
    for kind, number in kinds:
        with _up(report, kind, number) as peer:
            if peer is not None:
                samples = [_command(peer, _stats_command(peer)) for _ in range(rounds)]
                report.enter(f"{kind.name} stats, {number:,} children", samples)
    median = report.median(f"{Ours.name} stats, {count:,} children")
    assert median is not None
    report.figures.append(at_most("the command", median, 300.0, "ms"))
    for fewer in _counts(options):
        ours = f"{Ours.name} stats, {fewer} children"
        for kind in (Circus, Pm2):
            report.compare(ours, f"{kind.name} stats, {fewer} children")
    return report


def _counts(options: Options) -> Sequence[int]:
    """How many children peers are given; more than that not all of them bear."""
    return (10,) if options.quick else (100, 500)


@contextlib.contextmanager
def _up(report: Report, kind: type[Peer], count: int) -> Iterator[Peer | None]:
    """One contestant with all its children up and settled; None if it is not installed."""
    reason = kind.missing()
    if reason is not None:
        if (line := f"{kind.name}: {reason}") not in report.left_out:
            report.left_out.append(line)
        yield None
        return
    with kind(TRIVIAL, count) as peer:
        peer.wait_up(_UP_S)
        time.sleep(_SETTLE_S)
        yield peer


def _share(pids: Sequence[int], span_s: float) -> float:
    """% of a core that these processes use together."""
    begin, before = now_s(), cpu_seconds(pids)
    time.sleep(span_s)
    return (cpu_seconds(pids) - before) / (now_s() - begin) * 100


def _command(peer: Peer, argv: list[str]) -> float:
    return command_seconds(argv, peer.environment, _COMMAND_S) * 1000


def _stats_command(peer: Peer) -> list[str]:
    if isinstance(peer, Ours):
        return [COMMAND, "stats"]
    argv = peer.status_command()
    assert argv is not None
    return [*argv[:-2], "stats", "c"] if isinstance(peer, Circus) else argv


def _lives(client: ControlClient) -> dict[str, int]:
    return {row["path"]: row["pid"] for row in client.request("status", {"path": "/"})}


def _order(host: Ours, client: ControlClient) -> float:
    """What the command `apply` asks for when it has read the file, in ms."""
    config = load(str(host.directory / "host.yaml"))
    origin = origin_of(config, client.request("origin")["sys_path"])
    asked = {"spec": to_data(config.tree), "origin": origin_to_data(origin), "wait": True}
    begin = now_s()
    client.request("apply", asked, timeout=_COMMAND_S)
    return (now_s() - begin) * 1000
