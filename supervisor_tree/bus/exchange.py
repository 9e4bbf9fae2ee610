"""The process that fans topics out: libzmq's proxy between an XSUB and an XPUB.

No Python runs on its path.  A subscriber that does not read loses events for itself alone
(XPUB_NODROP is off) and sees it by the publishers' numbers.  When the exchange ends, libzmq
reconnects both sides and the subscriptions are sent again by those who hold them.

What passes here bears no credentials of its sender: the policy on topics is kept by the
publisher's and the subscriber's own runtimes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import zmq

from supervisor_tree.bus.place import binding, is_shared

__all__ = ["main", "publish_address", "subscribe_address"]

_WAITING = 10_000  # events per subscriber, and per publisher
_MAX_BYTES = 16 * 1024 * 1024


def publish_address(run_dir: Path) -> str:
    """Where publishers connect."""
    return f"ipc://{run_dir}/inbox/exchange.in"


def subscribe_address(run_dir: Path) -> str:
    """Where subscribers connect."""
    return f"ipc://{run_dir}/inbox/exchange.out"


def main(ctx: Any = None) -> None:
    """Be the exchange of SUPERVISOR_TREE_RUN_DIR, until a signal handler raises.

    An agent's plain callable: it never looks at `ctx.stopping`, so a stop ends it at once.
    """
    run_dir = Path(os.environ["SUPERVISOR_TREE_RUN_DIR"])
    (run_dir / "inbox").mkdir(mode=0o700, exist_ok=True)
    context = zmq.Context()
    known = () if is_shared(run_dir) else {0, os.geteuid()}
    try:
        incoming = context.socket(zmq.XSUB)
        outgoing = context.socket(zmq.XPUB)
        for sock, address in (
            (incoming, publish_address(run_dir)),
            (outgoing, subscribe_address(run_dir)),
        ):
            for uid in known:  # where it is shared, the directory lets in whom it shall
                sock.setsockopt(zmq.IPC_FILTER_UID, uid)
            sock.setsockopt(zmq.MAXMSGSIZE, _MAX_BYTES)
            sock.setsockopt(zmq.RCVHWM, _WAITING)
            sock.setsockopt(zmq.SNDHWM, _WAITING)
            with binding(run_dir):
                sock.bind(address)
        zmq.proxy(incoming, outgoing)
    finally:
        context.destroy(linger=0)
