"""Where cgroups can be, as far as text says so, and what is written into them."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor_tree.core.specs import Limits
from supervisor_tree.runtime.cgroups import (
    NotAvailable,
    Place,
    files_of,
    leaf_name,
    needs,
    place_in,
    usable,
)

MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
ALL = frozenset({"memory", "pids", "cpu"})


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "directory", "top"),
    [
        ("0::/\n", MOUNT, "/sys/fs/cgroup", True),
        ("0::/system.slice/st.service\n", MOUNT, "/sys/fs/cgroup/system.slice/st.service", False),
        # A hybrid machine: version 2 beside the controllers of version 1.
        (
            "4:memory:/x\n1:cpu:/\n0::/a\n",
            MOUNT.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified "),
            "/sys/fs/cgroup/unified/a",
            False,
        ),
        # A container without a namespace of its own: its part is what is mounted.
        ("0::/docker/x\n", MOUNT.replace(" / /sys", " /docker/x /sys"), "/sys/fs/cgroup", True),
        ("0::/a b\n", MOUNT.replace("cgroup rw", r"c\040g rw"), "/sys/fs/c g/a b", False),
        # The second life of a host, started by itself: not below what the first has made.
        ("0::/s/supervisor-tree-12/main\n", MOUNT, "/sys/fs/cgroup/s", False),
        ("0::/s/main\n", MOUNT, "/sys/fs/cgroup/s/main", False),
    ],
)
def test_the_own_cgroup_is_found(cgroup: str, mountinfo: str, directory: str, top: bool) -> None:
    assert place_in(cgroup, mountinfo) == Place(Path(directory), top)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "why"),
    [
        ("4:memory:/x\n", MOUNT, "this kernel has no cgroup v2"),
        ("0::/\n", "", "cgroup v2 is not mounted"),
        ("0::/a\n", MOUNT.replace(" / /sys", " /b /sys"), "not the part that this process is in"),
    ],
)
def test_where_there_is_none_it_is_said_why(cgroup: str, mountinfo: str, why: str) -> None:
    with pytest.raises(NotAvailable, match=why):
        place_in(cgroup, mountinfo)


def test_what_is_systemds_is_not_taken_without_being_given(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match="Delegate=yes"):
        usable(Place(tmp_path, False), managed=True)


def test_without_a_controller_that_serves_a_limit_it_is_said_which_there_are(
    tmp_path: Path,
) -> None:
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "cgroup.controllers").write_text("hugetlb\n")
    with pytest.raises(NotAvailable, match=r"none of .* pids and cpu \(but hugetlb\)"):
        usable(Place(tmp_path, False), managed=False)
    (tmp_path / "cgroup.controllers").write_text("cpu io pids\n")
    assert usable(Place(tmp_path, False), managed=False) == {"cpu", "pids"}


def test_each_limit_has_its_files() -> None:
    limits = Limits(memory_max=64_000_000, pids_max=9, cpu_max=0.5, nofile=99)
    assert files_of(limits, ALL) == {
        "memory.max": "64000000",
        "memory.oom.group": "1",
        "pids.max": "9",
        "cpu.max": "50000 100000",
    }
    assert files_of(limits, frozenset({"pids"})) == {"pids.max": "9"}
    assert files_of(Limits(cpu_max=0.01), ALL) == {"cpu.max": "1000 100000"}
    assert (files_of(Limits(nofile=5), ALL), needs(Limits(nofile=5))) == ({}, [])


def test_a_leaf_is_named_by_path_and_generation_and_never_too_long() -> None:
    assert leaf_name("/chat/bot", 3) == "chat:bot#3"
    long = leaf_name("/" + "/".join(["x" * 100] * 5), 7)
    assert (len(long) < 250, long.endswith("#7")) == (True, True)
    assert long != leaf_name("/" + "/".join(["x" * 100] * 4 + ["y"]), 7)
