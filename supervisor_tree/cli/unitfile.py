"""The verb `unit`: a systemd unit for a configuration, its times and limits taken from the tree."""

from __future__ import annotations

import os
import re
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from glob import glob
from math import ceil, isinf
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor_tree.cli.output import say
from supervisor_tree.errors import ConfigError, ConfigProblem, OperationFailed

if TYPE_CHECKING:
    from supervisor_tree.config.hostconfig import Config

__all__ = ["FORCE_S", "RESERVE_S", "systemd_version", "unit", "unit_text"]

RESERVE_S = 5.0  # the tree's own budget is exceeded by so much before the host uses force
FORCE_S = 10.0  # and the host has so long for that before systemd would
_FEWEST_FILES = 4096
_WATCHDOG_S = 30


def unit(options: Namespace) -> int:
    """`unit [CONFIG] [--user] [--name NAME]`"""
    from supervisor_tree.config import load  # noqa: PLC0415

    file = options.config or _running(options)
    config = load(file)
    text = unit_text(
        config,
        Path(file).resolve(),
        command=_command(),
        directory=Path(os.getcwd()),
        user=options.user,
    )
    say(options, {"unit": text}, [text.rstrip("\n")])
    return 0


def _running(options: Namespace) -> str:
    """The configuration of the host that runs here."""
    from supervisor_tree.cli.connecting import connect  # noqa: PLC0415

    with connect(options) as client:
        file = client.request("ping")["config"]
    if file is None:
        raise OperationFailed("the running host was given no file; name its CONFIG")
    return str(file)


def _command() -> list[str]:
    """How this command itself was found."""
    program = shutil.which(sys.argv[0]) or sys.argv[0]
    if os.path.basename(program).startswith("supervisor-tree"):
        return [os.path.abspath(program)]
    return [sys.executable, "-m", "supervisor_tree"]


def unit_text(
    config: Config, file: Path, *, command: list[str], directory: Path, user: bool
) -> str:
    """The unit; `user`: of systemd --user.  Raises ConfigError for what systemd cannot be told."""
    for value in (str(file), str(directory), *command):
        if not value.isprintable():
            problem = ConfigProblem(repr(value), 0, 0, "", "this path cannot stand in a unit file")
            raise ConfigError([problem])
    lines = _lines(config, file, command, directory, user=user)
    return "\n".join(lines) + "\n"


def _lines(
    config: Config, file: Path, command: list[str], directory: Path, *, user: bool
) -> Iterator[str]:
    host = config.host
    words = " ".join(_quoted(word) for word in (*command, "run", "--quiet", str(file)))
    yield "[Unit]"
    yield f"Description=supervisor_tree host {host.name}"
    if not user:
        yield "After=network.target"
    yield "# A host that dies again and again: systemd gives up, as a supervisor does."
    yield "StartLimitIntervalSec=300"
    yield "StartLimitBurst=5"
    yield ""
    yield "[Service]"
    yield from _type()
    yield "NotifyAccess=main"
    yield f"ExecStart={words}"
    yield f"WorkingDirectory={_escaped(str(directory))}"
    if not user:
        yield "# User=, Group=: whom the host and its children run as; root if left out."
    yield from _directories(config)
    yield "# The root stops its tree in order; what is left gets SIGKILL."
    yield "KillMode=mixed"
    yield from _times(config)
    yield f"WatchdogSec={_WATCHDOG_S}"
    yield "Restart=on-failure"
    yield "RestartSec=1"
    yield "# 78: bad configuration, or a host runs already; it would not help to try again."
    yield "RestartPreventExitStatus=78"
    yield "SuccessExitStatus=143"
    yield "# The host may put its children into control groups of their own."
    yield "Delegate=yes"
    yield "TasksMax=infinity"
    yield f"LimitNOFILE={_files(config)}"
    yield ""
    yield "[Install]"
    yield f"WantedBy={'default.target' if user else 'multi-user.target'}"


_RELOADS = 253  # the first systemd that knows Type=notify-reload


def _type() -> Iterator[str]:
    """notify-reload, unless the systemd of this machine is known to be too old for it."""
    version = systemd_version()
    if version is None or version >= _RELOADS:
        yield "Type=notify-reload"
        return
    yield f"# From systemd {_RELOADS} on: Type=notify-reload, and no ExecReload=."
    yield "Type=notify"
    yield "ExecReload=kill -HUP $MAINPID"


def systemd_version() -> int | None:
    """Of the systemd that is installed here, by the name of its library; None without one."""
    for folder in ("/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd", "/usr/lib/*/systemd"):
        for file in glob(f"{folder}/libsystemd-shared-*.so"):
            number = re.match(r"libsystemd-shared-(\d+)", os.path.basename(file))
            if number is not None:
                return int(number[1])
    return None


def _directories(config: Config) -> Iterator[str]:
    """What the configuration leaves open, systemd makes, and the host finds by its environment."""
    host = config.host
    if host.run_dir is None:
        yield f"RuntimeDirectory={host.name}"
        yield "RuntimeDirectoryMode=0700"
        yield "# The next life of the host reads there what the last one has left running."
        yield "RuntimeDirectoryPreserve=restart"
    if host.state_dir is None:
        yield f"StateDirectory={host.name}"
        yield "StateDirectoryMode=0700"
    if host.log_dir is None:
        yield f"LogsDirectory={host.name}"
        yield "LogsDirectoryMode=0700"


def _times(config: Config) -> Iterator[str]:
    from supervisor_tree.core.budget import stop_budget  # noqa: PLC0415

    budget_s = stop_budget(config.tree)
    if isinf(budget_s):
        yield "# A child has `shutdown: infinity`: nobody can say how long a stop takes."
        yield "TimeoutStopSec=infinity"
        return
    limit_s = ceil(budget_s + RESERVE_S)
    yield f"# The tree may take {budget_s:g} s to stop; the host ends by itself, with a report,"
    yield "# before systemd would end it by SIGKILL."
    yield f"Environment=SUPERVISOR_TREE_STOP_LIMIT={limit_s}s"
    yield f"TimeoutStopSec={ceil(limit_s + FORCE_S)}"


def _files(config: Config) -> int:
    """Room for twice the children there are, as a power of two."""
    from supervisor_tree.runtime.infrastructure import specs_below  # noqa: PLC0415
    from supervisor_tree.runtime.settings import (  # noqa: PLC0415
        DESCRIPTORS_PER_CHILD,
        FEWEST_DESCRIPTORS,
    )

    children = sum(1 for _ in specs_below(config.tree))
    needed = FEWEST_DESCRIPTORS + 2 * DESCRIPTORS_PER_CHILD * children
    return max(_FEWEST_FILES, 1 << (needed - 1).bit_length())


def _escaped(text: str) -> str:
    """systemd.unit(5): a % begins a specifier."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """One word of a command line, systemd.service(5)."""
    text = _escaped(word).replace("\\", "\\\\").replace("$", "$$")
    if any(letter in text for letter in " \"';"):
        text = '"' + text.replace('"', '\\"') + '"'
    return text
