"""One event from a process that will not stay: published when it can be heard, and not before.

A PUB socket drops what it is given before it knows who has subscribed, and whoever publishes
once and ends would be heard by nobody.  An XPUB is told of the subscriptions: those that were
there are sent as soon as the exchange is reached, and one of our own shows that they were.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import zmq

from supervisor_tree.bus.codec import encode, pack
from supervisor_tree.bus.exchange import publish_address, subscribe_address
from supervisor_tree.bus.mailbox import Sender
from supervisor_tree.bus.messages import Event
from supervisor_tree.bus.topics import topic_frame
from supervisor_tree.core.patterns import check_topic
from supervisor_tree.errors import TryAgain

__all__ = ["announce"]

_SUBSCRIBED = 1  # the first byte of what an XPUB receives, zmq_socket(3)
_REST_S = 0.05  # for subscriptions that come behind our own
_LINGER_MS = 1000


def announce(run_dir: Path, me: Sender, topic: str, message: Any, timeout_s: float) -> bool:
    """Publish as `me`; False if nobody had subscribed to such a topic.

    Raises ValueError if it is no topic, or what `pack` raises; TryAgain if the exchange is not
    reached within `timeout_s` seconds, and then nothing was published.
    """
    frame = topic_frame(check_topic(topic))
    event = encode([Event(me.path, me.generation, topic, 1, pack(message))])
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        ours = b"\0" + me.path.encode()  # no topic begins so
        back = context.socket(zmq.SUB)
        back.setsockopt(zmq.SUBSCRIBE, ours)
        back.connect(subscribe_address(run_dir))
        out = context.socket(zmq.XPUB)
        out.connect(publish_address(run_dir))
        found = _subscriptions(out, ours, timeout_s)
        out.send_multipart([frame, event], zmq.NOBLOCK)
        return any(frame.startswith(prefix) for prefix in found)
    finally:
        context.destroy(linger=_LINGER_MS)


def _subscriptions(out: zmq.Socket[bytes], ours: bytes, timeout_s: float) -> set[bytes]:
    """What the exchange asks of publishers."""
    found: set[bytes] = set()
    deadline = time.monotonic() + timeout_s
    while out.poll(max(0, int((deadline - time.monotonic()) * 1000))):
        said = out.recv(zmq.NOBLOCK)
        if said[:1] == bytes([_SUBSCRIBED]):
            found.add(said[1:])
        if said[1:] == ours:
            deadline = time.monotonic() + _REST_S
    if ours not in found:
        raise TryAgain("the exchange does not answer; nothing was published")
    return found - {ours}
