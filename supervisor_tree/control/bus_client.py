"""The bus for a process that is no child of the tree: the command line, an embedding program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from supervisor_tree.bus.blocking import BlockingBus
from supervisor_tree.bus.live import join
from supervisor_tree.bus.mailbox import Sender

__all__ = ["join_bus"]


def join_bus(run_dir: Path, request: Callable[[str, Mapping[str, Any]], Any]) -> BlockingBus:
    """Be a member of the bus, until this process ends.

    `request` asks the host's control socket from this very process: what it is told apart by
    is the pid that the kernel names there.  Raises what `request` raises.
    """
    answer = request("bus_attach", {})
    me = Sender(str(answer["path"]), int(answer["generation"]))
    return BlockingBus.start(lambda inbasket: join(run_dir, me, inbasket, inbox=False))
