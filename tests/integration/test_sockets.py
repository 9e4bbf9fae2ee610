"""Sockets that the host opens for its children, on real hosts."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.integration.hosting import RunningHost

# Serves HTTP on descriptor 3, as sd_listen_fds(3) has it, and says who it is.  Lives after
# the first wait at the gate of their name before they accept anything.
SERVER = """
import http.server, os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid())
life = os.environ["SUPERVISOR_TREE_GENERATION"]
if os.path.exists(life):
    open(life).close()

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(life.encode())

    def log_message(self, *words):
        pass

server = http.server.HTTPServer(("", 0), Answer, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_config(directory: Path, *children: object) -> Path:
    (directory / "server.py").write_text(SERVER)
    config = directory / "host.yaml"
    listed = "\n".join(f"    - {json.dumps(child)}" for child in children)
    config.write_text(f"version: 1\ntree:\n  children:\n{listed}\n")
    return config


def web(listen: str, **more: object) -> dict[str, object]:
    return {
        "id": "web",
        "command": ["python3", "server.py"],
        "cwd": ".",
        "sockets": [{"name": "http", "listen": listen}],
        **more,
    }


def ask(port: int) -> str:
    """The generation of the life that answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def until(there: Callable[[], object], what: str, deadline_s: float = 20.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not there():
        assert time.monotonic() < deadline, what


def test_who_connects_while_a_child_restarts_is_served_by_its_next_life(tmp_path: Path) -> None:
    port = free_port()
    os.mkfifo(tmp_path / "2")
    with RunningHost(write_config(tmp_path, web(f"tcp://127.0.0.1:{port}")), tmp_path) as host:
        host.wait_ready("/web")
        assert ask(port) == "1"
        os.kill(host.row("/web")["pid"], signal.SIGKILL)
        waiting = [HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(5)]
        for connection in waiting:
            connection.request("GET", "/")
        host.wait_generation("/web", 2)
        (tmp_path / "2").write_text("")
        answers = [connection.getresponse().read().decode() for connection in waiting]
        assert answers == ["2"] * 5
        for connection in waiting:
            connection.close()


def test_sockets_survive_the_spawner(tmp_path: Path) -> None:
    port = free_port()
    os.mkfifo(tmp_path / "2")
    with RunningHost(write_config(tmp_path, web(f"tcp://127.0.0.1:{port}")), tmp_path) as host:
        host.wait_ready("/web")
        spawner = host.ask("health")["spawner_pid"]
        os.kill(spawner, signal.SIGKILL)
        until(lambda: host.ask("health")["spawner_pid"] not in (0, spawner), "no other spawner")
        assert ask(port) == "1"  # the life that the root has taken over
        os.kill(host.row("/web")["pid"], signal.SIGKILL)
        waiting = HTTPConnection("127.0.0.1", port, timeout=20)
        waiting.request("GET", "/")
        host.wait_generation("/web", 2)
        (tmp_path / "2").write_text("")
        assert waiting.getresponse().read() == b"2"
        waiting.close()


def test_what_the_host_was_given_is_handed_on_by_name(tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    code = (
        "import os, socket; names = os.environ['LISTEN_FDNAMES'].split(':'); "
        "found = [f'{name} {socket.socket(fileno=fd).getsockname()[1]}' "
        "for fd, name in enumerate(names, 3)]; "
        f"open('{shown}.new', 'w').write('\\n'.join(found)); os.rename('{shown}.new', '{shown}'); "
        "__import__('signal').pause()"
    )
    sockets = [{"name": "web", "listen": "fd:http"}, {"name": "one", "listen": "fd:other"}]
    child = {"id": "a", "command": ["python3", "-c", code], "sockets": sockets}
    given = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    first, second, third = (one.getsockname()[1] for one in given)
    # As systemd does it: descriptors from 3 on, and the pid of the very process.
    places = " ".join(f"{place}<&{one.fileno()}" for place, one in enumerate(given, 103))
    final = " ".join(f"{place - 100}<&{place}" for place in range(103, 106))
    script = f'exec {places}; exec {final}; LISTEN_PID=$$ exec "$@"'
    variables = {"LISTEN_FDS": "3", "LISTEN_FDNAMES": "http:other:http"}
    through = ["env", *(f"{key}={value}" for key, value in variables.items())]
    through += ["bash", "-c", script, "bash"]
    fds = [one.fileno() for one in given]
    config = write_config(tmp_path, child)
    with RunningHost(config, tmp_path, through=through, pass_fds=fds) as host:
        until(shown.exists, f"nothing shown:\n{host.output}")
        said = shown.read_text().splitlines()
    assert said == [f"web {first}", f"web.2 {third}", f"one {second}"]
    for one in given:
        one.close()


def test_a_name_that_the_host_was_not_given_is_a_failed_start(tmp_path: Path) -> None:
    child = web("fd:nobody", on_limit="park")
    with RunningHost(write_config(tmp_path, child), tmp_path) as host:
        host.wait_until_answering()
        until(lambda: host.row("/web")["state"] == "parked", "not parked")
        told = "cannot listen on fd:nobody: the host was given no socket of this name"
        assert told in host.tell("show", "/web").stdout


def test_a_port_that_is_taken_is_a_failed_start_that_is_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        delays = {"initial": "200ms", "max": "200ms", "jitter": 0}
        other = {"id": "other", "command": ["sleep", "100"]}
        child = web(f"tcp://127.0.0.1:{port}", backoff=delays)
        config = write_config(tmp_path, child, other)
        config.write_text(config.read_text().replace("tree:\n", "tree:\n  intensity: 1000\n"))
        with RunningHost(config, tmp_path) as host:
            host.wait_ready("/other")
            until(lambda: host.row("/web")["restarts"] >= 2, "not tried again")
            said = f"cannot listen on tcp://127.0.0.1:{port}: Address already in use"
            assert said in host.output
            taken.close()
            host.wait_ready("/web")
            assert int(ask(port)) >= 3


def test_a_child_that_is_stopped_listens_no_more(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "web.sock"
    child = web(f"tcp://127.0.0.1:{port}")
    child["sockets"] += [{"name": "file", "listen": f"unix://{file}", "mode": 660}]  # type: ignore[operator]
    with RunningHost(write_config(tmp_path, child), tmp_path) as host:
        host.wait_ready("/web")
        assert stat.S_IMODE(file.stat().st_mode) == 0o660
        assert host.tell("restart", "/web").returncode == 0
        assert ask(port) == "2"
        assert host.tell("stop", "/web").returncode == 0
        with pytest.raises(ConnectionRefusedError):
            ask(port)
        assert not file.exists()
        assert host.tell("start", "/web").returncode == 0
        assert ask(port) == "3"
        assert file.is_socket()
        assert host.stop() == 0
    assert not file.exists()


def test_the_file_of_a_host_that_was_killed_is_no_obstacle_but_a_living_one_is(
    tmp_path: Path,
) -> None:
    stale, alive = tmp_path / "stale.sock", tmp_path / "alive.sock"
    with socket.socket(socket.AF_UNIX) as former:
        former.bind(str(stale))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(alive))
        other.listen()
        good = {**web(f"unix://{stale}"), "id": "good"}
        bad = {**web(f"unix://{alive}"), "id": "bad", "on_limit": "park"}
        with RunningHost(write_config(tmp_path, good, bad), tmp_path) as host:
            host.wait_ready("/good")
            until(lambda: host.row("/bad")["state"] == "parked", "not parked")
            assert "another process listens there" in host.output
        assert alive.exists()
    alive.unlink()


AGENT = """
import asyncio, os
import supervisor_tree

class Server(supervisor_tree.Agent):
    async def init(self, ctx):
        async def serve(reader, writer):
            writer.write(f"{sorted(ctx.sockets)} {ctx.generation}".encode())
            await writer.drain()
            writer.close()
        self.server = await asyncio.start_server(serve, sock=ctx.sockets["http"])
"""


@pytest.mark.parametrize("warm", [0, 1])
def test_an_agent_finds_its_sockets_by_name(tmp_path: Path, warm: int) -> None:
    port = free_port()
    (tmp_path / "serving.py").write_text(AGENT)
    child = {
        "id": "a",
        "agent": "serving:Server",
        "warm": warm,
        "sockets": [
            {"name": "http", "listen": f"tcp://127.0.0.1:{port}"},
            {"name": "more", "listen": f"unix://{tmp_path}/more.sock"},
        ],
    }
    with RunningHost(write_config(tmp_path, child), tmp_path) as host:
        host.wait_ready("/a")
        for generation in (1, 2, 3):
            host.wait_generation("/a", generation)
            with socket.create_connection(("127.0.0.1", port), timeout=20) as asking:
                assert asking.recv(100).decode() == f"['http', 'more'] {generation}"
            os.kill(host.row("/a")["pid"], signal.SIGKILL)


def test_a_program_that_cannot_be_run_still_says_why(tmp_path: Path) -> None:
    child = web(f"tcp://127.0.0.1:{free_port()}", command=["no-such-program"], on_limit="park")
    with RunningHost(write_config(tmp_path, child), tmp_path) as host:
        host.wait_until_answering()
        until(lambda: host.row("/web")["state"] == "parked", "not parked")
        assert "cannot execute 'no-such-program': not found on PATH" in host.output
