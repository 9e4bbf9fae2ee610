"""The tree of several files: included children in their places, and the needs of all.

A child that cannot be used is left out together with its file; children that need it stay,
and wait for it, as they would if it were stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

from supervisor_tree.config.build import Builder, Place, check_beside, child_path
from supervisor_tree.config.document import READINGS, IncludedDocument
from supervisor_tree.config.hostconfig import ChildPlace
from supervisor_tree.config.messages import closest
from supervisor_tree.config.source import Path, Source, read
from supervisor_tree.core.needs import find_cycle, needed_path
from supervisor_tree.core.origin import LeftOut
from supervisor_tree.core.specs import ChildSpec, Strategy, SupervisorSpec
from supervisor_tree.errors import ConfigError, ConfigProblem

__all__ = ["Assembly"]

_MOST_TOLD = 20  # problems of one file, to those who read no file


@dataclass(frozen=True, slots=True)
class _Included:
    """A readable included file: the child, its supervisor's path, and all built below it."""

    file: str
    source: Source
    builder: Builder
    under: str
    child: ChildSpec

    @property
    def address(self) -> str:
        return child_path(self.under, self.child.id)


@dataclass(slots=True)
class Assembly:
    """The tree as it grows.  Problems of the main file go to its source, all others to `problems`.

    `left_out`: the included files that cannot be used, in the order in which that was found.
    """

    main: Source
    builder: Builder
    tree: SupervisorSpec
    problems: list[ConfigProblem] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    _included: dict[str, _Included] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _nameless: bool = False

    def include(self, files: Iterable[str]) -> None:
        """Add the child of each file, or leave it out and say why."""
        children = [found for file in files if (found := self._read(file))]
        # A supervisor may come from an included file, so the shallow ones go first.
        for child in sorted(children, key=lambda child: len(_steps(child.under))):
            self._attach(child)

    @property
    def included(self) -> dict[str, str]:
        """The path of the child that each file has brought."""
        return {each.file: each.address for each in self._included.values()}

    def check_needs(self) -> None:
        """Needs must name a child, and children must not wait for each other."""
        for included in list(self._included.values()):
            included.source.problems.extend(self._unknown_needs(included.builder))
        for included in list(self._included.values()):
            if included.source.problems:
                self._leave_out(included)
        # A child that is not known may be the one that an unreadable file would have brought.
        into = self.problems if self._nameless else self.main.problems
        into.extend(self._unknown_needs(self.builder))
        self._check_cycles()

    def places(self) -> dict[str, ChildPlace]:
        """Where each child of the tree was read, by its path."""
        return {
            path: ChildPlace(place.source.file, place.path, place.spec.enabled)
            for builder in self._builders()
            for path, place in builder.places.items()
        }

    def _read(self, file: str) -> _Included | None:
        name = _as_shown(file, self.main.file)
        builder = replace(self.builder, directory=os.path.dirname(file), places={}, named=set())
        try:
            source = read(file, READINGS)
        except ConfigError as error:
            self._refuse(file, "", [each._replace(file=name) for each in error.problems])
            self._nameless = True
            return None
        source.file = name
        source.problems = [problem._replace(file=name) for problem in source.problems]
        data = source.data if isinstance(source.data, dict) else {}
        under = data.get("under")
        under = under if isinstance(under, str) else "/"
        child = builder.child(source.data, source, (), under, model=IncludedDocument)
        if child is None or source.problems:
            self._nameless |= "id" not in data
            child_id = data.get("id")
            named = isinstance(child_id, str) and child_id != ""
            address = child_path(under, str(child_id)) if named else ""
            self._drop(file, address, source, builder)
            return None
        return _Included(file, source, builder, under, child)

    def _attach(self, included: _Included) -> None:
        source, supervisor = included.source, _supervisor_at(self.tree, included.under)
        if supervisor is None:
            hint = closest(included.under, ["/", *_supervisor_paths(self.tree, "/")])
            message = f"must be the path of a supervisor; there is no {included.under}{hint}"
            source.problems.append(source.problem(("under",), message))
        elif supervisor.strategy is Strategy.SIMPLE_ONE_FOR_ONE:
            message = f"{included.under} is simple_one_for_one and has only its template"
            source.problems.append(source.problem(("under",), message))
        elif included.address in self.builder.named or included.address in self._included:
            message = f"must be unique, but {included.address} is also in {self._file_of(included)}"
            source.problems.append(source.problem(("id",), message))
        else:
            check_beside(included.child, supervisor, source, ())
        if source.problems:
            self._drop(included.file, included.address, source, included.builder)
            return
        added = included.child
        self.tree = _updated(
            self.tree,
            _steps(included.under),
            lambda spec: replace(spec, children=(*spec.children, added)),
        )
        self._included[included.address] = included

    def _file_of(self, included: _Included) -> str:
        if other := self._included.get(included.address):
            return other.source.file
        return self.main.file or "the tree"

    def _drop(self, file: str, address: str, source: Source, builder: Builder) -> None:
        self._refuse(file, address, source.problems)
        self._lost |= builder.named

    def _refuse(self, file: str, address: str, problems: list[ConfigProblem]) -> None:
        self.problems.extend(problems)
        told = tuple(str(problem) for problem in problems[:_MOST_TOLD])
        self.left_out.append(LeftOut(file, address, told))

    def _leave_out(self, included: _Included) -> None:
        """Take an included child out of the tree again, with all that was included below it."""
        if self._included.pop(included.address, None) is None:
            return
        self._drop(included.file, included.address, included.source, included.builder)
        name = included.child.id
        self.tree = _updated(
            self.tree,
            _steps(included.under),
            lambda spec: replace(
                spec, children=tuple(child for child in spec.children if child.id != name)
            ),
        )
        for below in list(self._included.values()):
            if f"{below.under}/".startswith(f"{included.address}/"):
                message = f"its supervisor {included.address} was left out"
                below.source.problems.append(below.source.problem(("under",), message))
                self._leave_out(below)

    def _unknown_needs(self, builder: Builder) -> Iterator[ConfigProblem]:
        known = set(self._lost | self.builder.named)
        for included in self._included.values():
            known |= included.builder.named
        dynamic = tuple(f"{path}/" for path in _dynamic_paths(self.tree, "/"))
        for place in builder.places.values():
            for index, need in enumerate(place.spec.needs):
                target = needed_path(place.parent, need)
                if target not in known and not target.startswith(dynamic):
                    message = f"must name a sibling or a child's path; there is no {target}"
                    hint = closest(need.child, _names(known, place.parent))
                    where: Path = (*place.path, "needs", index)
                    yield place.source.problem(where, message + hint)

    def _check_cycles(self) -> None:
        """Each turn takes the needs of one more child away: no more turns than children."""
        freed: dict[str, Place] = {}
        while (cycle := find_cycle(_freed(self.tree, freed.values()))) is not None:
            waiting = [path for path in cycle[1:] if path not in freed]
            places = [place for path in waiting if (place := self._place(path)) is not None]
            needy = [place for place in places if place.spec.needs]
            if not needy:
                return
            # An included child gives way, whatever the main file says stays.
            place = next((place for place in needy if place.source is not self.main), needy[0])
            problem = place.source.problem((*place.path, "needs"), self._cycle_text(cycle))
            freed[child_path(place.parent, place.spec.id)] = place
            if included := self._file_included(place.source):
                included.source.problems.append(problem)
                self._leave_out(included)
            else:
                self.main.problems.append(problem)

    def _cycle_text(self, cycle: list[str]) -> str:
        first, *others = cycle
        text = f"can never be met: {first} waits for {', which waits for '.join(others)}"
        for waiting, awaited in pairwise(cycle):
            place = self._place(waiting)
            ordered = _steps(waiting)[:-1] == _steps(awaited)[:-1]
            named = (
                [] if place is None else [needed_path(place.parent, n) for n in place.spec.needs]
            )
            if ordered and awaited not in named:
                return f"{text} ({waiting} stands after it under a sequential supervisor)"
        return text

    def _place(self, path: str) -> Place | None:
        return next((b.places[path] for b in self._builders() if path in b.places), None)

    def _builders(self) -> list[Builder]:
        return [self.builder, *(each.builder for each in self._included.values())]

    def _file_included(self, source: Source) -> _Included | None:
        return next((each for each in self._included.values() if each.source is source), None)


