"""What goes to other hosts and comes from them, in one process of each host.

    sender ─ipc─► gateway ═tcp, CURVE═► gateway ─ipc─► inbox of the receiver

Whoever holds a cast is the sender, and whoever says that it was handled is the receiver, as
within one host; so a gateway that dies, on either side, loses nothing, and neither does a
broken connection.  What a gateway does add is who the sender is: its own kernel's word at home,
and abroad the host that the key of the connection belongs to.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import zmq
from zmq.utils import z85

from supervisor_tree.bus.crossing import Alive, Back, Forth, Header
from supervisor_tree.bus.inbound import Inbound
from supervisor_tree.bus.keys import public_key_of
from supervisor_tree.bus.link import Gate, Uplink
from supervisor_tree.bus.live import LiveDirectory
from supervisor_tree.bus.outbound import Outbound
from supervisor_tree.core.hosts import Links, Peer

__all__ = ["Gateway"]

_TICK_S = 1.0
_ALIVE_TICKS = 5
_TELL_TICKS = 60  # at most so often is told again what was dropped
_SOCKETS = 16_384
_BAD = ("strangers", "malformed", "forged", "not_allowed", "full")


class Gateway:
    """One host's.  Make, use and close it in the loop's thread.

    `secret` is the host's secret key, `era` a number that grows with each life of the host.
    `say` gets lines for the log, `status` one line on how things stand.  Raises zmq.ZMQError if
    it cannot listen.
    """

    def __init__(  # noqa: PLR0913 - a composition, made in one place
        self,
        run_dir: Path,
        links: Links,
        secret: str,
        era: int,
        *,
        say: Callable[[str], object],
        status: Callable[[str], object],
    ) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._say, self._status = say, status
        self._era = era
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, _SOCKETS)
        self._directory = LiveDirectory(run_dir, self._context, loop)
        self._counters: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._ticks = 0
        self._silent_until = 0
        self._uplinks: dict[str, Uplink] = {}
        keys = (public_key_of(secret), secret)
        self._gate: Gate | None = None
        (run_dir / "inbox").mkdir(mode=0o700, exist_ok=True)
        self._inbound = Inbound(
            self._context,
            loop,
            run_dir,
            self._directory,
            era=era,
            answer=self._answer,
            counters=self._counters,
        )
        self._outbound = Outbound(
            self._context,
            loop,
            run_dir,
            self._directory,
            era=era,
            uplinks=self._uplinks,
            report=self._directory.report,
            counters=self._counters,
        )
        if links.listen is not None:
            self._gate = self._listening(links, links.listen, keys)
        for peer in links.peers:
            if peer.address is not None:
                self._uplinks[peer.name] = self._uplink(peer, keys)
        self._tick = loop.call_later(_TICK_S, self._on_tick)

    def close(self) -> None:
        """Let go of everything."""
        self._tick.cancel()
        for uplink in self._uplinks.values():
            uplink.close()
        if self._gate is not None:
            self._gate.close()
            self._gate = None
        self._outbound.close()
        self._inbound.close()
        self._directory.close()
        self._context.destroy(linger=0)

    def _listening(self, links: Links, address: str, keys: tuple[str, str]) -> Gate:
        return Gate(
            self._context,
            self._loop,
            address,
            keys,
            {z85.decode(peer.key): peer.name for peer in links.peers},
            on_frame=self._inbound.receive,
            counters=self._counters,
        )

    def _uplink(self, peer: Peer, keys: tuple[str, str]) -> Uplink:
        return Uplink(
            self._context,
            self._loop,
            peer,
            keys,
            on_frame=partial(self._back, peer.name),
            on_change=self._link_changed,
            counters=self._counters,
        )

    def _answer(self, route: bytes, header: Back, frame: bytes) -> None:
        if self._gate is not None:
            self._gate.send(route, header, frame)

    def _back(self, host: str, header: Header, frame: bytes) -> None:
        if isinstance(header, Back):
            self._outbound.returned(host, Forth(*header), frame)
        else:
            self._counters["malformed"] += 1

    def _link_changed(self, uplink: Uplink) -> None:
        self._say(f"host {uplink.peer.name}: {'connected' if uplink.up else 'connection lost'}")
        up = sum(each.up for each in self._uplinks.values())
        self._status(f"connected to {up} of {len(self._uplinks)} hosts")
        uplink.send(Alive(self._era))
        self._outbound.link_changed(uplink.peer.name, up=uplink.up)

    def _on_tick(self) -> None:
        self._tick = self._loop.call_later(_TICK_S, self._on_tick)
        self._ticks += 1
        if self._ticks % _ALIVE_TICKS == 0:
            for uplink in self._uplinks.values():
                uplink.send(Alive(self._era))
            self._inbound.look()
        if self._ticks >= self._silent_until:
            self._tell()

    def _tell(self) -> None:
        """Say in the log what was dropped since this was said last."""
        new = {kind: self._counters[kind] - self._told[kind] for kind in _BAD}
        if any(new.values()):
            self._told = Counter(self._counters)
            self._silent_until = self._ticks + _TELL_TICKS
            words = ", ".join(f"{count} {kind}" for kind, count in new.items() if count)
            self._say(f"dropped: {words}")
