"""What a user writes against, and what runs it inside its own process."""

from __future__ import annotations

from supervisor_tree.agents.agent import Agent, Ignore
from supervisor_tree.agents.context import Context
from supervisor_tree.agents.payload import TargetError, dump_target, load_target
from supervisor_tree.agents.stopping import Stopped, Stopping

__all__ = [
    "Agent",
    "Context",
    "Ignore",
    "Stopped",
    "Stopping",
    "TargetError",
    "dump_target",
    "load_target",
]
