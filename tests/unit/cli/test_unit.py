"""The systemd unit that is made for a tree, and what is said about one that somebody else made."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from supervisor_tree.cli import unitfile
from supervisor_tree.cli.unitcheck import check_unit, read_unit, time_span, unit_of
from supervisor_tree.cli.unitfile import unit_text
from supervisor_tree.config.hostconfig import Config, HostConfig
from supervisor_tree.core.specs import ChildSpec, SupervisorSpec
from supervisor_tree.errors import ConfigError


def config(*children: ChildSpec, **host) -> Config:
    return Config(host=HostConfig(name="shop", **host), tree=SupervisorSpec(children=children))


def child(id: str, **keys) -> ChildSpec:
    return ChildSpec(id=id, command=("true",), **keys)


def text_of(config: Config, file: str = "/etc/shop.yaml", *, user: bool = False) -> str:
    command, directory = ["/opt/bin/supervisor-tree"], Path("/srv")
    return unit_text(config, Path(file), command=command, directory=directory, user=user)


def keys_of(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "shop.service"
    file.write_text(text)
    return read_unit(file)


def test_the_times_are_those_of_the_tree(tmp_path):
    keys = keys_of(tmp_path, text_of(config(child("a", shutdown=20.0), child("b", shutdown=4.5))))
    assert keys["TimeoutStopSec"] == "40"
    assert "SUPERVISOR_TREE_STOP_LIMIT=30s" in keys["Environment"]
    keys = keys_of(tmp_path, text_of(config(child("a", shutdown="infinity"))))
    assert keys["TimeoutStopSec"] == "infinity"
    assert "Environment" not in keys


def test_there_is_room_for_the_descriptors_of_all_children(tmp_path):
    few = keys_of(tmp_path, text_of(config(child("a"))))
    many = keys_of(tmp_path, text_of(config(*(child(f"c{n}") for n in range(1000)))))
    assert few["LimitNOFILE"] == "4096"
    assert int(many["LimitNOFILE"]) >= 8000


@pytest.mark.parametrize("user", [True, False])
@pytest.mark.parametrize("version", [252, 253, None])
def test_a_unit_that_was_made_passes_its_own_examination(tmp_path, monkeypatch, user, version):
    monkeypatch.setattr(unitfile, "systemd_version", lambda: version)
    made = config(child("a"), child("b", shutdown=100.0))
    keys = keys_of(tmp_path, text_of(made, user=user))
    assert keys["Type"] == ("notify" if version == 252 else "notify-reload")
    assert ("ExecReload" in keys) is (version == 252)
    (finding,) = check_unit("shop.service", keys, budget_s=105.0, descriptors=72)
    assert finding.result == "ok"


def test_directories_that_the_file_names_are_not_given_others(tmp_path):
    keys = keys_of(tmp_path, text_of(config(run_dir="/run/x", state_dir="/var/x", log_dir="/l")))
    assert not {"RuntimeDirectory", "StateDirectory", "LogsDirectory"} & set(keys)
    keys = keys_of(tmp_path, text_of(config()))
    assert keys["RuntimeDirectory"] == keys["StateDirectory"] == keys["LogsDirectory"] == "shop"


def test_what_systemd_would_take_for_something_else_is_escaped(tmp_path):
    keys = keys_of(tmp_path, text_of(config(), "/etc/100% $HOME/a b.yaml"))
    assert keys["ExecStart"].endswith(' run --quiet "/etc/100%% $$HOME/a b.yaml"')


def test_a_path_with_a_line_end_is_refused():
    with pytest.raises(ConfigError, match="cannot stand in a unit file"):
        text_of(config(), "/etc/a\nExecStart=evil.yaml")


GOOD = {
    "Type": "notify",
    "KillMode": "mixed",
    "Restart": "on-failure",
    "RestartPreventExitStatus": "2 78",
    "TimeoutStopSec": "2min",
    "LimitNOFILE": "1024:65536",
}


def found(keys, budget_s=100.0, descriptors=100) -> list[str]:
    findings = check_unit("x.service", keys, budget_s=budget_s, descriptors=descriptors)
    return [finding.message for finding in findings if finding.result != "ok"]


def test_a_good_unit_is_left_in_peace():
    assert found(GOOD) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"Type": "simple"}, "Type=simple"),
        ({"KillMode": "control-group"}, "SIGTERM at once"),
        ({"KillMode": "process"}, "nothing ends what the root could not"),
        ({"KillMode": "odd"}, "cannot stop in order"),
        ({"Restart": "no"}, "stays dead"),
        ({"RestartPreventExitStatus": "1"}, "tried again and again"),
        ({"TimeoutStopSec": "1min 30s"}, "TimeoutStopSec is 90 s, and the tree may take up to 100"),
        ({"TimeoutStopSec": "soon"}, "is no time"),
        ({"LimitNOFILE": "64"}, "the children need 100"),
        ({"Environment": "SUPERVISOR_TREE_STOP_LIMIT=200s"}, "STOP_LIMIT is 200 s"),
    ],
)
def test_each_thing_that_is_off_is_named(change, word):
    (message,) = found(GOOD | change)
    assert word in message


def test_a_tree_that_may_take_for_ever_fits_no_limit():
    (message,) = found(GOOD, budget_s=inf)
    assert "without limit" in message
    assert found(GOOD | {"TimeoutStopSec": "infinity"}, budget_s=inf) == []
    assert found({k: v for k, v in GOOD.items() if k != "TimeoutStopSec"}, budget_s=None) == []


def test_a_unit_is_read_with_its_drop_ins_in_their_order(tmp_path):
    file = tmp_path / "x.service"
    file.write_text(
        "[Unit]\nType=nonsense\n[Service]\n# KillMode=none\nType=simple\n"
        "Environment=A=1 \\\n  B=2\n"
    )
    (tmp_path / "x.service.d").mkdir()
    (tmp_path / "x.service.d" / "20.conf").write_text("[Service]\nType=notify\nEnvironment=C=3\n")
    (tmp_path / "x.service.d" / "10.conf").write_text("[Service]\nType=exec\nEnvironment=\n")
    assert read_unit(file) == {"Type": "notify", "Environment": "C=3"}


@pytest.mark.parametrize(
    ("cgroup", "name"),
    [
        ("0::/system.slice/shop.service\n", "shop.service"),
        ("0::/system.slice/shop@1.service/child\n", "shop@1.service"),
        ("0::/user.slice/user-1.slice/user@1.service/app.slice/shop.service\n", "shop.service"),
        ("0::/user.slice/user-1.slice/user@1.service/session.scope\n", None),
        ("12:cpu:/\n0::/\n", None),
        ("", None),
    ],
)
def test_the_unit_of_a_process_is_the_name_of_its_control_group(cgroup, name):
    assert unit_of(cgroup) == name


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1min 30s", 90), ("2h", 7200), ("500ms", 0.5), ("infinity", inf), ("x", None)],
)
def test_times_are_read_as_systemd_writes_them(text, seconds):
    assert time_span(text) == seconds


def test_no_file_means_the_name_and_the_directories_of_the_host():
    named = replace(config(), host=HostConfig())
    assert "Description=supervisor_tree host supervisor-tree" in text_of(named)
