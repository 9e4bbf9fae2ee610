"""Every pair is decided, and the core is pure."""

from __future__ import annotations

import ast
import sys
from itertools import product
from pathlib import Path
from typing import get_args

import supervisor_tree.core
from supervisor_tree.core.answers import ABOUT_A_CHILD, ANSWERS
from supervisor_tree.core.child import ChildState
from supervisor_tree.core.life import CHILD_STIMULI, TRANSITIONS
from supervisor_tree.core.stimuli import StartChildRequested, Stimulus
from supervisor_tree.core.tree import _ROUTES

IMPURE = {
    "asyncio", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "select",
    "selectors", "shutil", "signal", "socket", "subprocess", "threading", "time", "uuid",
    "datetime",
}  # fmt: skip


def test_every_pair_of_state_and_stimulus_is_decided():
    assert set(TRANSITIONS) == set(product(ChildState, CHILD_STIMULI))


def test_every_pair_of_resting_state_and_request_has_an_answer():
    resting = set(ChildState) - {ChildState.STARTING, ChildState.STOPPING, ChildState.KILLING}
    pairs = set(product(resting, ABOUT_A_CHILD))
    # In the other states an effect is in flight, for which all but start_child wait.
    assert set(ANSWERS) == pairs | set(product(ChildState, [StartChildRequested]))


def test_every_stimulus_has_a_way_into_the_tree():
    assert set(_ROUTES) == set(get_args(Stimulus))


def test_the_core_imports_nothing_impure():
    folder = Path(supervisor_tree.core.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, file
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                inside = name.startswith("supervisor_tree.core")
                assert inside or top in sys.stdlib_module_names, (file.name, name)
                assert top not in IMPURE, (file.name, name)
