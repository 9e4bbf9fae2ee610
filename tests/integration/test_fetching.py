"""A document is had whole, or not at all, and never waited for beyond its time."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from supervisor_tree.runtime.fetching import FetchFailed, fetch
from tests.integration.web import DocumentServer


@pytest.fixture
def server() -> Iterator[DocumentServer]:
    with DocumentServer("version: 1\n") as server:
        yield server


def test_a_document_comes_with_its_tag_and_then_only_when_it_has_changed(server):
    body, etag = fetch(server.url, None)
    assert body == b"version: 1\n"
    assert fetch(server.url, etag) == (None, None)
    server.document = "version: 1 # new\n"
    assert fetch(server.url, etag).body == b"version: 1 # new\n"


@pytest.mark.parametrize(
    ("status", "words"),
    [(500, "answered 500"), (404, "answered 404"), (301, "to '/other', which is not followed")],
)
def test_an_answer_that_is_no_document_is_told_by_its_number(server, status, words):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", "/other" if status == 301 else "")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answer = answer
    with pytest.raises(FetchFailed, match=words):
        fetch(server.url, None)


def test_a_document_that_is_too_large_is_given_up(server):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.over.is_set():
            handler.wfile.write(bytes(1 << 20))

    server.answer = answer
    with pytest.raises(FetchFailed, match="larger than 8000000 bytes"):
        fetch(server.url, None)


def test_a_server_that_sends_a_byte_now_and_then_is_given_up_in_time(server):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not server.over.wait(0.05):
            handler.wfile.write(b" ")

    server.answer = answer
    with pytest.raises(FetchFailed, match=r"not complete within 0\.5 s"):
        fetch(server.url, None, whole_s=0.5)


def test_a_server_that_never_ends_its_headers_is_given_up_in_time(server):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not server.over.wait(0.05):
            handler.wfile.write(b"x")

    server.answer = answer
    with pytest.raises(FetchFailed, match=r"not complete within 0\.5 s"):
        fetch(server.url, None, whole_s=0.5)


def test_a_server_that_says_nothing_is_given_up_in_time(server):
    server.answer = lambda handler: server.over.wait() and None
    with pytest.raises(FetchFailed, match=r"no answer|not complete"):
        fetch(server.url, None, whole_s=0.5)


def test_half_a_document_is_none(server):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"version: 1\n")

    server.answer = answer
    with pytest.raises(FetchFailed, match="ended before the document did"):
        fetch(server.url, None)


def test_what_is_no_http_is_said_to_be_none(server):
    server.answer = lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n") and None
    with pytest.raises(FetchFailed, match="no HTTP"):
        fetch(server.url, None)


@pytest.mark.parametrize("url", ["http://no.invalid/x", "https://127.0.0.1:1/x"])
def test_a_name_that_is_not_known_or_a_port_that_is_closed_is_told(url):
    with pytest.raises(FetchFailed):
        fetch(url, None)
