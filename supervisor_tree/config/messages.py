"""What pydantic finds wrong, in words for an operator, with the place where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from supervisor_tree.config.document import ChildDocument, SupervisorDocument
from supervisor_tree.config.parts import Part
from supervisor_tree.config.source import Path, Source
from supervisor_tree.core.values import shown

__all__ = ["closest", "one_of", "validate"]

_PartT = TypeVar("_PartT", bound=Part)


def validate(
    model: type[_PartT], data: Any, source: Source, path: Path, *, library: bool = False
) -> _PartT | None:
    """`data`, which stands at `path`, as a model; else None, and the source has the problems."""
    try:
        return model.model_validate(data, context={"library": library})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _report(model, detail, source, path)
        return None


def one_of(choices: Iterable[str]) -> str:
    """`a, b or c`."""
    *most, last = choices
    return f"{', '.join(most)} or {last}" if most else last


def closest(word: Any, choices: Iterable[str]) -> str:
    """`; did you mean 'restart'?` if one of the choices is like the word, else nothing."""
    if not isinstance(word, str):
        return ""
    found = difflib.get_close_matches(word[:80], list(choices), n=1, cutoff=0.6)
    return f"; did you mean '{found[0]}'?" if found else ""


def _report(model: type[Part], detail: ErrorDetails, source: Source, path: Path) -> None:
    where = detail["loc"]
    about_key = bool(where) and where[-1] == "[key]"
    if about_key:
        where = where[:-1]
    unknown = detail["type"] == "extra_forbidden"
    message = _unknown_key(model, where) if unknown else _wrong_value(detail)
    source.problems.append(source.problem((*path, *where), message, at_key=unknown or about_key))


def _wrong_value(detail: ErrorDetails) -> str:
    value, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "missing":
            return "is missing"
        case "enum" | "literal_error":
            choices = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            return f"must be {one_of(choices)}, not {shown(value)}{closest(value, choices)}"
        case "model_type" | "dict_type":
            return f"must be a mapping, not {shown(value)}"
        case "list_type":
            return f"must be a list, not {shown(value)}"
        case "string_type":
            return f"must be text, not {shown(value)}"
    return f"{detail['msg']}, not {shown(value)}"


def _unknown_key(model: type[Part], where: Path) -> str:
    key = where[-1]
    inner = _model_at(model, where[:-1])
    known = {field.alias or name for name, field in inner.model_fields.items()}
    if hint := closest(key, known):
        return f"unknown key{hint}"
    if issubclass(inner, ChildDocument) and key in SupervisorDocument.model_fields:
        return "unknown key; for a child that is a supervisor it belongs under supervisor"
    return f"unknown key; known here are {one_of(sorted(known))}"


def _model_at(model: type[BaseModel], where: Path) -> type[BaseModel]:
    for part in where:
        for name, field in model.model_fields.items():
            if part in (name, field.alias) and (inner := _model_in(field.annotation)):
                model = inner
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
