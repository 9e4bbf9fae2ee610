"""What a good file becomes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor_tree.config import from_data, load, schema
from supervisor_tree.core.listening import ListenSocket
from supervisor_tree.core.policy import PolicyRule
from supervisor_tree.core.problems import DEEPEST
from supervisor_tree.core.specs import (
    Acl,
    Backoff,
    Build,
    Condition,
    Kind,
    Limits,
    Logs,
    Mailbox,
    Need,
    OnFull,
    OnLimit,
    Readiness,
    Ready,
    Restart,
    StartMode,
    Strategy,
    SupervisorSpec,
    Watchdog,
)
from supervisor_tree.errors import ConfigError

Write = Callable[..., str]

ROOT = Path(__file__).parents[3]


def test_what_has_no_effect_is_warned_of_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text("version: 1\nhost:\n  http: {listen: 127.0.0.1:8420}\ntree: {}\n")
    message = "host.http.listen: has no effect: this version has no HTTP interface"
    assert [str(each) for each in load(file, strict=True).warnings] == [f"{file}:3:18: {message}"]


def test_the_smallest_file_has_the_defaults_of_the_core(write: Write) -> None:
    config = load(write("version: 1\ntree: {}\n"))
    assert config.tree == SupervisorSpec(start=StartMode.CONCURRENT)
    assert config.host.name == "main"
    assert config.host.file == os.path.abspath("main.yaml")
    assert config.sources == (os.path.abspath("main.yaml"),)
    assert config.problems == ()


def test_all_keys_of_a_child_reach_its_specification(write: Write) -> None:
    config = load(
        write("""
version: 1
tree:
  auto_shutdown: any_significant
  children:
    - {id: other, command: [sleep, 5]}
    - id: bot
      agent: "m.n:C.d"
      type: robot
      args: {a: 1, b: [x, 2.5]}
      enabled: no
      restart: transient
      shutdown: brutal_kill
      significant: true
      readiness: notify
      start_timeout: infinity
      ready: {tcp: 127.0.0.1:8080, log: "^open", delay: 2s}
      watchdog: {idle: 10s, busy: 30m}
      backoff: {initial: 1s, factor: 3, max: 2m, jitter: 0.5, reset_after: 1h}
      on_limit: park
      needs: [other, {child: /other, condition: completed}]
      env: {A: 1.10, B: no, C: ""}
      env_file: bot.env
      cwd: sub
      user: 1000
      group: staff
      umask: 027
      no_new_privs: true
      limits:
        {nofile: 100, as: 1 GB, core: 0, nproc: 7, nice: -5, oom_score_adj: 3,
         memory_max: 64 MB, pids_max: 9, cpu_max: 0.5}
      logs: {rotation: 1 MB, retention: 2}
      capabilities: [greeting, 5]
      description: says things
      stop_signal: int
      warm: 2
      acl: {may_call: [/a, ">"], may_cast: [], may_publish: [5.>]}
      mailbox: {limit: 7, on_full: drop_oldest}
      sockets: [{name: 8, listen: "tcp://127.0.0.1:80", backlog: 5, mode: 0660}]
""")
    )
    bot = config.tree.children[1]
    here = os.getcwd()
    assert (bot.agent, bot.kind, bot.args) == ("m.n:C.d", Kind.ROBOT, {"a": 1, "b": ["x", 2.5]})
    assert (bot.enabled, bot.restart, bot.shutdown) == (False, Restart.TRANSIENT, "brutal_kill")
    assert (bot.significant, bot.readiness, bot.start_timeout) == (True, Readiness.NOTIFY, None)
    assert bot.backoff == Backoff(initial=1, factor=3, max=120, jitter=0.5, reset_after=3600)
    assert bot.ready == Ready(tcp="127.0.0.1:8080", log="^open", delay=2.0)
    assert bot.watchdog == Watchdog(idle=10.0, busy=1800.0)
    assert bot.on_limit is OnLimit.PARK
    assert bot.needs == (Need(child="other"), Need(child="/other", condition=Condition.COMPLETED))
    assert bot.env == {"A": "1.10", "B": "no", "C": ""}
    assert (bot.env_file, bot.cwd) == (f"{here}/bot.env", f"{here}/sub")
    assert (bot.user, bot.group, bot.umask) == ("1000", "staff", 0o27)
    assert bot.no_new_privs
    assert bot.limits == Limits(
        nofile=100, address_space=10**9, core=0, nproc=7, nice=-5, oom_score_adj=3,
        memory_max=64 * 10**6, pids_max=9, cpu_max=0.5,
    )  # fmt: skip
    assert bot.logs == Logs(rotation=10**6, retention=2)
    assert (bot.capabilities, bot.description) == (("greeting", "5"), "says things")
    assert (bot.stop_signal, bot.warm) == ("SIGINT", 2)
    assert bot.acl == Acl(may_call=("/a", ">"), may_cast=(), may_publish=("5.>",))
    assert bot.mailbox == Mailbox(limit=7, on_full=OnFull.DROP_OLDEST)
    http = ListenSocket(name="8", listen="tcp://127.0.0.1:80", backlog=5, mode=0o660)
    assert bot.sockets == (http,)
    assert config.tree.children[0].command == ("sleep", "5")


def test_all_keys_of_the_host_reach_it(write: Write) -> None:
    host = load(
        write("""
