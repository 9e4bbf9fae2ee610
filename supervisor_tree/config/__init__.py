"""YAML files, or the same words as a dict, become the specifications that the core runs.

Importing this package costs nothing; pydantic and PyYAML are imported by `load`,
`from_data` and `schema`.  `supervisor_tree.config.directories` needs neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisor_tree.config.document import schema
    from supervisor_tree.config.hostconfig import Config, HostConfig
    from supervisor_tree.config.loader import from_data, load

__all__ = ["Config", "HostConfig", "from_data", "load", "schema"]

_HOMES = {
    "Config": "hostconfig",
    "HostConfig": "hostconfig",
    "from_data": "loader",
    "load": "loader",
    "schema": "document",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
