"""More come to the control socket than there are descriptors for: the host must not end."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import ExitStack

from tests.integration.hosting import RunningHost

# Few enough to run out, enough for the root to notice first on a busy machine: see `control.door`.
SCARCE = ("sh", "-c", 'ulimit -n 768; exec "$0" "$@"')
CONFIG = "version: 1\ntree:\n  children:\n    - {id: a, command: [sleep, '1000']}\n"
DEADLINE_S = 60.0
WAITS = struct.pack("ll", 60, 0)  # a timeval: connect(2) gives up after it


def test_connections_that_say_nothing_neither_end_the_host_nor_keep_others_out_for_ever(tmp_path):
    (tmp_path / "host.yaml").write_text(CONFIG)
    with RunningHost(tmp_path / "host.yaml", tmp_path, through=SCARCE) as host, ExitStack() as held:
        host.wait_ready("/a")
        deadline, came = time.monotonic() + DEADLINE_S, 0
        while came < 1000:
            assert time.monotonic() < deadline
            silent = held.enter_context(socket.socket(socket.AF_UNIX))
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, WAITS)  # in the queue
            silent.connect(str(host.run_dir / "control.sock"))
            came += 1
        assert host.process.poll() is None, host.output
        held.close()
        while host.tell("status").returncode != 0:
            assert time.monotonic() < deadline, host.output
        assert host.row("/a")["generation"] == 1
        assert host.stop() == 0
