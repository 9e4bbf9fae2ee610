"""The bus: agents of a real tree beside bare sockets, and beside others who carry messages.

All contestants of a row are up side by side, and take turns.  Rates are of messages whose
handler was called; acknowledgements, numbering and policies are on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.bus.contest import PEERS, Bare, BareTopics, Contestant
from benchmarks.bus.ours import OURS, Nodes, nodes
from benchmarks.measure import Life, Lines, now_s
from benchmarks.peers import PeerFailed
from benchmarks.report import Figure, Options, Report
from benchmarks.workload import TRIVIAL
from supervisor_tree import ChildSpec

__all__ = ["call", "cast", "publish", "restart", "shapes"]

_SIZES = {64: "64 B", 1024: "1 KiB", 65536: "64 KiB"}
_COUNTS = {64: 60_000, 1024: 30_000, 65536: 600}
_EVENTS = {64: 5_000, 1024: 5_000, 65536: 300}  # fewer than a socket holds: none is lost
_QUICK = 5  # times less of everything
_LEAST = 200
_FLOW = 100_000  # messages a second
_SETTLE_S = 0.05
_FLOWING_S = 0.3
_AGAIN_S = 20.0


def cast(options: Options) -> Report:
    """From one agent to one other."""
    report = Report("bus-cast", "casts from agent to agent, handled", "k messages/s")
    with _contestants(report, options, Bare) as others, nodes(2) as ours:
        for size, label in _SIZES.items():
            count = _COUNTS[size] // (_QUICK if options.quick else 1)
            turns: dict[str, Callable[[], float]] = {
                f"{OURS}, {label}": lambda size=size, count=count: ours.casts(
                    ours.paths[:1], ours.paths[1:], size, count
                )
            }
            for it in others:
                share = max(_LEAST, int(count * it.share))
                turns[f"{it.name}, {label}"] = lambda it=it, size=size, share=share: it.ask(
                    "casts", size, share
                )
            _take_turns(report, turns, 2 if options.quick else 7)
    report.compare(f"{OURS}, 64 B", f"{Bare.name}, 64 B", least=0.35)
    report.compare(f"{OURS}, 64 B", "nats, 64 B", least=1.2)
    _relate_all(report, [Bare.name, *(peer.name for peer in PEERS)])
    return report


def call(options: Options) -> Report:
    """Round trips, one after the other."""
    report = Report("bus-call", "calls from agent to agent, round trip", "us")
    with _contestants(report, options, Bare) as others, nodes(2) as ours:
        for size, label in _SIZES.items():
            count = 300 if options.quick else 1000
            sides: dict[str, Callable[[int], list[float]]] = {
                OURS: lambda count, size=size: ours.calls(size, count)
            }
            for it in others:
                if it.answers:
                    sides[it.name] = lambda count, it=it, size=size: it.ask(
                        "calls", size, max(_LEAST, int(count * it.share))
                    )
            samples: dict[str, list[list[float]]] = {name: [] for name in sides}
            for _ in range(2 if options.quick else 5):
                for name in list(samples):
                    try:
                        samples[name].append(sorted(sides[name](count)))
                    except PeerFailed as failure:
                        report.left_out.append(f"{name}, {label}: {failure}")
                        del samples[name]
            for name, turns in samples.items():
                for part in (50, 99):
                    taken = [turn[len(turn) * part // 100] for turn in turns]
                    report.enter(f"{name}, {label}, p{part}", taken)
    for label in _SIZES.values():
        for part, most in ((50, 2.5), (99, 3.0)):
            ours_at, bare_at = (f"{who}, {label}, p{part}" for who in (OURS, Bare.name))
            report.compare(ours_at, bare_at, most=most)
    return report


def publish(options: Options) -> Report:
    """To one subscriber and to a hundred, in bursts that nobody loses."""
    report = Report("bus-publish", "events through the exchange, handled", "k messages/s")
    for count in (1, 20 if options.quick else 100):
        topic = f"to.{count}"
        with BareTopics() as bare, nodes(count + 1, [(), *[(topic,)] * count]) as ours:
            bare.ask("subscribers", count)
            ours.wait_subscribed(topic, ours.paths[1:])
            for size in _SIZES:
                turns = _publishing(topic, size, bare, ours)
                _take_turns(report, turns, 2 if options.quick else 5)
        for label in _SIZES.values():
            pair = [f"{who}, to {count}, {label}" for who in (OURS, BareTopics.name)]
            report.compare(*pair, least=0.6)
    return report


def _publishing(
    topic: str, size: int, bare: Contestant, ours: Nodes
) -> dict[str, Callable[[], float]]:
    receivers = ours.paths[1:]
    to = f"to {len(receivers)}, {_SIZES[size]}"
    events = _EVENTS[size] // (5 if len(receivers) > 1 else 1)
    return {
        f"{OURS}, {to}": lambda: ours.publishes(topic, receivers, size, events),
        f"{BareTopics.name}, {to}": lambda: bare.ask("publishes", size, events),
    }


def shapes(options: Options) -> Report:
    """Who speaks to whom, other than one to one; all together, 64 B."""
    report = Report("bus-shapes", "casts by shape, 64 B, all agents together", "k messages/s")
    total = 20_000 if options.quick else 60_000
    many = 20 if options.quick else 100
    with nodes(many + 1) as ours:
        one, rest, mesh = ours.paths[:1], ours.paths[1:], ours.paths[1:21]
        named = {
            "one to one": (one, rest[:1]),
            "10 to one": (rest[:10], one),
            f"one to {many}": (one, rest),
            "mesh of 20": (mesh, mesh),
        }
        turns: dict[str, Callable[[], float]] = {}
        for name, (senders, receivers) in named.items():
            pairs = sum(len(set(receivers) - {path}) for path in senders)
            turns[name] = lambda s=senders, r=receivers, n=total // pairs: ours.casts(s, r, 64, n)
        _take_turns(report, turns, 2 if options.quick else 5)
    first, *others = named
    for name in others:
        report.compare(name, first)
    return report


def restart(options: Options) -> Report:
    """SIGKILL of an agent that has nothing to do with the traffic."""
    report = Report("bus-restart", "restart of a bystander, trivial child", "ms")
    idle, flowing = "bus idle", f"{_FLOW // 1000} k messages/s"
    samples: dict[str, list[float]] = {idle: [], flowing: []}
    rates = []
    with tempfile.TemporaryDirectory(prefix="bench-") as where:
        lines = Lines(Path(where) / "lines")
        bystander = ChildSpec(id="by", agent=TRIVIAL.agent, args={"fifo": str(lines.path)})
        with contextlib.closing(lines), nodes(2, more=[bystander]) as ours:
            life = lines.next(_AGAIN_S)
            for _ in range(2 if options.quick else 8):
                life = _kill_some(lines, life, samples[idle])
                with _flow(ours, rates):
                    life = _kill_some(lines, life, samples[flowing])
    for name, taken in samples.items():
        report.enter(name, taken)
    report.compare(flowing, idle, most=1.3)
    rate = sorted(rates)[len(rates) // 2] / 1000
    report.figures.append(Figure("flowed meanwhile", f"{rate:.0f} k messages/s"))
    return report


@contextlib.contextmanager
def _flow(ours: Nodes, rates: list[float]) -> Iterator[None]:
    source, sink = ours.paths
    ours.tree.call(sink, ["expect", 0])
    ours.tree.call(source, ["begin", "flow", sink, 64, _FLOW])
    begin = now_s()
    time.sleep(_FLOWING_S)
    yield
    seen, _ = ours.tree.call(sink, ["seen"])
    rates.append(seen / (now_s() - begin))
    ours.tree.call(source, ["end"])
    time.sleep(_FLOWING_S)


def _kill_some(lines: Lines, life: Life, samples: list[float]) -> Life:
    for _ in range(5):
        time.sleep(_SETTLE_S)
        begin = now_s()
        os.kill(life.pid, signal.SIGKILL)
        life = lines.next(_AGAIN_S)
        samples.append((life.at - begin) * 1000)
    return life


@contextlib.contextmanager
def _contestants(
    report: Report, options: Options, bare: type[Contestant]
) -> Iterator[list[Contestant]]:
    with contextlib.ExitStack() as stack:
        up = []
        for kind in (bare, *(PEERS if options.peers else ())):
            reason = kind.missing()
            if reason is None:
                try:
                    up.append(stack.enter_context(kind()))
                    continue
                except PeerFailed as failure:
                    reason = str(failure)
            report.left_out.append(f"{kind.name}: {reason}")
        yield up


def _take_turns(report: Report, turns: dict[str, Callable[[], float]], rounds: int) -> None:
    samples: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(-1, rounds):  # once before: connections are made, pages touched
        names = list(samples)
        first = number % len(names)  # nobody always comes after the same one
        for name in names[first:] + names[:first]:
            try:
                rate = turns[name]()
            except PeerFailed as failure:
                report.left_out.append(f"{name}: {failure}")
                del samples[name]
                continue
            if number >= 0:
                samples[name].append(rate / 1000)
    for name, taken in samples.items():
        report.enter(name, taken)


def _relate_all(report: Report, names: Sequence[str]) -> None:
    """Figures without a goal: ourselves to each of these, size by size."""
    told = {figure.what for figure in report.figures}
    for label in _SIZES.values():
        for name in names:
            what = (f"{OURS}, {label}", f"{name}, {label}")
            if " / ".join(what) not in told:
                report.compare(*what)
