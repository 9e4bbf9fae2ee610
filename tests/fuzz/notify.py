"""Datagrams at the notify socket."""

from __future__ import annotations

from supervisor_tree.runtime.notify import parse
from tests.fuzz.engine import fuzz

__all__ = ["SEEDS", "one_input"]

SEEDS = [
    b"READY=1",
    b"READY=1\nSTATUS=listens on 8420\nMAINPID=17\n",
    b"WATCHDOG=1\nWATCHDOG_USEC=10000000",
    b"EXTEND_TIMEOUT_USEC=2000000",
    b"X_SUPERVISOR_TREE_BUSY=npm install\nSTATUS=npm install\nWATCHDOG=trigger",
    "STOPPING=1\nSTATUS=räumt auf = bald fertig\nERRNO=2".encode(),
]


def one_input(data: bytes) -> None:
    """Each line KEY=VALUE, as sd_notify(3) has it, or nothing of the whole."""
    fields = parse(data)
    if fields is None:
        return
    assert fields
    lines = data.decode().split("\n")
    for key, value in fields.items():
        assert key
        assert "=" not in key
        assert f"{key}={value}" in lines
    assert all(line.partition("=")[0] in fields for line in lines if line)


if __name__ == "__main__":
    fuzz(one_input, SEEDS)