version: 1
host:
  name: h
  run_dir: r
  state_dir: /s
  log_dir: ~/l
  preload: [a.b, c]
  http: {listen: "[::1]:8420"}
  logs: {rotation: 5 MB, retention: 3, total_bytes: 1 GB}
  env_file: .env
  policy: [{agents: /guests/>, may_call: [/lobby]}, {agents: ">", may_publish: [a.*]}]
tree: {}
""")
    ).host
    here = os.getcwd()
    assert (host.name, host.run_dir, host.state_dir) == ("h", f"{here}/r", "/s")
    assert host.log_dir == os.path.expanduser("~/l")
    assert (host.preload, host.http, host.env_file) == (("a.b", "c"), "[::1]:8420", f"{here}/.env")
    assert host.policy == (
        PolicyRule(agents="/guests/>", acl=Acl(may_call=("/lobby",))),
        PolicyRule(agents=">", acl=Acl(may_publish=("a.*",))),
    )
    assert host.logs == Logs(rotation=5_000_000, retention=3, total_bytes=10**9)


def test_an_agent_may_intercept_what_is_for_others(write: Write) -> None:
    text = 'version: 1\ntree: {children: [{id: a, agent: "m:C", intercepts: [/b, /c/>]}]}\n'
    assert load(write(text)).tree.children[0].intercepts == ("/b", "/c/>")


def test_what_is_null_asks_for_nothing(write: Write) -> None:
    tree = load(
        write("""
version: 1
defaults: {watchdog: {idle: 5s}}
tree:
  children:
    - {id: a, command: [a], ready: {tcp: null, log: null, delay: 0s}, watchdog: {busy: 1m}}
    - {id: b, command: [b], ready: {tcp: 8080}, watchdog: null}
    - {id: c, command: [c], ready: {tcp: "8080"}, watchdog: {idle: null}}
    - {id: group, supervisor: {}}
""")
    ).tree
    a, b, c, group = tree.children
    assert (a.ready, a.watchdog) == (Ready(), Watchdog(idle=5.0, busy=60.0))
    assert (b.ready, b.watchdog) == (Ready(tcp=8080), None)
    assert (c.ready, c.watchdog) == (Ready(tcp=8080), Watchdog())
    assert (group.ready, group.watchdog) == (Ready(), None)


def test_flags_of_a_supervisor_reach_it(write: Write) -> None:
    tree = load(
        write(
            "version: 1\ntree: {strategy: rest_for_one, intensity: 0, period: 500ms,"
            " auto_shutdown: all_significant}\n"
        )
    ).tree
    assert (tree.strategy, tree.intensity, tree.period) == (Strategy.REST_FOR_ONE, 0, 0.5)
    assert tree.auto_shutdown == "all_significant"


def test_a_file_starts_children_at_once_only_where_order_has_no_meaning(write: Write) -> None:
    tree = load(
        write("""
version: 1
tree:
  children:
    - {id: a, supervisor: {strategy: rest_for_one}}
    - {id: b, supervisor: {strategy: one_for_all}}
    - {id: c, supervisor: {strategy: simple_one_for_one, child: {agent: "m:C"}}}
    - {id: d, supervisor: {start: sequential}}
""")
    ).tree
    starts = [child.supervisor.start for child in tree.children if child.supervisor]
    assert [tree.start, *starts] == [
        "concurrent",
        "sequential",
        "sequential",
        "concurrent",
        "sequential",
    ]


def test_defaults_are_what_a_child_does_not_say(write: Write) -> None:
    tree = load(
        write("""
version: 1
defaults:
  restart: transient
  shutdown: 9s
  warm: 1
  env: {A: common, B: common}
  backoff: {initial: 1s, max: 10s}
  limits: {nofile: 100}
