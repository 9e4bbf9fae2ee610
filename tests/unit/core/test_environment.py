"""Where a child's variables come from."""

from __future__ import annotations

from supervisor_tree.core.environment import layered


def test_the_later_layer_wins_and_the_earlier_ones_are_named():
    host = {"PATH": "/bin", "LANG": "C"}
    found = layered([("host", host), (".env", {"LANG": "de"}), ("env", {"LANG": "fr", "A": "b"})])
    assert [(each.key, each.value, each.origin, each.instead_of) for each in found] == [
        ("A", "b", "env", ()),
        ("LANG", "fr", "env", ("host", ".env")),
        ("PATH", "/bin", "host", ()),
    ]
