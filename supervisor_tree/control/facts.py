"""Memory and CPU of the processes in a list of rows, looked up by whoever asked for the rows.

The root answers `status` from its picture of the tree alone: a thousand looks into /proc
would hold up supervision for 20 ms and more.  The asking side runs on the same machine as
the same user, so it reads for itself, and only for the rows that it got.

One read of /proc/PID/stat has all that a row shows (proc(5): fields 14, 15, 22 and 24),
which is a third of the cost of a process library's calls and none of its import.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["add_facts", "read_stat", "uptime"]


def add_facts(rows: list[dict[str, Any]]) -> None:
    """Set `rss_bytes` and `cpu_percent` of each row that has a process.

    Both are of the child's leading process.  `cpu_percent` is ps(1)'s: CPU time over the
    whole life of the process, 100 being one core.  A process that has just ended leaves
    None.
    """
    tick = os.sysconf("SC_CLK_TCK")
    page = os.sysconf("SC_PAGE_SIZE")
    uptime_s = uptime()
    for row in rows:
        pid = row.get("pid")
        if pid is None:
            continue
        fields = read_stat(pid)
        if fields is None:
            continue
        cpu_s = (int(fields[11]) + int(fields[12])) / tick
        age_s = uptime_s - int(fields[19]) / tick
        row["rss_bytes"] = int(fields[21]) * page
        row["cpu_percent"] = round(100 * cpu_s / max(age_s, 1 / tick), 1)


def read_stat(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the third on: the second may hold spaces and brackets."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = os.read(fd, 4096)
    except OSError:
        return None
    finally:
        os.close(fd)
    return content[content.rindex(b")") + 2 :].split()


def uptime() -> float:
    """Seconds since the machine was started."""
    with open("/proc/uptime", "rb") as file:
        return float(file.read().split()[0])
