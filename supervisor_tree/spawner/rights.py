"""What a child may use and who it is: set while it still has the rights of the host.

Whatever goes wrong has the name of its stage and a sentence for the operator.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from supervisor_tree.core.specs import ChildSpec, Limits
from supervisor_tree.runtime.sharing import admit
from supervisor_tree.spawner import kernel
from supervisor_tree.spawner.directories import own_directories

__all__ = ["SetupError", "apply_limits", "become", "stage", "who"]


class SetupError(Exception):
    """A child could not be made ready; `stage` is one of LaunchFailed's."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.message = message


def apply_limits(limits: Limits) -> None:
    """While this process has the host's rights, as some need them.

    Soft and hard limit are both set: what a child could take back would be no limit.
    """
    for key, kind, value in (
        ("nofile", resource.RLIMIT_NOFILE, limits.nofile),
        ("as", resource.RLIMIT_AS, limits.address_space),
        ("core", resource.RLIMIT_CORE, limits.core),
        ("nproc", resource.RLIMIT_NPROC, limits.nproc),
    ):
        if value is not None:
            with stage("limits", _cannot(key, value, kind)):
                resource.setrlimit(kind, (value, value))
    if limits.nice is not None:
        with stage("limits", f"cannot apply limits.nice {limits.nice}"):
            os.setpriority(os.PRIO_PROCESS, 0, limits.nice)
    if limits.oom_score_adj is not None:
        with (
            stage("limits", f"cannot apply limits.oom_score_adj {limits.oom_score_adj}"),
            open("/proc/self/oom_score_adj", "w", encoding="ascii") as file,
        ):
            file.write(str(limits.oom_score_adj))


def become(spec: ChildSpec, own: Mapping[str, str]) -> pwd.struct_passwd | None:
    """Change group, supplementary groups and user for good (credentials(7)).

    In this order, as who is another user already may not change groups any more.  All three
    ids of each are set, so that none is left to go back to; nor are capabilities, which a
    change between two users that are not root would leave.  `own` is the part of the child's
    environment that the host has made.  Returns the account, None if it keeps the host's.
    """
    account = _account(spec.user) if spec.user else None
    gid = _group_id(spec.group) if spec.group else None
    own_directories(own, -1 if account is None else account.pw_uid, gid)
    if account is None:
        if gid is not None and gid != os.getgid():
            os.setgroups([gid])
            os.setresgid(gid, gid, gid)
        return None
    gid = account.pw_gid if gid is None else gid
    if (account.pw_uid, gid) != (os.geteuid(), os.getegid()):
        if spec.command is None:
            _prepare_for(own, account.pw_uid)
        os.initgroups(account.pw_name, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        if account.pw_uid != 0:
            kernel.drop_capabilities()
        kernel.allow_proc_access()
    return account


@contextlib.contextmanager
def stage(name: str, what: str = "") -> Iterator[None]:
    """Give what goes wrong within its stage and a sentence."""
    try:
        yield
    except (OSError, ValueError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        text = f"{what or f'cannot apply {name}'}: {reason}"
        raise SetupError(name, text) from error


def _cannot(key: str, value: int, kind: int) -> str:
    hard = resource.getrlimit(kind)[1]
    allowed = "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard}"
    return f"cannot apply limits.{key} {value} (the host itself has {allowed})"


def who(spec: ChildSpec) -> str:
    """User and group that it asks for, in words."""
    named = [f"user {spec.user!r}"] * bool(spec.user) + [f"group {spec.group!r}"] * bool(spec.group)
    return " with ".join(named)


def _prepare_for(own: Mapping[str, str], uid: int) -> None:
    """What an agent of another user finds, and may not make itself."""
    import hashlib  # noqa: F401, PLC0415 - the bus needs it, and this user may not read ours

    if "SUPERVISOR_TREE_RUN_DIR" in own:
        admit(Path(own["SUPERVISOR_TREE_RUN_DIR"]), uid)


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        raise SetupError("user", f"there is no user {user!r}") from None


def _group_id(group: str) -> int:
    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise SetupError("user", f"there is no group {group!r}") from None
