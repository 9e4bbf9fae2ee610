"""Everything that an operator can get wrong, and what the answer is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor_tree.config import load
from supervisor_tree.errors import ConfigError

Errors = Callable[..., list[str]]
Write = Callable[..., str]


def child(keys: str) -> str:
    return f"version: 1\ntree:\n  children:\n    - {{{keys}}}\n"


def supervisor(keys: str) -> str:
    return f"version: 1\ntree: {{{keys}}}\n"


BOT = '{id: a, agent: "m:C"}'


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            'id: a, agent: "m:C", restart: >polcy',
            "restart: must be permanent, transient or temporary, not 'polcy'",
        ),
        (
            'id: a, agent: "m:C", restart: >permanant',
            "restart: must be permanent, transient or temporary, not 'permanant'; did you "
            "mean 'permanent'?",
        ),
        (
            'id: a, agent: "m:C", >restrat: permanent',
            "restrat: unknown key; did you mean 'restart'?",
        ),
        (
            'id: a, agent: "m:C", >strategy: one_for_all',
            "strategy: unknown key; for a child that is a supervisor it belongs under supervisor",
        ),
        (
            'id: a, agent: "m:C", shutdown: >5 parsecs',
            "shutdown: must be a duration such as 250ms, 5s, 2m, 1h or 30d (or brutal_kill or "
            "infinity), not '5 parsecs'",
        ),
        (
            'id: a, agent: "m:C", significant: >maybe',
            "significant: must be true or false, not 'maybe'",
        ),
        (
            'id: a, agent: "m:C", start_timeout: >0',
            "start_timeout: must be more than 0, or infinity",
        ),
        (
            'id: a, agent: "m:C", readiness: >probe',
            "readiness: must be notify or none, not 'probe'",
        ),
        (
            'id: a, agent: "m:C", ready: {tcp: >example.org:80}',
            "ready.tcp: must be a port, or HOST:PORT with an address or localhost such as "
            "127.0.0.1:8080 or [::1]:8080, not 'example.org:80'",
        ),
        (
            'id: a, agent: "m:C", ready: {log: >"(up"}',
            "ready.log: must be a regular expression: missing ), unterminated subpattern at "
            "position 0",
        ),
        (
            'id: a, agent: "m:C", watchdog: {idle: >0s}',
            "watchdog.idle: must be more than 0",
        ),
        (
            'id: a, agent: "m:C", on_limit: >[park]',
            "on_limit: must be escalate or park, not a list",
        ),
        (
            'id: a, agent: "m:C", backoff: >5s',
            "backoff: must be a mapping, not '5s'",
        ),
        (
            'id: a, agent: "m:C", backoff: {>inital: 5s}',
            "backoff.inital: unknown key; did you mean 'initial'?",
        ),
        (
            'id: a, agent: "m:C", backoff: {factor: >0.5}',
            "backoff.factor: must be a number from 1 to 1000, not 0.5",
        ),
        (
            'id: a, agent: "m:C", backoff: {jitter: >.nan}',
            "backoff.jitter: must be a number from 0 to 1, not nan",
        ),
        (
            'id: a, agent: "m:C", backoff: {initial: >2m}',
            "backoff.initial: must not be more than max, which is 30s",
        ),
        (
            'id: a, agent: "m:C", limits: {nofile: >many}',
            "limits.nofile: must be a whole number of 8 or more, not 'many'",
        ),
        (
            'id: a, agent: "m:C", limits: {nice: >20}',
            "limits.nice: must be a whole number from -20 to 19, not 20",
        ),
        (
            'id: a, agent: "m:C", limits: {as: >0}',
            "limits.as: must be more than 0",
        ),
        (
            'id: a, agent: "m:C", sockets: [{name: w, listen: >"tcp://localhost:80"}]',
            "sockets[0].listen: must be tcp://ADDRESS:PORT such as tcp://127.0.0.1:8080 "
            "(an address, no name), unix:///PATH, or fd:NAME of a socket that the host was given, "
            "not 'tcp://localhost:80'",
        ),
        (
            'id: a, agent: "m:C", sockets: [{name: w, listen: fd:x}, {name: >w, listen: fd:y}]',
            "sockets[1].name: must be unique among the child's sockets, not 'w' again",
        ),
        (
            'id: a, agent: "m:C", sockets: [{name: >a:b, listen: fd:x}]',
            "sockets[0].name: must be letters, digits, '.', '_' and '-', at most 100, not 'a:b'",
        ),
        (
            'id: a, agent: "m:C", sockets: [{name: w, listen: "unix:///x", mode: >999}]',
            "sockets[0].mode: must be an octal number from 000 to 777 such as 022, not '999'",
        ),
        (
            'id: a, agent: "m:C", limits: {memory_max: >lots}',
            "limits.memory_max: must be a size such as 64 KB, 20 MB, 1 GB or 512 MiB, not 'lots'",
        ),
        (
            'id: a, agent: "m:C", limits: {pids_max: >0}',
            "limits.pids_max: must be a whole number of 1 or more, not 0",
        ),
        (
            'id: a, agent: "m:C", limits: {cpu_max: >0}',
            "limits.cpu_max: must be a number from 0.01 to 10000, not 0",
        ),
        (
            'id: a, agent: "m:C", no_new_privs: >maybe',
            "no_new_privs: must be true or false, not 'maybe'",
        ),
        (
            "id: a, supervisor: {}, >no_new_privs: yes",
            "no_new_privs: is for a process, and a supervisor has none; give it to its children, "
            "or in defaults",
        ),
        (
            'id: a, agent: "m:C", logs: {rotation: >big}',
            "logs.rotation: must be a size such as 64 KB, 20 MB, 1 GB or 512 MiB, not 'big'",
        ),
        (
            'id: a, agent: "m:C", build: {command: >make}',
            "build.command: must be a list of words, such as [make, all], not 'make'",
        ),
        (
            'id: a, agent: "m:C", logs: {max_age: >0s}',
            "logs.max_age: must be more than 0, or infinity",
        ),
        (
            'id: a, agent: "m:C", logs: {redact: >["a", "("]}',
            "logs.redact: must be regular expressions; number 2, '(': missing ), unterminated "
            "subpattern at position 0",
        ),
        (
            'id: a, agent: "m:C", env: {A: >}',
            'env.A: must be text; write "" for an empty value',
        ),
        (
            'id: a, agent: "m:C", env: {A: >[1]}',
            "env.A: must be text, not a list",
        ),
        (
            'id: a, agent: "m:C", env: {>NOTIFY_SOCKET: x}',
            "env.NOTIFY_SOCKET: belongs to the host, which sets it for every child; leave it out",
        ),
        (
            'id: a, agent: "m:C", env: {>SUPERVISOR_TREE_PATH: x}',
            "env.SUPERVISOR_TREE_PATH: belongs to the host, which sets it for every child; "
            "leave it out",
        ),
        (
            'id: a, agent: "m:C", env: {>"A=B": x}',
            "env.A=B: must be the name of a variable, without '=', not 'A=B'",
        ),
        (
            'id: a, agent: "m:C", description: >"a\\0b"',
            "description: must not contain a NUL character",
        ),
        (
            'id: a, agent: "m:C", umask: >9',
            "umask: must be an octal number from 000 to 777 such as 022, not '9'",
        ),
        (
            'id: a, agent: "m:C", user: >a b',
            "user: must be a name or a numeric id, not 'a b'",
        ),
        (
            'id: a, agent: "m:C", stop_signal: >SIGTREM',
            "stop_signal: must be the name of a signal such as SIGTERM, not 'SIGTREM'",
        ),
        (
            'id: a, agent: "m:C", stop_signal: >KILL',
            "stop_signal: must be a signal that a child can act on, not SIGKILL; to kill "
            "at once, write shutdown: brutal_kill",
        ),
        (
            'id: a, agent: "m:C", warm: >-1',
            "warm: must be a whole number from 0 to 1000, not -1",
        ),
        (
            'id: a, agent: "m:C", args: >[1]',
            "args: must be a mapping, not a list",
        ),
        (
            'id: a, agent: "m:C", acl: {may_call: >/a}',
            "acl.may_call: must be a list, not '/a'",
        ),
        (
            'id: a, agent: "m:C", acl: {may_call: [/a, >b]}',
            "acl.may_call[1]: must be a pattern of paths such as /chat/bot, /chat/*, /chat/> or >: "
            "'b' is no path pattern: it must begin with / or name:/, or be >",
        ),
        (
            'id: a, agent: "m:C", acl: {may_publish: [>a..b]}',
            "acl.may_publish[0]: must be a pattern of topics such as news.sport, news.*, news.> "
            "or >: 'a..b' is no topic pattern: it has an empty word",
        ),
        (
            'id: a, agent: "m:C", acl: {>may_cal: []}',
            "acl.may_cal: unknown key; did you mean 'may_call'?",
        ),
        (
            'id: a, agent: "m:C", mailbox: {limit: >0}',
            "mailbox.limit: must be a whole number of 1 or more, not 0",
        ),
        (
            'id: a, agent: "m:C", mailbox: {on_full: >drop}',
            "mailbox.on_full: must be reject or drop_oldest, not 'drop'",
        ),
        (
            'id: a, agent: "m:C", intercepts: [>b]',
            "intercepts[0]: must be a pattern of paths such as /chat/bot, /chat/*, /chat/> or >: "
            "'b' is no path pattern: it must begin with / or name:/, or be >",
        ),
        (
            'id: a, agent: "m:C", type: robot, >intercepts: [/b]',
            "intercepts: is for an agent that takes messages, and a robot takes none",
        ),
        (
            'id: a, agent: "m:C", intercepts: [/b], mailbox: {on_full: >drop_oldest}',
            "mailbox.on_full: must be reject: what an interceptor holds is not its own",
        ),
        (
            "id: a, command: [x], >acl: {}",
            "acl: is for an agent; a program is not on the bus",
        ),
        (
            'id: a, agent: "m:C", needs: >db',
            "needs: must be a list, not 'db'",
        ),
        (
            'id: a, agent: "m:C", needs: [>{condition: ready}]',
            "needs[0].child: is missing",
        ),
        (
            "id: a, agent: \"m:C\", cwd: >''",
            'cwd: must be a path, not ""',
        ),
        (
            'id: a, agent: "m:C", type: >worker',
            "type: must be agent or robot, not 'worker'",
        ),
        (
            'id: >_, agent: "m:C"',
            "id: must not be _, which is the name of the host's own processes",
        ),
        (
            'id: >a/b, agent: "m:C"',
            "id: must begin with a letter or a digit and go on with letters, digits, '.', "
            "'_' or '-', not 'a/b'",
        ),
        (
            "id: a, agent: >m.n.C",
            "agent: must be module:name such as examples.greeter:Greeter, not 'm.n.C'; did "
            "you mean 'm.n:C'?",
        ),
        (
            "id: a, command: >[]",
            "command: must not be empty",
        ),
        (
            "id: a, command: >ls -l",
            "command: must be a list of words, such as [python3, -m, http.server, "
            "\"8000\"], not 'ls -l'",
        ),
        (
            'id: a, agent: "m:C", >command: [x]',
            "command: cannot stand beside agent: a child has one of agent, command or supervisor",
        ),
        (
            "id: a, command: [x], >args: {}",
            "args: is for an agent; the arguments of a program belong in command",
        ),
        (
            "id: a, supervisor: {}, >env: {}",
            "env: is for a process, and a supervisor has none; give it to its children, or "
            "in defaults",
        ),
        (
            'id: a, agent: "m:C", significant: >true',
            "significant: must be false for a permanent child; or write restart: transient "
            "or temporary",
        ),
        (
            'id: a, agent: "m:C", restart: transient, significant: >true',
            "significant: must be false while auto_shutdown of its supervisor is never; or "
            "write auto_shutdown: any_significant or all_significant there",
        ),
    ],
)
def test_a_mistake_in_a_child_is_named(errors: Errors, keys: str, message: str) -> None:
    """`>` marks the place that the error must name."""
    column = child(keys).splitlines()[-1].index(">") + 1
    assert errors(child(keys.replace(">", "", 1))) == [
        f"main.yaml:4:{column}: tree.children[0].{message}"
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "strategy: one_for_alll",
            "2:18: tree.strategy: must be one_for_one, one_for_all, rest_for_one or "
            "simple_one_for_one, not 'one_for_alll'; did you mean 'one_for_all'?",
        ),
        (
            "intensity: 012",
            "2:19: tree.intensity: must be a whole number from 0 to 1000000, not '012'",
        ),
        (
            "intensity: true",
            "2:19: tree.intensity: must be a whole number from 0 to 1000000, not true",
        ),
        ("period: 0s", "2:16: tree.period: must be more than 0"),
        (
            "period: infinity",
            "2:16: tree.period: must be a duration such as 250ms, 5s, 2m, 1h or 30d, not infinity",
        ),
        ("children: {}", "2:18: tree.children: must be a list, not a mapping"),
        ("children: [5]", "2:19: tree.children[0]: must be a mapping, not 5"),
        (
            "strategy: rest_for_one, start: concurrent",
            "2:39: tree.start: must be sequential under rest_for_one, where the order has "
            "a meaning",
        ),
        (
            "strategy: simple_one_for_one",
            "2:7: tree.child: is missing: simple_one_for_one needs the template of its children",
        ),
        (
            "strategy: simple_one_for_one, child: {command: [x], pid_file: x.pid}",
            "2:70: tree.child.pid_file: has no place in a template, whose children would share it",
        ),
        (
            f"strategy: simple_one_for_one, child: {BOT}, children: [{BOT}]",
            "2:78: tree.children: has no place under simple_one_for_one; "
            "give the template in child",
        ),
        (
            f"child: {BOT}",
            "2:15: tree.child: is for simple_one_for_one; under one_for_one write children",
        ),
        ("child: 5", "2:15: tree.child: must be a mapping, not 5"),
    ],
)
def test_a_mistake_in_a_supervisor_is_named(errors: Errors, keys: str, message: str) -> None:
    assert f"main.yaml:{message}" in errors(supervisor(keys))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "1:1: must be a mapping, not a list"),
        ("--- 5", "1:5: must be a mapping, not 5"),
        ("---\n", "must be a mapping, not nothing"),
        ("tree: {}", "1:1: version: is missing"),
        ("version: 2\ntree: {}", "1:10: version: must be 1, not 2"),
        ("version: 1", "1:1: tree: must be a mapping, not nothing"),
        ("version: 1\ntree: {}\nhosts: {}", "3:1: hosts: unknown key; did you mean 'host'?"),
        ("version: 1\ntree: {}\nhost: 5", "3:7: host: must be a mapping, not 5"),
        (
            "version: 1\ntree: {}\nhost: {http: {listen: 8420}}",
            "3:23: host.http.listen: must be HOST:PORT such as 127.0.0.1:8420, not 8420",
        ),
        (
            "version: 1\nhost: {source: {url: 'http://x/t', interval: 10ms}}",
            "2:46: host.source.interval: must be from 1s to 24h, not '10ms'",
        ),
        (
            "version: 1\nhost: {source: {url: 'http://me:secret@x/t'}}",
            "2:22: host.source.url: must not hold a name or password, which logs would show",
        ),
        (
            "version: 1\nhost: {source: {url: 'ftp://x/t'}}",
            "2:22: host.source.url: must be http://... or https://..., not 'ftp://x/t'",
        ),
        (
            "version: 1\nhost: {source: {url: 'http://x/t'}}\ntree: {}",
            "3:1: tree: cannot stand beside host.source: the whole tree comes from there",
        ),
        (
            "version: 1\ntree: {}\nhost: {preload: [a-b]}",
            "3:18: host.preload[0]: must be the name of a module such as examples.greeter, "
            "not 'a-b'",
        ),
        (
            "version: 1\ntree: {}\ndefaults: {significant: true}",
            "3:12: defaults.significant: unknown key",
        ),
        (
            "version: 1\nhost: {policy: [{may_call: []}]}\ntree: {}",
            "2:17: host.policy[0].agents: is missing",
        ),
        (
            "version: 1\nhost:\n  policy:\n    - {agents: guests, may_call: []}\ntree: {}",
            "4:16: host.policy[0].agents: must be a pattern of paths such as",
        ),
        ("version: 1\ntree: {}\ninclude: a.yaml", "3:10: include: must be a list, not 'a.yaml'"),
    ],
)
def test_a_mistake_at_the_top_is_named(errors: Errors, text: str, message: str) -> None:
    assert any(message in line for line in errors(text)), errors(text)


def test_a_child_without_an_id_or_without_a_start_is_named(errors: Errors) -> None:
    assert errors(child("command: [x]")) == ["main.yaml:4:7: tree.children[0].id: is missing"]
    assert errors(child("id: a")) == [
        "main.yaml:4:7: tree.children[0]: must have one of agent, command or supervisor"
    ]


def test_all_problems_come_at_once_in_the_order_of_the_file(errors: Errors) -> None:
    lines = errors(
        """
