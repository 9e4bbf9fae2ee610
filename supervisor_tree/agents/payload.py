"""How a target, an Agent class or a callable, travels from a program to a child process.

A name is best: the child imports it, and a restart after an upgrade gets the new code.
What has no name that a fresh interpreter could import (a lambda, a closure, anything of
`__main__`) travels by value, as dill writes it.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from supervisor_tree.errors import SupervisorTreeError

__all__ = ["TargetError", "dump_target", "load_target"]


class TargetError(SupervisorTreeError):
    """What an agent is to run cannot be had: the text says what and why."""


def dump_target(target: Any) -> str | bytes:
    """Put an Agent class, an Agent or a callable into a form that another process can load.

    Returns "module:qualname" for what a fresh interpreter with the same `sys.path` can
    import, else a dill payload.  A string is taken as such a name already.  Raises
    TargetError for what can be neither.
    """
    if isinstance(target, str):
        return target
    if not callable(target) and not _is_agent(target):
        raise TargetError(f"cannot run {target!r}: it is neither an Agent nor callable")
    name = _importable_name(target)
    if name is not None:
        return name
    import dill  # noqa: PLC0415 - 40 ms that named targets need not pay

    try:
        with _hidden(target):
            return bytes(dill.dumps(target, byref=False, recurse=True))
    except Exception as error:
        raise TargetError(f"cannot send {target!r} to another process: {error}") from error


def load_target(reference: str | bytes | Any) -> Any:
    """The opposite of `dump_target`; an object that is neither name nor payload is itself.

    Imports the module if need be.  Raises TargetError, with the import's own exception as
    its cause; SystemExit and the like pass.
    """
    if isinstance(reference, str):
        return _load_name(reference)
    if isinstance(reference, bytes | bytearray | memoryview):
        return _load_payload(bytes(reference))
    return reference


def _load_name(reference: str) -> Any:
    module_name, colon, qualname = reference.partition(":")
    if not (module_name and colon and qualname):
        raise TargetError(f"cannot read {reference!r}: an agent is named as 'module:name'")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise TargetError(f"cannot import {module_name!r} of {reference!r}: {why}") from error
    for word in qualname.split("."):
        try:
            found = getattr(found, word)
        except AttributeError as error:
            raise TargetError(
                f"cannot find {qualname!r} in module {module_name!r}: {error}"
            ) from error
    if not callable(found) and not _is_agent(found):
        raise TargetError(f"cannot run {reference!r}: it is neither an Agent nor callable")
    return found


def _load_payload(payload: bytes) -> Any:
    import dill  # noqa: PLC0415 - 40 ms that named targets need not pay

    try:
        return dill.loads(payload)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise TargetError(f"cannot load the code that the program sent: {why}") from error


def _is_agent(target: Any) -> bool:
    from supervisor_tree.agents.agent import Agent  # noqa: PLC0415

    return isinstance(target, Agent)


def _importable_name(target: Any) -> str | None:
    """The name "module:qualname" if an import by that name gives `target` itself, else None."""
    module_name = getattr(target, "__module__", None)
    qualname = getattr(target, "__qualname__", None)
    if not module_name or not qualname or module_name == "__main__" or "<" in qualname:
        return None
    found: Any = sys.modules.get(module_name)
    for word in qualname.split("."):
        found = getattr(found, word, None)
    if found is not target or not _is_findable(module_name):
        return None
    return f"{module_name}:{qualname}"


def _is_findable(module_name: str) -> bool:
    """Whether a fresh interpreter would find the very file that this module came from."""
    module = sys.modules.get(module_name)
    parent, _, _ = module_name.rpartition(".")
    if module is None or (parent and not _is_findable(parent)):
        return False
    path = sys.modules[parent].__path__ if parent else None
    # Not importlib.util.find_spec: that asks a loaded module for its own word.
    for finder in sys.meta_path:
        spec = finder.find_spec(module_name, path, None)
        if spec is not None:
            return spec.origin == getattr(module.__spec__, "origin", None)
    return False


@contextlib.contextmanager
def _hidden(target: Any) -> Iterator[None]:
    """Hide modules of `target` that no other process can import: dill then sends by value.

    It looks where the target itself comes from, through functools.partial and bound
    methods, but not at what else such a module's code may use.
    """
    hidden: dict[str, ModuleType] = {}
    for part in (target, getattr(target, "func", None), getattr(target, "__self__", None)):
        name = str(getattr(part, "__module__", None))
        if name in sys.modules and name != "__main__" and not _is_findable(name):
            hidden[name] = sys.modules[name]
    try:
        for name in hidden:
            del sys.modules[name]
        yield
    finally:
        sys.modules.update(hidden)
