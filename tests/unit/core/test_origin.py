"""Where a configuration has come from, as it travels to the host."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor_tree.core.origin import (
    Origin,
    SourceFile,
    left_out_data,
    origin_from_data,
    origin_to_data,
)

ORIGIN = Origin(
    file="/etc/site.yaml",
    sources=(SourceFile("/etc/site.yaml", 7, 9, "abc"),),
    patterns=("/etc/agents/*.yaml",),
    included={"/etc/agents/a.yaml": "/a"},
    host={"name": "site", "preload": ["x"]},
    contents={"/a": {"code": "123"}},
)


def test_an_origin_travels_as_plain_data():
    assert origin_from_data(origin_to_data(ORIGIN)) == ORIGIN
    assert origin_from_data({}) == Origin()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"unknown": 1},
        {"file": 3},
        {"sources": [{"path": "/x"}]},
        {"sources": [{"path": "/x", "mtime_ns": "now", "size": 1, "digest": ""}]},
        {"sources": 3},
        {"patterns": [3]},
        {"included": {"/x": 3}},
        {"contents": {"/a": ["code"]}},
        {"contents": {"/a": {"code": 3}}},
        {"contents": []},
        {"host": []},
    ],
)
def test_anything_else_is_refused(data: Any):
    with pytest.raises(ValueError, match="origin"):
        origin_from_data(data)


def test_a_file_that_was_left_out_tells_whether_its_child_goes_on():
    torn = {"file": "torn.yaml", "path": None, "problems": ["1:1: torn"]}
    new = {"file": "new.yaml", "path": "/new", "problems": ["1:1: torn"]}
    assert left_out_data([torn, new], {"torn.yaml": "/old"}) == [
        {**torn, "path": "/old", "goes_on": True},
        {**new, "goes_on": False},
    ]
