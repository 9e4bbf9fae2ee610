"""A real tree of `Node`s, as a program embeds it, and what they are told to do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import supervisor_tree
from supervisor_tree import ChildSpec, SupervisorSpec
from supervisor_tree.embed import RunningTree

__all__ = ["OURS", "Nodes", "nodes"]

OURS = "supervisor_tree"

_LIMIT_S = 60.0
_LOOK_S = 0.005
_HEARD_S = 0.2


class Nodes:
    """`/n0`, `/n1`, ... and the verbs to measure with."""

    def __init__(self, tree: RunningTree, count: int) -> None:
        self.tree = tree
        self.paths = [f"/n{number}" for number in range(count)]

    def casts(
        self, senders: Sequence[str], receivers: Sequence[str], size: int, count: int
    ) -> float:
        """Casts handled in a second when each sender sends `count` to each receiver but itself."""
        for path in receivers:
            others = len(set(senders) - {path})
            self.tree.call(path, ["expect", count * others])
        for path in senders:
            others_of = [to for to in receivers if to != path]
            self.tree.call(path, ["begin", "casts", others_of, size, count])
        begin = min(
            self._result(path) if path in receivers else self._finish(path) for path in senders
        )
        end = max(self._all_seen(path) for path in receivers)
        total = count * sum(len(set(receivers) - {path}) for path in senders)
        return total / (end - begin)

    def calls(self, size: int, count: int) -> list[float]:
        """Round trips from the first node to the second, in microseconds."""
        self.tree.call(self.paths[0], ["begin", "calls", self.paths[1], size, count])
        taken: list[float] = self._finish(self.paths[0])
        return taken

    def publishes(self, topic: str, receivers: Sequence[str], size: int, count: int) -> float:
        """Events handled in a second, by all receivers together; no more than sockets hold."""
        for path in receivers:
            self.tree.call(path, ["expect", count])
        self.tree.call(self.paths[0], ["begin", "publishes", topic, size, count])
        begin = self._finish(self.paths[0])
        end = max(self._all_seen(path) for path in receivers)
        return count * len(receivers) / (end - begin)

    def wait_subscribed(self, topic: str, receivers: Sequence[str]) -> None:
        """Let the first node publish until everybody hears it: a connection takes a moment."""
        deadline = time.monotonic() + _LIMIT_S
        while not all(self.tree.call(path, ["seen"])[0] for path in receivers):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not everybody hears {topic}")
            self.tree.call(self.paths[0], ["begin", "publishes", topic, 1, 1])
            self._finish(self.paths[0])
            time.sleep(_HEARD_S)

    def _finish(self, path: str) -> Any:
        """What it was told to begin has come to; it is deaf until then."""
        return self.tree.call(path, ["finish"], _LIMIT_S)

    def _result(self, path: str) -> Any:
        """The same of one that receives meanwhile."""
        deadline = time.monotonic() + _LIMIT_S
        while (answer := self.tree.call(path, ["result"], _LIMIT_S)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} does not come to an end")
            time.sleep(_LOOK_S)
        return answer

    def _all_seen(self, path: str) -> float:
        deadline = time.monotonic() + _LIMIT_S
        while True:
            seen, at = self.tree.call(path, ["seen"], _LIMIT_S)
            if at:
                return float(at)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} has seen no more than {seen}")
            time.sleep(_LOOK_S)


@contextlib.contextmanager
def nodes(
    count: int, topics: Sequence[Sequence[str]] = (), more: Sequence[ChildSpec] = ()
) -> Iterator[Nodes]:
    """So many nodes in a tree, and `more` beside them; `topics[n]` is what the nth listens to."""
    children = [
        ChildSpec(
            id=f"n{number}",
            agent="benchmarks.bus.node:Node",
            args={"topics": list(topics[number])} if number < len(topics) else {},
        )
        for number in range(count)
    ]
    spec = SupervisorSpec(children=(*children, *more), intensity=1_000_000, period=1.0)
    with supervisor_tree.run(spec) as tree:
        yield Nodes(tree, count)
