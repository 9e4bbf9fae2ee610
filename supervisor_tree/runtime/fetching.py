"""One GET of a document that may be long in coming, too large, or not there.

The standard library's client bounds each wait, but not their sum: a server that sends a byte
now and then could keep it for ever.  So a timer shuts the connection when the whole time is over.
Redirections are not followed: who configures a URL says where code for this host comes from.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["MAX_BYTES", "FetchFailed", "Fetched", "fetch"]

MAX_BYTES = 8_000_000  # as of any file of the configuration
_SILENCE_S = 10.0
_WHOLE_S = 30.0
_PART = 65536


class FetchFailed(Exception):
    """Why no document could be had, in words for an operator."""


class Fetched(NamedTuple):
    """A document; `body` is None if it is still the one of the entity tag that was given."""

    body: bytes | None
    etag: str | None


def fetch(url: str, etag: str | None, *, whole_s: float = _WHOLE_S) -> Fetched:
    """The document at an http or https URL, unless it is still that of `etag` (RFC 9110, 13.1.2).

    Raises FetchFailed, after `whole_s` seconds at the latest (a slow resolver's apart).
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=min(_SILENCE_S, whole_s))
    over = threading.Event()
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    headers = {"Accept": "application/yaml, */*", "User-Agent": "supervisor-tree"}
    if etag is not None:
        headers["If-None-Match"] = etag
    try:
        connection.connect()
        # The socket itself: the connection forgets it where the answer ends with it.
        with _limited(connection.sock, whole_s, over):
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as response:
                return _document(response, over)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if over.is_set():
            raise FetchFailed(f"not complete within {whole_s:g} s") from None
        raise FetchFailed(_words(error)) from None
    finally:
        connection.close()


def _document(response: http.client.HTTPResponse, over: threading.Event) -> Fetched:
    if response.status == http.client.NOT_MODIFIED:
        return Fetched(None, None)
    if response.status != http.client.OK:
        to = response.headers.get("Location")
        hint = f" to {to[:200]!r}, which is not followed" if to else ""
        raise FetchFailed(f"answered {response.status} {response.reason[:100]}{hint}")
    body = bytearray()
    while part := response.read1(_PART):
        body += part
        if len(body) > MAX_BYTES:
            raise FetchFailed(f"larger than {MAX_BYTES} bytes")
    if over.is_set() or (response.length or 0) > 0:
        raise http.client.IncompleteRead(b"", response.length)
    return Fetched(bytes(body), response.headers.get("ETag"))


@contextlib.contextmanager
def _limited(sock: socket.socket, whole_s: float, over: threading.Event) -> Iterator[None]:
    """Shut the connection after `whole_s` seconds, and say so by `over`."""

    def shut() -> None:
        over.set()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(whole_s, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _words(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"no answer for {_SILENCE_S:g} s"
        case http.client.IncompleteRead():
            return "the connection ended before the document did"
        case http.client.HTTPException():
            return f"answered with what is no HTTP ({type(error).__name__})"
        case OSError():
            return error.strerror or str(error)
    return str(error)
