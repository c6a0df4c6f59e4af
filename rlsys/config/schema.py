"""Walks config models by key, for error messages and `rlsys explain`."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from rlsys.config.base import Model

Key = tuple[str | int, ...]


def dotted(key: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in key)


def inner(annotation: Any) -> type[Model] | None:
    """The one model inside `Model`, `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next((found for part in get_args(annotation) if (found := inner(part))), None)


def section(model: type[Model], key: Sequence[str | int]) -> type[Model] | None:
    """The model that the value at `key` must be, or None where it is no section."""
    for part in key:
        if isinstance(part, int):
            continue  # an item of a list: `inner` has already seen through the list
        info = model.model_fields.get(part)
        inside = inner(info.annotation) if info else None
        if inside is None:
            return None
        model = inside
    return model


def field(model: type[Model], key: Sequence[str | int]) -> FieldInfo | None:
    """The field that `key` names, or None: an unknown key, or a place inside a plain list or mapping."""
    if not key or isinstance(key[-1], int):
        return None
    parent = section(model, key[:-1])
    return parent.model_fields.get(key[-1]) if parent else None


def fields(model: type[Model], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a section and of the sections in it, dotted, in order of declaration."""
    for name, info in model.model_fields.items():
        yield prefix + name, info
        if (inside := inner(info.annotation)) is not None:
            yield from fields(inside, f"{prefix}{name}.")


def wanted(info: FieldInfo) -> str:
    """What a field takes, as people say it: `a whole number above 0`, `one of auto, always, never`."""
    return _describe(info.annotation, info.metadata)


def choices(annotation: Any) -> list[str]:
    """Values of the Literal in an annotation."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [value for part in get_args(annotation) for value in choices(part)]


def _describe(annotation: Any, limits: Sequence[Any] = ()) -> str:
    bounds = " and ".join(text for limit in limits if (text := _limit(limit)))
    return f"{_type(annotation)} {bounds}".rstrip()


def _type(annotation: Any) -> str:
    plain = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        types.NoneType: "null",
        Any: "anything",
    }
    if annotation in plain:
        return plain[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe(
            args[0],
            [limit for extra in args[1:] for limit in (extra.metadata if isinstance(extra, FieldInfo) else [extra])],
        )
    if origin is Literal:
        return "one of " + ", ".join(choices(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in args)
    if origin is tuple and Ellipsis not in args:
        return f"a list of {len(args)}: " + ", ".join(_type(part) for part in args)
    if origin in (tuple, list):
        return f"a list; each item {_type(args[0])}"
    if origin is dict:
        return f"keys with values; each value {_type(args[1])}"
    if inner(annotation):
        return "a section"
    return annotation.__name__.lower() if isinstance(annotation, type) else str(annotation)


def _limit(limit: Any) -> str:
    match limit:
        case Gt(gt=bound):
            return f"above {bound}"
        case Ge(ge=bound):
            return f"of at least {bound}"
        case Lt(lt=bound):
            return f"below {bound}"
        case Le(le=bound):
            return f"of at most {bound}"
    pattern = vars(limit).get("pattern") if hasattr(limit, "__dict__") else None
    return f"that matches {pattern}" if pattern else ""
