"""A real web server in a thread, whose one document a test changes, delays and breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["DocumentServer"]


class DocumentServer:
    """Serves `document` at `url` with an entity tag.  Leave its context and it is gone.

    `answer` takes a request over, if it is set.  `asked` counts requests, `unchanged` those that
    were answered with 304.
    """

    def __init__(self, document: str = "") -> None:
        self.document = document
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.asked = self.unchanged = 0
        self.over = threading.Event()
        self._turn = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._serve(self)

            def log_message(self, *_: Any) -> None:
                """Not on the test's terminal."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that goes away in the middle is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/tree.yaml"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> DocumentServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_until(self, holds: Callable[[], bool], deadline_s: float = 30.0) -> None:
        """Until it holds, looked at after each request."""
        with self._turn:
            assert self._turn.wait_for(holds, deadline_s), (self.asked, self.unchanged)

    def wait_for_looks(self, count: int) -> None:
        """So many more requests have been answered."""
        until = self.asked + count
        self.wait_until(lambda: self.asked >= until)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        try:
            if self.answer is not None:
                self.answer(handler)
            else:
                self._send_document(handler)
        finally:
            with self._turn:
                self.asked += 1
                self._turn.notify_all()

    def _send_document(self, handler: BaseHTTPRequestHandler) -> None:
        body = self.document.encode()
        etag = f'"{hash(self.document) & 0xFFFFFFFF:x}"'
        if handler.headers.get("If-None-Match") == etag:
            self.unchanged += 1
            handler.send_response(304)
            handler.end_headers()
            return
        handler.send_response(200)
        handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
