"""The host's child that keeps its connections to other hosts: `bus.gateway` as an agent."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from supervisor_tree.agents.agent import Agent
from supervisor_tree.agents.context import Context
from supervisor_tree.bus.gateway import Gateway
from supervisor_tree.bus.keys import read_secret_key
from supervisor_tree.core.hosts import links_from_data

__all__ = ["GatewayAgent"]


class GatewayAgent(Agent):
    """`/_/gateway`.  `args` are `links` (core.hosts.Links as data) and `era`."""

    def init(self, ctx: Context) -> None:
        """See Agent.  Raises OSError or ValueError for a key that cannot be used."""
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # each sender abroad takes two
        links = links_from_data(ctx.args["links"])
        self._gateway = Gateway(
            Path(os.environ["SUPERVISOR_TREE_RUN_DIR"]),
            links,
            read_secret_key(Path(links.key)),
            ctx.args["era"],
            say=_say,
            status=ctx.notify,
        )

    def terminate(self, reason: str) -> None:
        """See Agent."""
        self._gateway.close()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