version: 1
version: 1
host: {nam: x}
defaults: {restart: always}
tree:
  strateggy: one_for_one
  children:
    - {id: a, agent: broken}
    - {id: a, command: [x], needs: [nobody]}
    - id: g
      supervisor:
        children: [{id: b, restart: 5, command: x}]
"""
    )
    assert [line.split(": ")[0] for line in lines] == [
        *("main.yaml:3:1", "main.yaml:4:8", "main.yaml:5:21", "main.yaml:7:3", "main.yaml:9:22"),
        *("main.yaml:10:12", "main.yaml:10:37", "main.yaml:13:37", "main.yaml:13:49"),
    ]


def test_an_id_given_twice_is_named_with_its_first_line(errors: Errors) -> None:
    text = f"version: 1\ntree:\n  children:\n    - {BOT}\n    - {BOT}\n"
    assert errors(text) == [
        "main.yaml:5:12: tree.children[1].id: must be unique among its siblings, "
        "but 'a' was already given in line 4"
    ]


def test_the_same_id_under_two_supervisors_is_no_mistake(write: Write) -> None:
    group = f"supervisor: {{children: [{BOT}]}}"
    load(write(supervisor(f"children: [{{id: x, {group}}}, {{id: y, {group}}}]")))


# --- needs -----------------------------------------------------------------------------


def needing(**needs: str) -> str:
    children = "".join(
        f"    - {{id: {name}, command: [x], needs: [{need}]}}\n" for name, need in needs.items()
    )
    return f"version: 1\ntree:\n  children:\n{children}"


def test_a_need_of_nobody_is_named_with_the_nearest_name(errors: Errors) -> None:
    assert errors(needing(database="", bot="databse")) == [
        "main.yaml:5:39: tree.children[1].needs[0]: must name a sibling or a child's path; "
        "there is no /databse; did you mean 'database'?"
    ]


def test_needs_in_a_circle_are_named_as_such(errors: Errors) -> None:
    (line,) = errors(needing(a="b", b="/c", c="a"))
    assert "can never be met: /a waits for /b, which waits for /c, which waits for /a" in line


@pytest.mark.timeout(10)
@pytest.mark.parametrize("flag", ["strategy: bad", "period: 5 seconds", "intensity: -3"])
def test_a_circle_under_a_supervisor_with_a_bad_flag_is_named_once(
    flag: str, errors: Errors
) -> None:
    bad, circle = errors(needing(a="b", b="a").replace("tree:\n", f"tree:\n  {flag}\n"))
    assert flag.partition(":")[0] in bad
    assert "needs: can never be met" in circle


@pytest.mark.timeout(10)
def test_a_circle_that_the_order_closes_again_is_named_to_its_end(errors: Errors) -> None:
    text = needing(a="b", b="a").replace("tree:\n", "tree:\n  strategy: rest_for_one\n")
    assert all("needs: can never be met" in line for line in errors(text))


def test_no_order_is_held_against_children_of_a_supervisor_with_a_bad_flag(errors: Errors) -> None:
    (line,) = errors(needing(a="b", b="").replace("tree:\n", "tree:\n  intensity: -3\n"))
    assert "intensity" in line


def test_every_circle_is_named(errors: Errors) -> None:
    assert len(errors(needing(a="b", b="a", c="c"))) == 2


def test_a_child_cannot_need_the_supervisor_that_waits_for_it(errors: Errors) -> None:
    inner = "children: [{id: a, command: [x], needs: [/g]}]"
    (line,) = errors(
        supervisor(f"children: [{{id: g, supervisor: {{start: sequential, {inner}}}}}]")
    )
    assert "needs: can never be met: /g/a waits for /g, which waits for /g/a" in line


def test_a_concurrent_supervisor_does_not_wait_for_a_child_that_needs_something(
    write: Write,
) -> None:
    load(
        write(
            supervisor(
                "children: [{id: g, supervisor: {children: [{id: a, command: [x], needs: [/g]}]}}]"
            )
        )
    )


def test_a_sequential_child_cannot_need_one_that_is_started_later(errors: Errors) -> None:
    text = needing(a="/b", b="").replace("tree:\n", "tree:\n  start: sequential\n")
    (line,) = errors(text)
    assert (
        "needs: can never be met: /a waits for /b, which waits for /a "
        "(/b stands after it under a sequential supervisor)" in line
    )


def test_a_sequential_child_may_need_an_earlier_one(write: Write) -> None:
    load(write(needing(a="", b="a").replace("tree:\n", "tree:\n  strategy: rest_for_one\n")))


def test_a_child_may_need_one_that_a_dynamic_supervisor_will_have(write: Write) -> None:
    load(
        write(
            supervisor(
                f"children: [{{id: w, supervisor: {{strategy: simple_one_for_one, child: {BOT}}}}},"
                " {id: a, command: [x], needs: [/w/one]}]"
            )
        )
    )


def test_a_template_cannot_need_nobody(errors: Errors) -> None:
    template = "{command: [x], needs: [/nobody]}"
    (line,) = errors(supervisor(f"strategy: simple_one_for_one, child: {template}"))
    assert "tree.child.needs[0]: must name a sibling or a child's path" in line


# --- included files --------------------------------------------------------------------

INCLUDING = f"version: 1\ninclude: [i/*.yaml]\ntree: {{children: [{BOT}]}}\n"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("{id: b, command: ls}", "i/b.yaml:1:18: command: must be a list of words"),
        ("{id: b", "i/b.yaml:2:1: cannot read as YAML"),
        ("", "i/b.yaml:1:1: is empty"),
        ("[]", "i/b.yaml:1:1: must be a mapping, not a list"),
        ("{command: [x]}", "i/b.yaml:1:1: id: is missing"),
        ("{id: b, id: b, command: [x]}", "i/b.yaml:1:9: id: duplicate key"),
        (
            "{id: a, command: [x]}",
            "i/b.yaml:1:6: id: must be unique, but /a is also in main.yaml",
        ),
        (
            "{id: b, command: [x], under: /nowhere}",
            "i/b.yaml:1:30: under: must be the path of a supervisor; there is no /nowhere",
        ),
        ("{id: b, command: [x], under: chat}", "i/b.yaml:1:30: under: must be the path of a"),
        ("{id: b, command: [x], needs: [nobody]}", "i/b.yaml:1:31: needs[0]: must name a"),
        ("{id: b, command: [x], needs: [b]}", "needs: can never be met: /b waits for /b"),
        (
            "{id: b, command: [x], restart: transient, significant: true}",
            "i/b.yaml:1:56: significant: must be false while auto_shutdown",
        ),
    ],
)
def test_a_broken_included_file_is_left_out_and_named_but_refused_when_strict(
    write: Write, errors: Errors, broken: str, message: str
) -> None:
    config = load(write(INCLUDING, i__b=broken, i__good="{id: good, command: [x]}"))
    assert [each.id for each in config.tree.children] == ["a", "good"]
    assert len(config.problems) == 1
    assert message in str(config.problems[0])
    assert len(config.sources) == 3
    assert message in errors(INCLUDING, strict=True, i__b=broken)[0]


def test_an_included_file_that_has_vanished_is_left_out(write: Write) -> None:
    config = load(write(INCLUDING.replace("i/*.yaml", "gone.yaml")))
    assert [str(problem) for problem in config.problems] == [
        "gone.yaml: cannot read: No such file or directory"
    ]


def test_who_needs_a_child_of_a_broken_file_stays_and_waits(write: Write) -> None:
    text = INCLUDING.replace('agent: "m:C"', 'agent: "m:C", needs: [b]')
    for broken in ("{id: b, command: ls}", "{id: b"):
        config = load(write(text, i__b=broken))
        assert [each.id for each in config.tree.children] == ["a"]


def test_of_two_included_files_with_one_id_the_first_is_taken(write: Write) -> None:
    config = load(write(INCLUDING, i__x="{id: b, command: [x]}", i__y="{id: b, command: [y]}"))
    assert [each.command for each in config.tree.children[1:]] == [("x",)]
    assert "i/y.yaml:1:6: id: must be unique, but /b is also in i/x.yaml" in str(config.problems[0])


def test_what_is_included_below_a_file_that_is_left_out_goes_with_it(write: Write) -> None:
    config = load(
        write(
            INCLUDING,
            i__group="{id: g, supervisor: {}, needs: [nobody]}",
            i__below="{id: b, command: [x], under: /g}",
        )
    )
    assert [each.id for each in config.tree.children] == ["a"]
    assert "under: its supervisor /g was left out" in "\n".join(map(str, config.problems))


def test_nothing_can_be_included_under_a_dynamic_supervisor(write: Write) -> None:
    text = (
        f"version: 1\ninclude: [i/*.yaml]\ntree: {{strategy: simple_one_for_one, child: {BOT}}}\n"
    )
    config = load(write(text, i__b="{id: b, command: [x]}"))
    assert "under: / is simple_one_for_one and has only its template" in str(config.problems[0])


def test_a_broken_main_file_is_refused_whole_with_the_problems_of_the_others(
    errors: Errors,
) -> None:
    lines = errors(INCLUDING.replace("m:C", "m"), i__b="{id: b, command: ls}")
    assert [line.split(":")[0] for line in lines] == ["main.yaml", "i/b.yaml"]


# --- what is no file --------------------------------------------------------------------------


def refused(file: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file)
    return str(caught.value)


def test_what_is_no_file_is_named_for_what_it_is(tmp_path: Path) -> None:
    assert refused(str(tmp_path)).endswith("a file was expected, and this is a directory")
    assert refused("/dev/zero").endswith("a file was expected, and this is a device")
    assert refused("") == '"": cannot read: No such file or directory'


def test_a_pipe_that_nobody_writes_to_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor_tree.config.source.MAX_SILENCE_S", 0.01)
    os.mkfifo(tmp_path / "pipe")
    message = "cannot read: nothing came out of this pipe for 0.01 s"
    assert refused(str(tmp_path / "pipe")).endswith(message)
    (tmp_path / "main.yaml").write_text("version: 1\ninclude: [pipe]\n")
    assert [problem.message for problem in load(tmp_path / "main.yaml").problems] == [message]


def test_a_configuration_is_read_from_a_pipe_to_its_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, child(BOT.strip("{}")).encode())
    os.close(writing)
    try:
        (only,) = load(f"/dev/fd/{reading}").tree.children
    finally:
        os.close(reading)
    assert only.id == "a"


def test_a_tab_is_named_where_it_indents(errors: Errors) -> None:
    (line,) = errors("version: 1\ntree:\n\tchildren: []\n")
    assert line.startswith("main.yaml:3:1: ")
    assert "indent with spaces" in line


def test_a_file_cannot_include_itself(errors: Errors) -> None:
    assert errors("version: 1\ninclude: [main.yaml]\n") == [
        "main.yaml:2:11: include[0]: must not name the file that it stands in"
    ]


def test_a_pattern_that_matches_the_main_file_means_the_others(write: Write) -> None:
    config = load(write('version: 1\ninclude: ["*.yaml"]\n', bot=BOT), strict=True)
    assert [child.id for child in config.tree.children] == ["a"]
