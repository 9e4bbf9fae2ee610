"""The rules of the house that no tool checks, read from the source text alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "supervisor_tree"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))
TESTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))

MODULE_LINES = 450
FUNCTION_LINES = 50

# Where a limit is exceeded on purpose: what, its own limit, and why.
LONGER_MODULES: dict[str, tuple[int, str]] = {}
LONGER_FUNCTIONS: dict[str, tuple[int, str]] = {}

# What the core may import of the standard library: nothing here reads a clock or the world.
PURE = {
    *("__future__", "abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum"),
    *("functools", "heapq", "itertools", "math", "operator", "re", "types", "typing", "warnings"),
}

# Making and reaping processes: the calls, and the places where they are at home.  An embedding
# program starts its root by exec, and that is all that is done outside the spawner.
PROCESS_CALLS = re.compile(r"^os\.(fork|forkpty|posix_spawnp?|wait\d?|waitpid|waitid|system)$")
PROCESS_MAKERS = ("supervisor_tree/spawner/", "supervisor_tree/embed.py")


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(), module)


def line_count(module: str) -> int:
    return len((ROOT / module).read_text().splitlines())


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def bound_names(statements: list[ast.stmt]) -> Iterator[str]:
    """Names that a module's own statements define, imports left out."""
    for node in statements:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If(body=body, orelse=orelse):
                yield from bound_names(body + orelse)


def imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def declared(tree: ast.Module) -> list[str] | None:
    """What `__all__` says, or None if it is not a plain list."""
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.List() as value)
            ):
                return list(ast.literal_eval(value))
    return None


@pytest.mark.parametrize("module", MODULES)
def test_a_module_declares_exactly_what_is_public(module):
    tree = tree_of(module)
    names = declared(tree)
    bound = set(bound_names(tree.body))
    # Constants (and type variables, which are one letter) may be a module's own without a mark.
    public = {name for name in bound if not name.startswith("_") and not name.isupper()}
    if module.endswith("__init__.py") and names is None and not tree.body[1:]:
        return  # a folder's face that shows nothing but its docstring
    assert names is not None, f"{module} has no __all__"
    hidden = sorted(public - set(names))
    assert not hidden, f"{module}: not in __all__; list it, or put an underscore before it"
    faces = module.endswith("__init__.py")
    known = bound | (set(imported_names(tree)) if faces else set())
    promised = [] if "__getattr__" in bound else sorted(set(names) - known)
    assert not promised, f"{module}: in __all__, but not defined"
    assert len(names) == len(set(names))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_takes_from_others_only_what_they_declare(module):
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("supervisor_tree."):
            source = f"{(node.module or '').replace('.', '/')}.py"
            if source in MODULES:
                shown = declared(tree_of(source)) or []
                taken = sorted({alias.name for alias in node.names} - set(shown))
                assert not taken, f"{module} takes what is not in __all__ of {source}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_begins_with_a_docstring(module):
    assert ast.get_docstring(tree_of(module))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_in_one_sitting(module):
    limit, _why = LONGER_MODULES.get(module, (MODULE_LINES, ""))
    lines = line_count(module)
    assert lines <= limit, module


@pytest.mark.parametrize("module", MODULES)
def test_a_function_fits_on_a_screen(module):
    for function in functions(tree_of(module)):
        name = f"{module}:{function.name}"
        limit, _why = LONGER_FUNCTIONS.get(name, (FUNCTION_LINES, ""))
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= limit, f"{name} has {lines} lines"


def test_the_exceptions_to_the_limits_are_still_needed():
    for module, (_limit, why) in LONGER_MODULES.items():
        assert why
        assert line_count(module) > MODULE_LINES, module
    for name, (_limit, why) in LONGER_FUNCTIONS.items():
        module, function_name = name.split(":")
        assert why
        assert any(
            (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES
            for function in functions(tree_of(module))
            if function.name == function_name
        ), name


CORE = [module for module in MODULES if module.startswith("supervisor_tree/core/")]


@pytest.mark.parametrize("module", CORE)
def test_the_core_knows_nothing_of_the_world(module):
    tree = tree_of(module)
    for name in imports(tree):
        top, _, rest = name.partition(".")
        inside = top == "supervisor_tree" and rest.partition(".")[0] in ("core", "errors")
        assert inside or top in PURE, f"{module} imports {name}"
    called = {node.func.id for node in calls(tree) if isinstance(node.func, ast.Name)}
    assert not called & {"open", "print", "input", "exec", "eval", "id", "hash"}


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize("module", MODULES)
def test_only_the_spawner_makes_processes_and_waits_for_them(module):
    for call in calls(tree_of(module)):
        name = ast.unparse(call.func)
        if PROCESS_CALLS.match(name) or name.startswith("subprocess."):
            assert module.startswith(PROCESS_MAKERS), f"{module}:{call.lineno} calls {name}"


@pytest.mark.parametrize("module", MODULES)
def test_nobody_reaps_whatever_comes(module):
    """waitpid(-1) would take the exit of a process that somebody else waits for by identity."""
    for call in calls(tree_of(module)):
        name = ast.unparse(call.func)
        assert name not in ("os.wait", "os.wait3"), f"{module}:{call.lineno}"
        if name in ("os.waitpid", "os.wait4"):
            assert ast.unparse(call.args[0]) != "-1", f"{module}:{call.lineno}"


@pytest.mark.parametrize("module", TESTS)
def test_no_test_sleeps(module):
    """What a test defines for a child to run may sleep; the test itself waits for an event."""
    for function in functions(tree_of(module)):
        if function.name.startswith("test"):
            for call in calls_of(function):
                asleep = ast.unparse(call.func) in ("time.sleep", "sleep", "asyncio.sleep")
                assert not asleep, f"{module}:{call.lineno}: wait for an event, with a deadline"


def calls_of(function: ast.AST) -> Iterator[ast.Call]:
    """The calls of a function's own body, without those of functions inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Call):
            yield node
        yield from calls_of(node)


@pytest.mark.parametrize("module", TESTS)
def test_the_name_of_a_test_is_a_sentence(module):
    for function in functions(tree_of(module)):
        if function.name.startswith("test"):
            words = function.name.split("_")[1:]
            assert len(words) > 2, f"{module}: {function.name} says too little"


# Places and marks that must not reach a reader.  Put together here, or this file would hold them.
FORBIDDEN = {
    "a path of one machine": re.compile("|".join((r"(?<![\w.])/" + "work/", r"\.\./" + "shared"))),
    "a path of one Python": re.compile(r"\.py" + "env/"),
    "a package registry": re.compile("|".join(("pypi" + r"\.org", "python" + "hosted"))),
    "unfinished work": re.compile("|".join(("TO" + "DO", "FIX" + "ME", r"\bXX" + r"X\b"))),
}
TEXT = {".py", ".md", ".yaml", ".yml", ".cfg", ".toml", ".txt", ".erl", ".escript", ".sh", ".json"}
FOLDERS = ("supervisor_tree", "tests", "conf", "examples", "docs", "benchmarks", "newsfragments")


def texts() -> Iterator[Path]:
    yield from (ROOT / name for name in ("Makefile", ".ci/run"))
    yield from (path for path in ROOT.iterdir() if path.suffix in TEXT)
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in TEXT and "node_modules" not in path.parts:
                yield path


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds_what_must_not_reach_a_reader(what):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert not found
