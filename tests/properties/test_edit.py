"""Whatever a valid file looks like, `enable` and `disable` change one line of it and one value."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor_tree.config.document import READINGS
from supervisor_tree.config.edit import with_enabled
from supervisor_tree.config.hostconfig import ChildPlace
from supervisor_tree.config.source import parse

COMMENTS = st.sampled_from(["", "", "  # why", " # enabled: false", " #"])
BETWEEN = st.lists(st.sampled_from(["", "  ", "# enabled: true", "        # id: x"]), max_size=2)
COMMANDS = st.sampled_from(
    ["[sleep, '1']", '["a: b", c]', "[sh, -c, 'echo # no']", "[\n {}  x,\n {}  y]", "[x] "]
)
OTHERS = st.sampled_from(
    [
        *("description: 'it''s # all: right'", 'description: "a\\"b: {c}"', "restart:   transient"),
        *("description: |\n{}  enabled: false\n{}  - id: x", "env: {A: 'enabled: no', B: \"2\"}"),
        *("description: >-\n{}  id: a\n\n{}  enabled", "env:\n{}  enabled: x\n{}  id: y"),
        *(
            "description: two\n{}  lines",
            '"cwd": /tmp',
            "capabilities:\n{}- a\n{}- b",
            "? cwd\n{}: x",
        ),
    ]
)
VALUES = st.sampled_from(
    ["true", "false", "True", "", "~", "'yes'", "no", "!!str on", "\n{}    off"]
)


@st.composite
def children(draw: st.DrawFn, depth: int, indent: int) -> tuple[str, list[tuple[Any, ...]]]:
    """A block sequence of children, and where each stands: path within it and id."""
    text, places = "", []
    for number in range(draw(st.integers(1, 3))):
        child_id = f"c{number}"
        lead = " " * indent + "-" + " " * draw(st.integers(1, 4))
        inner = len(lead)
        quote = draw(st.sampled_from(["", "'", '"']))
        keys = [f"id: {quote}{child_id}{quote}"]
        if depth and draw(st.booleans()):
            deeper = inner + draw(st.integers(1, 5))
            below, found = draw(children(depth - 1, deeper + draw(st.integers(0, 3))))
            keys.append(f"supervisor:\n{' ' * deeper}children:\n{below}".rstrip("\n"))
            places += [(number, "supervisor", "children", *path) for path in found]
        else:
            keys.append(f"command: {draw(COMMANDS)}")
        if draw(st.booleans()):
            keys.append(f"enabled: {draw(VALUES)}")
        if "supervisor" not in keys[1] and draw(st.booleans()):
            keys.append(draw(OTHERS))
        places.append((number,))
        keys = draw(st.permutations(keys))
        margin = " " * inner
        lines = []
        for key in keys:
            plain = "|" not in key and ">-" not in key and "\n" not in key
            comment = draw(COMMENTS) if plain else ""
            lines.append(key.replace("{}", margin) + comment)
            lines.extend(draw(BETWEEN) if plain else [])
        text += lead + f"\n{margin}".join(lines).replace(f"\n{margin}\n", "\n\n") + "\n"
    return text, places


def one_line_differs(before: bytes, after: bytes) -> bool:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    if len(old) == len(new):
        return sum(a != b for a, b in zip(old, new, strict=True)) == 1
    if len(new) != len(old) + 1:
        return False
    at = next((i for i, line in enumerate(old) if new[i] != line), len(old))
    rest = new[:at] + new[at + 1 :]
    # At the end of a file without a last line end, the line before gets one.
    return rest == old or (at >= len(old) - 1 and b"".join(new[:-1]).rstrip(b"\r\n") == before)


def change(text: bytes, path: tuple[Any, ...], enabled: bool) -> None:
    old = parse(text, "f.yaml", READINGS)
    assert not old.problems, (text.decode(), old.problems)
    target = old.data
    for step in path:
        target = target[step]
    place = ChildPlace("f.yaml", path, not enabled)
    after = with_enabled(text, place, f"/{target['id']}", enabled)
    target["enabled"] = enabled
    assert parse(after, "f.yaml", READINGS).data == old.data
    if after != text:
        assert one_line_differs(text, after), (text.decode(), after.decode())
    assert with_enabled(after, place, f"/{target['id']}", enabled) == after


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), indent=st.integers(0, 4), enabled=st.booleans())
def test_one_line_changes_in_a_file_that_was_written_by_hand(data, indent, enabled):
    body, places = data.draw(children(2, 2 + indent))
    text = f"# first\nversion: 1\ntree:\n  children:  # all\n{body}"
    if data.draw(st.booleans()):
        text = text.rstrip("\n")
    if data.draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    bom = data.draw(st.sampled_from(["", "\ufeff"]))
    change(
        (bom + text).encode(), ("tree", "children", *data.draw(st.sampled_from(places))), enabled
    )


TREES: st.SearchStrategy[Any] = st.recursive(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.sampled_from(["a", "b-2", "c.d"]), "command": st.just(["x", "1: 2"])},
            optional={
                "enabled": st.sampled_from([True, False, None, "yes"]),
                "description": st.text(max_size=30),
                "env": st.dictionaries(st.text(max_size=4), st.text(max_size=30), max_size=2),
            },
        ),
        min_size=1,
        max_size=3,
    ),
    lambda inner: st.lists(
        st.fixed_dictionaries(
            {"supervisor": st.fixed_dictionaries({"children": inner}), "id": st.just("s")}
        ),
        min_size=1,
        max_size=2,
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(
    tree=TREES,
    style=st.sampled_from([None, True, False]),
    indent=st.integers(2, 6),
    width=st.sampled_from([20, 80, 1000]),
    enabled=st.booleans(),
)
def test_one_line_changes_in_a_file_that_a_program_has_written(tree, style, indent, width, enabled):
    text = yaml.dump(
        {"version": 1, "tree": {"children": tree}},
        default_flow_style=style,
        indent=indent,
        width=width,
        allow_unicode=True,
        sort_keys=False,
    ).encode()
    path: tuple[Any, ...] = ("tree", "children", 0)
    change(text, path, enabled)
    if "supervisor" in tree[0]:
        change(text, (*path, "supervisor", "children", 0), enabled)
