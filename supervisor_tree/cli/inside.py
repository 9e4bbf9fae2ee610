"""What the command itself finds out about one child: its processes, limits and environment.

It runs on the same machine as the host and as the same user; so the root is asked only for
what it alone knows.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from supervisor_tree.control.client import ControlClient
from supervisor_tree.control.redaction import redacted
from supervisor_tree.control.scopes import command_of, look
from supervisor_tree.core.environment import is_owned, layered

__all__ = ["inside"]


def inside(client: ControlClient, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`{processes, limits, environment}` of the child that `show` has answered about.

    processes
        `{pid, parent, session, state, cpu_s, age_s, rss_bytes, command}` of its whole scope.
    limits
        of its leading process as the kernel has them, name -> "soft / hard"; None without one.
    environment
        `{key, value, origin, instead_of}` of every variable as its next life would have it;
        None of a supervisor.  Secrets are hidden.
    """
    rows = client.request("status", {"path": "/", "all": True})
    scope = look().scopes(rows, client.request("ping")).get(facts["path"], [])
    processes = [
        {**asdict(process), "command": " ".join(redacted(command_of(process.pid).split(" ")))}
        for process in scope
    ]
    answer = client.request("environment", {"path": facts["path"]})
    return {
        "processes": processes,
        "limits": None if facts["pid"] is None else _limits(facts["pid"]),
        "environment": None if answer is None else list(_environment(answer, facts)),
    }


def _limits(pid: int) -> dict[str, str] | None:
    """/proc/PID/limits (proc_pid_limits(5)), and nice value and OOM score beside it."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
        oom = Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    at = lines[0].index("Soft Limit")
    found = {}
    for line in lines[1:]:
        soft, hard = line[at:].split()[:2]
        name = line[:at].strip().removeprefix("Max ")
        found[name] = soft if soft == hard else f"{soft} / {hard}"
    nice = stat[stat.rindex(")") + 2 :].split()[16]
    return found | {"nice": nice, "oom_score_adj": oom}


def _environment(answer: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    layers: list[tuple[str, Mapping[str, str]]] = [("host", answer["host"])]
    user = (facts["spec"] or {}).get("user")
    if user is not None:
        layers.append(("account", _account(str(user))))
    layers += [(name, _of_file(name)) for name in answer["env_files"]]
    own = {key: value for key, value in answer["env"].items() if not is_owned(key)}
    layers += [("env", own), ("set by the host", answer["owned"])]
    for variable in layered(layers):
        yield variable._asdict()


def _account(user: str) -> dict[str, str]:
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        return {}
    home, shell, name = found.pw_dir, found.pw_shell, found.pw_name
    return {"HOME": home, "LOGNAME": name, "SHELL": shell, "USER": name}


def _of_file(name: str) -> dict[str, str]:
    """As the child would read it; a file that cannot be read has nothing to add."""
    import dotenv  # noqa: PLC0415 - few children have such a file

    try:
        with open(name, encoding="utf-8") as file:
            values = dotenv.dotenv_values(stream=file)
    except (OSError, UnicodeDecodeError):
        return {}
    known = {key: value for key, value in values.items() if value is not None}
    return {key: value for key, value in redacted(known).items() if not is_owned(key)}
