from __future__ import annotations

import functools
import sys
from pathlib import Path
from types import ModuleType

import pytest

from supervisor_tree.agents.agent import Agent
from supervisor_tree.agents.payload import TargetError, dump_target, load_target

EVERYWHERE = """
from supervisor_tree.agents.agent import Agent

GREETING = "hello"

def greet(name):
    return f"{GREETING} {name}"

class Greeter(Agent):
    def init(self, ctx):
        return greet(ctx)

    class Inner(Agent):
        pass

number = 3
greeter = Greeter()
"""


def module_from(path: Path, name: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    exec(compile(EVERYWHERE, str(path), "exec"), module.__dict__)
    return module


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"found_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(EVERYWHERE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, name, ModuleType("placeholder"))  # taken back at the end
    del sys.modules[name]
    return name


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that exists in this process alone, as those of a test or a notebook do."""
    name = "in_this_process_alone"
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return module_from(tmp_path / "gone.py", name)


def test_a_name_is_a_name_already() -> None:
    assert dump_target("examples.greeter:Greeter") == "examples.greeter:Greeter"


def test_what_any_process_can_import_travels_by_name(importable: str) -> None:
    target = load_target(f"{importable}:Greeter")
    assert dump_target(target) == f"{importable}:Greeter"
    assert dump_target(target.Inner) == f"{importable}:Greeter.Inner"
    assert load_target(f"{importable}:Greeter.Inner") is target.Inner


def test_a_lambda_travels_by_value() -> None:
    greeting = "hello"
    payload = dump_target(lambda name: f"{greeting} {name}")
    assert isinstance(payload, bytes)
    assert load_target(payload)("you") == "hello you"


def test_a_class_made_in_a_function_travels_by_value() -> None:
    class Local(Agent):
        def init(self, ctx: object) -> object:
            super().init(ctx)  # type: ignore[arg-type]
            return ctx

    payload = dump_target(Local)
    assert isinstance(payload, bytes)
    loaded = load_target(payload)
    assert issubclass(loaded, Agent)
    assert loaded().init("x") == "x"


def test_what_no_other_process_can_import_travels_by_value(nowhere: ModuleType) -> None:
    payloads = [
        dump_target(nowhere.greet),
        dump_target(nowhere.Greeter),
        dump_target(functools.partial(nowhere.greet, "you")),
        dump_target(nowhere.greeter),
    ]
    assert sys.modules[nowhere.__name__] is nowhere
    del sys.modules[nowhere.__name__]
    greet, greeter, partial, instance = (load_target(payload) for payload in payloads)
    assert greet("you") == greeter().init("you") == partial() == instance.init("you") == "hello you"


def test_a_name_that_means_something_else_now_is_not_used(importable: str) -> None:
    old = load_target(f"{importable}:greet")
    sys.modules[importable].greet = print  # type: ignore[attr-defined]
    assert isinstance(dump_target(old), bytes)


def test_the_interpreters_own_functions_travel_by_name() -> None:
    assert dump_target(print) == "builtins:print"
    assert dump_target(functools.reduce) == "_functools:reduce"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("greeter", "an agent is named as 'module:name'"),
        (":Greeter", "an agent is named as 'module:name'"),
        ("greeter:", "an agent is named as 'module:name'"),
        ("no_such_module:x", "cannot import 'no_such_module'.*ModuleNotFoundError"),
        ("json:no_such_name", "cannot find 'no_such_name' in module 'json'"),
        ("json:decoder", "neither an Agent nor callable"),
        (b"no pickle", "cannot load the code that the program sent"),
    ],
)
def test_a_bad_reference_is_explained(reference: str | bytes, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        load_target(reference)


def test_a_module_that_fails_at_import_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_at_import.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TargetError, match=r"'fails_at_import'.*ZeroDivisionError") as caught:
        load_target("fails_at_import:x")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_cannot_run_is_refused_at_once() -> None:
    with pytest.raises(TargetError, match="cannot run 3"):
        dump_target(3)


def test_what_dill_cannot_write_is_refused_by_name(tmp_path: Path) -> None:
    def unsendable() -> object:
        return frame

    frame = sys._getframe()
    with pytest.raises(TargetError, match=r"cannot send .*unsendable"):
        dump_target(unsendable)


def test_an_object_stands_for_itself() -> None:
    assert load_target(print) is print
