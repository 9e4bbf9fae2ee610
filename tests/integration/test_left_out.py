"""Included files that a host cannot use: nobody must have to guess that a child is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hosting import RunningHost

SOUND = '{id: kid, command: [sleep, "1000"]}\n'
BROKEN = "{id: kid2, comand: [sleep, '1000']}\n"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[RunningHost]:
    (tmp_path / "host.yaml").write_text(
        "version: 1\n"
        "tree: {children: [{id: a, command: [sleep, '1000']}]}\n"
        "include: [agents/*.yaml]\n"
    )
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "kid.yaml").write_text(SOUND)
    (tmp_path / "agents" / "kid2.yaml").write_text(BROKEN)
    with RunningHost(tmp_path / "host.yaml", tmp_path) as running:
        running.wait_ready("/")
        yield running
        assert running.stop() == 0, running.output


def _rejected(host: RunningHost) -> list[dict[str, Any]]:
    lines = host.tell("--json", "events").stdout.splitlines()
    return [each for each in map(json.loads, lines) if each["event"] == "config_rejected"]


def test_a_file_left_out_at_the_start_is_an_event_and_in_the_hosts_log(host, tmp_path):
    broken = tmp_path / "agents" / "kid2.yaml"
    (event,) = _rejected(host)
    assert event["file"] == str(broken)
    assert event["child"] == "/kid2"
    assert "kid2.yaml:1:12: comand: unknown key" in event["problems"][0]
    log = Path(json.loads(host.tell("--json", "health").stdout)["log_dir"]) / "host.log"
    assert "agents/kid2.yaml:1:12: comand" in log.read_text()


def test_health_status_and_doctor_say_that_a_child_is_missing(host, tmp_path):
    broken = tmp_path / "agents" / "kid2.yaml"
    health = host.tell("health")
    first, *_ = health.stdout.splitlines()
    assert (health.returncode, first) == (
        1,
        f"running (1 file left out: {broken})",
    )
    facts = json.loads(host.tell("--json", "health").stdout)
    assert facts["ready"] is False
    assert [each["path"] for each in facts["left_out"]] == ["/kid2"]
    assert f"left out, and /kid2 is not there: {broken}:1:12" in host.tell("status").stdout
    doctor = host.tell("--json", "doctor")
    found = [each for each in json.loads(doctor.stdout) if each["check"] == "configuration"]
    assert [(each["result"], "agents/kid2.yaml" in each["message"]) for each in found] == [
        ("fail", True)
    ]


def test_verbs_about_a_child_that_was_left_out_name_its_file(host, tmp_path):
    broken = tmp_path / "agents" / "kid2.yaml"
    for verb in ("explain", "status", "show"):
        answer = host.tell(verb, "/kid2")
        assert answer.returncode == 4, verb
        assert f"/kid2 is not there: its file was left out: {broken}:1:12" in answer.stderr
    assert "left out" not in host.tell("explain", "/nobody").stderr
    torn = tmp_path / "agents" / "torn.yaml"
    torn.write_text("{id: torn")
    assert host.tell("apply").returncode == 1
    answer = host.tell("explain", "/torn")
    assert f"or it stands in a file that was left out: {torn}:2:1" in answer.stderr


def test_plan_and_apply_tell_whether_a_child_goes_on_or_is_not_there(host, tmp_path):
    broken = tmp_path / "agents" / "kid2.yaml"
    kid = tmp_path / "agents" / "kid.yaml"
    kid.write_text("{id: kid, comand: [sleep]}\n")
    for verb in ("plan", "apply"):
        answer = host.tell(verb)
        assert answer.returncode == 1
        assert f"left out, and /kid goes on as it was: {kid}:1:11" in answer.stderr
        assert f"left out, and /kid2 is not there: {broken}:1:12" in answer.stderr
    assert host.row("/kid")["ready"]
    assert [each["child"] for each in _rejected(host)] == ["/kid2", "/kid"]
    health = host.tell("health")
    assert f"(1 file left out: {broken})" in health.stdout


def test_a_file_that_is_mended_and_applied_is_not_missing_any_more(host, tmp_path):
    broken = tmp_path / "agents" / "kid2.yaml"
    broken.write_text(BROKEN.replace("comand", "command"))
    assert host.tell("apply").returncode == 0
    host.wait_ready("/kid2")
    assert host.tell("health").stdout == "running\n"
    assert "left out" not in host.tell("status").stdout


def test_a_broken_file_whose_child_goes_on_is_told_of_and_not_called_harmless(host, tmp_path):
    (tmp_path / "agents" / "kid2.yaml").unlink()
    assert host.tell("apply").returncode == 0
    broken = tmp_path / "agents" / "kid.yaml"
    broken.write_text("id: [kid\n")
    assert "means the same" not in host.tell("plan").stdout
    assert host.tell("apply").returncode == 1
    assert "left out, and /kid goes on as it was" in host.tell("health").stdout
    assert host.tell("health").returncode == 0
    findings = json.loads(host.tell("--json", "doctor").stdout)
    (found,) = [each for each in findings if each["check"] == "configuration"]
    assert found["result"] == "warn"
    assert "/kid goes on as it was" in found["message"]
