"""Programs that other people wrote, under the tree, with an agent that needs them."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from tests.conftest import find_program
from tests.integration.hosting import RunningHost

VISITOR = '''
"""Ready only once it has had an answer from both services."""

import socket
import time

import supervisor_tree


def ask(connection, question):
    with connection:
        connection.sendall(question)
        return connection.recv(1000)


def redis(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def nginx(port):
    """It does not say when it listens, so it may be a moment late."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5)
        except OSError:
            if time.monotonic() > deadline:
                raise


class Visitor(supervisor_tree.Agent):
    def init(self, ctx):
        pong = ask(redis(ctx.args["redis"]), b"PING\\r\\n")
        page = ask(nginx(ctx.args["nginx"]), b"GET / HTTP/1.0\\r\\n\\r\\n")
        if not (pong.startswith(b"+PONG") and b"hello from nginx" in page):
            raise RuntimeError(f"{pong!r} {page!r}")
'''

NGINX = """
daemon off;
pid {base}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {base}/body;
    proxy_temp_path {base}/proxy;
    fastcgi_temp_path {base}/fastcgi;
    uwsgi_temp_path {base}/uwsgi;
    scgi_temp_path {base}/scgi;
    server {{
        listen 127.0.0.1:{port};
        return 200 "hello from nginx";
    }}
}}
"""

TREE = """
version: 1
host: {{name: services}}
tree:
  children:
    # First in the file, last to start: it needs both.
    - id: visitor
      agent: "visitor:Visitor"
      args: {{redis: {base}/redis.sock, nginx: {port}}}
      needs:
        - {{child: redis, condition: ready}}
        - {{child: nginx, condition: ready}}
    - id: redis
      command: [{redis}, --port, "0", --unixsocket, {base}/redis.sock, --supervised, systemd,
                --save, "", --dir, {base}]
      readiness: notify
    - id: nginx
      command: [{nginx}, -e, stderr, -p, {base}, -c, {base}/nginx.conf]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "visitor.py").write_text(dedent(VISITOR))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (tmp_path / "nginx.conf").write_text(NGINX.format(base=tmp_path, port=port))
    path = tmp_path / "services.yaml"
    programs = {"redis": find_program("redis-server"), "nginx": find_program("nginx")}
    path.write_text(TREE.format(base=tmp_path, port=port, **programs))
    return path


@pytest.mark.needs("redis-server", "nginx")
def test_an_agent_starts_when_the_services_that_it_needs_are_ready(config, tmp_path):
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/visitor")
        rows = {row["path"]: row for row in host.ask("status")}
        assert rows["/redis"]["ready"]
        assert rows["/nginx"]["ready"]
        assert rows["/visitor"]["generation"] == 1

        started = [
            event["path"]
            for event in events(host)
            if event["event"] == "child_ready" and event["kind"] != "supervisor"
        ]
        assert started.index("/visitor") > max(started.index("/redis"), started.index("/nginx"))
        assert host.stop() == 0, host.output


@pytest.mark.needs("redis-server", "nginx")
def test_a_service_that_is_killed_comes_back_whole_and_disturbs_nobody(config, tmp_path):
    with RunningHost(config, tmp_path) as host:
        host.wait_ready("/visitor")
        before = {row["path"]: row for row in host.ask("status")}
        master = psutil.Process(before["/nginx"]["pid"])
        workers = master.children()
        assert workers
        master.kill()
        host.wait_generation("/nginx", 2)
        # The workers that the dead master has left are part of its scope, and gone with it.
        assert not [worker for worker in workers if worker.is_running()]

        after = {row["path"]: row for row in host.ask("status")}
        assert after["/redis"]["pid"] == before["/redis"]["pid"]
        assert after["/visitor"]["pid"] == before["/visitor"]["pid"]

        # And it serves again: a new visitor finds it.
        assert host.tell("restart", "/visitor").returncode == 0
        assert host.stop() == 0, host.output


def events(host: RunningHost) -> list[dict[str, object]]:
    result = host.tell("events", "--json", "--since", "0")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]
