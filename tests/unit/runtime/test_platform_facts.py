"""What a process can tell of what it runs under."""

from __future__ import annotations

from dataclasses import replace

import pytest

from supervisor_tree.runtime import platform_facts
from supervisor_tree.runtime.inherited import Inherited
from supervisor_tree.runtime.platform_facts import PlatformFacts, container_of

PID = 4711


@pytest.fixture(autouse=True)
def no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may themselves run in a container."""
    monkeypatch.setattr(platform_facts, "_TRACES", {})


def manager(environ: dict[str, str], *, watched: bool = False) -> str | None:
    given = replace(Inherited(), watched=watched)
    return PlatformFacts.gather(environ, given, PID).service_manager


def test_who_is_started_by_systemd_knows_it_by_socket_or_pid():
    assert manager({}, watched=True) == "systemd"
    assert manager({"SYSTEMD_EXEC_PID": str(PID)}) == "systemd"


def test_what_a_service_has_started_is_no_service():
    assert manager({"SYSTEMD_EXEC_PID": "1", "INVOCATION_ID": "a" * 32}) is None
    assert manager({}) is None


def test_a_container_is_named_by_its_engine_or_shown_by_its_traces(
    monkeypatch: pytest.MonkeyPatch,
):
    assert container_of({}, PID) is None
    assert container_of({}, 1) == "a PID namespace"
    assert container_of({"container": "lxc"}, 1) == "lxc"
    assert container_of({"container": "oci", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, PID) == (
        "kubernetes"
    )
    monkeypatch.setattr(platform_facts, "_TRACES", {__file__: "podman"})
    assert container_of({}, PID) == "podman"