tree:
  children:
    - {id: plain, agent: "m:C"}
    - {id: own, agent: "m:C", restart: temporary, env: {B: own}, backoff: {max: 20s}}
    - {id: without, agent: "m:C", restart: null, backoff: null, limits: null}
    - {id: program, command: [true]}
    - {id: group, supervisor: {}}
""")
    ).tree
    plain, own, without, program, group = tree.children
    assert (plain.restart, plain.shutdown, plain.warm) == (Restart.TRANSIENT, 9.0, 1)
    assert plain.backoff == Backoff(initial=1, max=10)
    assert plain.limits == own.limits == Limits(nofile=100)
    assert own.restart is Restart.TEMPORARY
    assert own.env == {"A": "common", "B": "own"}
    assert own.backoff == Backoff(initial=1, max=20)
    assert (without.restart, without.backoff, without.limits) == (
        Restart.PERMANENT,
        None,
        Limits(),
    )
    assert (program.command, program.warm, program.shutdown) == (("true",), 0, 9.0)
    assert (group.restart, group.shutdown, group.env) == (Restart.TRANSIENT, None, {})


def test_logs_of_a_child_begin_with_those_of_the_host(write: Write) -> None:
    tree = load(
        write(
            "version: 1\nhost: {logs: {rotation: 5 MB, retention: 3}}\n"
            'tree: {children: [{id: a, agent: "m:C", logs: {retention: 9}}]}\n'
        )
    ).tree
    assert tree.children[0].logs == Logs(rotation=5_000_000, retention=9)


def test_what_is_kept_out_of_logs_is_a_list_or_one_pattern(write: Write) -> None:
    config = load(
        write(
            "version: 1\nhost: {logs: {redact: default, max_age: 7d}}\n"
            'tree: {children: [{id: a, agent: "m:C", logs: {redact: ["x=.", "7"]}},\n'
            '{id: b, agent: "m:C", logs: {max_age: infinity}}]}\n'
        )
    )
    week = 7 * 86400.0
    assert config.host.logs == Logs(redact=("default",), max_age=week)
    assert config.tree.children[0].logs == Logs(redact=("x=.", "7"), max_age=week)
    assert config.tree.children[1].logs == Logs(redact=("default",), max_age=None)


def test_a_build_command_runs_where_the_file_is_and_has_a_limit(write: Write) -> None:
    file = write(
        'version: 1\ntree: {children: [{id: a, agent: "m:C", build: {command: [make, 7]}},\n'
        '{id: b, agent: "m:C", build: {command: [make], cwd: sub, timeout: infinity}}]}\n'
    )
    a, b = load(file).tree.children
    assert a.build == Build(command=("make", "7"), timeout=600.0)
    assert b.build is not None
    assert (b.build.timeout, b.build.cwd) == (None, os.path.abspath("sub"))


def test_an_included_file_brings_one_child_to_its_supervisor(write: Write) -> None:
    config = load(
        write(
            "version: 1\ndefaults: {shutdown: 1s}\ninclude: [agents/*.yaml]\n"
            "tree: {children: [{id: chat, supervisor: {}}]}\n",
            agents__b='{id: b, agent: "m:C", under: /chat, env_file: b.env}',
            agents__a='{id: a, agent: "m:C", under: /chat}',
            agents__c="{id: c, command: [x]}",
            agents__deep='{id: deep, agent: "m:C", under: /more/inner}',
            agents__more="{id: more, supervisor: {children: [{id: inner, supervisor: {}}]}}",
        )
    )
    chat, c, more = config.tree.children
    assert chat.supervisor is not None
    assert [child.id for child in chat.supervisor.children] == ["a", "b"]
    assert chat.supervisor.children[1].env_file == os.path.abspath("agents/b.env")
    assert (c.id, c.shutdown) == ("c", 1.0)
    assert more.supervisor is not None
    inner = more.supervisor.children[0].supervisor
    assert inner is not None
    assert [child.id for child in inner.children] == ["deep"]
    assert [os.path.basename(file) for file in config.sources] == [
        *("main.yaml", "a.yaml", "b.yaml", "c.yaml", "deep.yaml", "more.yaml")
    ]


def test_a_file_may_consist_of_includes_alone(write: Write) -> None:
    config = load(write("version: 1\ninclude: [a.yaml, '*.yml']\n", a="{id: a, command: [x]}"))
    assert [child.id for child in config.tree.children] == ["a"]
    assert config.tree.start is StartMode.CONCURRENT


@pytest.mark.parametrize("sample", ["demo", "services", "workers", "production"])
def test_every_sample_is_sound(sample: str) -> None:
    config = load(ROOT / "conf" / f"{sample}.yaml", strict=True)
    assert config.host.name == sample
    assert config.tree.children


def test_the_robot_of_the_demo_cannot_reach_the_limit_by_itself() -> None:
    tree = load(ROOT / "conf" / "demo.yaml").tree
    robot = next(child for child in tree.children if child.id == "robot")
    assert robot.backoff is not None
    shortest_life = robot.args["step_s"] + robot.backoff.initial
    assert tree.period / shortest_life + 1 < tree.intensity / 2
    assert robot.on_limit is OnLimit.PARK


class Thing:
    """An agent of an embedding program."""


def test_an_embedding_program_gives_the_same_words_as_a_dict() -> None:
    config = from_data(
        {
            "tree": {
                "strategy": Strategy.ONE_FOR_ONE,
                "children": [
                    {"id": "thing", "agent": Thing, "shutdown": 0.5, "env": {"PORT": 80}},
                    {"id": "closure", "agent": lambda ctx: None, "type": "robot"},
                    {"id": "program", "command": ("sleep", 5), "umask": 0o22},
                ],
            }
        }
    )
    thing, closure, program = config.tree.children
    assert (thing.agent, thing.shutdown, thing.env) == (Thing, 0.5, {"PORT": "80"})
    assert callable(closure.agent)
    assert (program.command, program.umask) == (("sleep", "5"), 0o22)
    assert config.tree.start is StartMode.SEQUENTIAL  # as OTP: it is a library
    assert config.host.file is None
    assert config.sources == ()


def test_problems_of_a_dict_name_the_key_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        from_data({"tree": {"children": [{"id": "a", "agent": "m", "polcy": 1}]}})
    assert str(caught.value).splitlines()[0] == (
        "tree.children[0].agent: must be module:name such as examples.greeter:Greeter, not 'm'"
    )


def test_data_that_contains_itself_is_refused() -> None:
    tree: dict[str, object] = {}
    tree["children"] = [{"id": "again", "supervisor": tree}]
    with pytest.raises(ConfigError, match="supervisors are nested deeper than 50"):
        from_data({"tree": tree})


def test_as_many_supervisors_may_be_nested_as_the_message_says(tmp_path: Path) -> None:
    file = tmp_path / "deep.yaml"
    for depth in (DEEPEST, DEEPEST + 1):
        tree = "{children: [{id: leaf, command: [a]}]}"
        for _ in range(depth):
            tree = f"{{children: [{{id: s, supervisor: {tree}}}]}}"
        file.write_text(f"version: 1\ntree: {tree}\n")
        if depth == DEEPEST:
            load(str(file))
    with pytest.raises(ConfigError, match=f"supervisors are nested deeper than {DEEPEST}"):
        load(str(file))


@pytest.mark.parametrize("data", [None, [], "text", 5])
def test_data_that_is_no_mapping_is_refused(data: object) -> None:
    with pytest.raises(ConfigError, match="must be a mapping, not "):
        from_data(data)


def test_the_schema_names_every_key_and_the_included_files() -> None:
    described = schema()
    assert set(described["properties"]) == {"version", "host", "defaults", "tree", "include"}
    tree = described["$defs"]["SupervisorDocument"]["properties"]
    child = tree["children"]["anyOf"][0]["items"]["properties"]
    assert child["restart"]["anyOf"][0] == {"$ref": "#/$defs/Restart"}
    assert child["supervisor"]["anyOf"][0] == {"$ref": "#/$defs/SupervisorDocument"}
    assert "as" in described["$defs"]["LimitsDocument"]["properties"]
    assert "under" in described["$defs"]["IncludedDocument"]["properties"]
    assert described["additionalProperties"] is False


def test_three_hundred_children_are_read_in_a_moment(write: Write) -> None:
    """Measured: 40 ms.  The limit is generous, it catches what grows with the square."""
    children = "\n".join(
        f'    - {{id: c{n}, agent: "m.n:C", args: {{a: {n}}}, env: {{A: b}}, needs: [c{n + 1}]}}'
        for n in range(300)
    )
    file = write(f"version: 1\ntree:\n  children:\n{children}\n    - {{id: c300, command: [x]}}\n")
    begun = time.process_time()
    config = load(file)
    assert time.process_time() - begun < 1.0
    assert len(config.tree.children) == 301