def _as_shown(file: str, main: str) -> str:
    """An included file's name as the operator wrote the main one: relative or absolute."""
    return file if os.path.isabs(main) else os.path.relpath(file)


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step]


def _names(known: Iterable[str], parent: str) -> list[str]:
    """What a need of a child of `parent` could have said."""
    below = f"{parent.rstrip('/')}/"
    return [*known, *(path.removeprefix(below) for path in known if path.startswith(below))]


def _supervisor_at(tree: SupervisorSpec, path: str) -> SupervisorSpec | None:
    spec: SupervisorSpec | None = tree
    for step in _steps(path):
        if spec is None:
            return None
        spec = next((child.supervisor for child in spec.children if child.id == step), None)
    return spec


def _supervisor_paths(tree: SupervisorSpec, path: str) -> Iterator[str]:
    for child in tree.children:
        if child.supervisor is not None:
            yield child_path(path, child.id)
            yield from _supervisor_paths(child.supervisor, child_path(path, child.id))


def _dynamic_paths(tree: SupervisorSpec, path: str) -> list[str]:
    """Supervisors whose children are not known before they run."""
    return [
        address
        for address in ("/", *_supervisor_paths(tree, path))
        if (spec := _supervisor_at(tree, address)) is not None
        and spec.strategy is Strategy.SIMPLE_ONE_FOR_ONE
    ]


def _updated(
    tree: SupervisorSpec, steps: list[str], change: Callable[[SupervisorSpec], SupervisorSpec]
) -> SupervisorSpec:
    """The tree with the supervisor at the end of `steps` changed."""
    if not steps:
        return change(tree)
    children = tuple(
        replace(child, supervisor=_updated(child.supervisor, steps[1:], change))
        if child.id == steps[0] and child.supervisor is not None
        else child
        for child in tree.children
    )
    return replace(tree, children=children)


def _freed(tree: SupervisorSpec, places: Iterable[Place]) -> SupervisorSpec:
    """The tree in which the children of `places` need nothing any more."""
    for place in places:
        tree = _updated(tree, _steps(place.parent), partial(_without_needs, name=place.spec.id))
    return tree


def _without_needs(spec: SupervisorSpec, name: str) -> SupervisorSpec:
    return replace(
        spec,
        children=tuple(
            replace(child, needs=()) if child.id == name else child for child in spec.children
        ),
    )
