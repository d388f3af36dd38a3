"""The shape of a value that comes from outside: the part of JSON Schema that needs no code.

A keyword that is not known is a fault of the definition, so that nothing is believed to be checked
that is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from goclaw_events.faults import Finding, Suggester

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from goclaw_events.faults import Where

DEPTH_MAX: Final = 32
_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list | tuple),
    "null": lambda value: value is None,
}


def shape_findings(schema: object, where: Where) -> Iterator[Finding]:
    """Yield what is wrong with a schema that stands at `where`."""
    yield from _findings(schema, where, 0)


def _findings(schema: object, where: Where, depth: int) -> Iterator[Finding]:
    if not isinstance(schema, dict):
        yield Finding("bad_type", "a schema is a mapping", where)
        return
    if depth > DEPTH_MAX:
        yield Finding("bad_value", f"a schema is more than {DEPTH_MAX} levels deep", where)
        return
    for key, said in schema.items():
        if key not in KEYWORDS:
            hint = Suggester().hint(str(key), KEYWORDS) or "known are " + ", ".join(KEYWORDS)
            yield Finding("unknown_key", f"{str(key)!r} is not checked", (*where, key), hint, True)
        elif key in _SAID and not _SAID[key][0](said):
            yield Finding("bad_value", f"{key} is {_SAID[key][1]}", (*where, key))
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        yield from _findings(inner, (*where, "properties", name), depth + 1)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _findings(schema[key], (*where, key), depth + 1)


def _is_type(said: Any) -> bool:
    types = said if isinstance(said, list | tuple) else [said]
    return bool(types) and all(isinstance(one, str) and one in _TYPES for one in types)


def _is_count(said: Any) -> bool:
    return _TYPES["integer"](said) and said >= 0


def _is_names(said: Any) -> bool:
    return _TYPES["array"](said) and all(isinstance(one, str) for one in said)


_SAID: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "type": (_is_type, "one of " + ", ".join(_TYPES)),
    "properties": (_TYPES["object"], "a mapping"),
    "items": (_TYPES["object"], "a schema"),
    "additionalProperties": (lambda said: isinstance(said, bool | dict), "true, false or a schema"),
    "required": (_is_names, "a list of names"),
    "enum": (_TYPES["array"], "a list"),
    **dict.fromkeys(("minimum", "maximum"), (_TYPES["number"], "a number")),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), (_is_count, "a count")),
}
"""What each keyword may say."""
KEYWORDS: Final = (*_SAID, "const", "title", "description", "default", "examples")


def misfit(value: Any, schema: Mapping[str, Any], place: str = "") -> str | None:
    """Return where a value is not of a shape, and why; None: it is."""
    name = place or "it"
    types = schema.get("type", ())
    types = [types] if isinstance(types, str) else types
    if types and not any(_TYPES[one](value) for one in types):
        return f"{name} is no {' or '.join(types)}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return f"{name} is none of {', '.join(map(repr, schema['enum']))}"[:300]
    if "const" in schema and not _same(value, schema["const"]):
        return f"{name} is not {schema['const']!r}"[:300]
    return _limits(value, schema, name) or _parts(value, schema, place)


def _same(value: object, other: object) -> bool:
    """Tell whether two values are one: true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _limits(value: Any, schema: Mapping[str, Any], name: str) -> str | None:
    if _TYPES["number"](value):
        if value < schema.get("minimum", value):
            return f"{name} is less than {schema['minimum']}"
        if value > schema.get("maximum", value):
            return f"{name} is more than {schema['maximum']}"
    of = "Length" if isinstance(value, str) else "Items" if isinstance(value, list | tuple) else ""
    if of:
        least, most = schema.get("min" + of, 0), schema.get("max" + of, len(value))
        if not least <= len(value) <= most:
            return f"{name} has {len(value)} {'characters' if of == 'Length' else 'items'}"
    return None


def _parts(value: Any, schema: Mapping[str, Any], place: str) -> str | None:
    if isinstance(value, dict):
        for key in schema.get("required", ()):
            if key not in value:
                return f"{key!r} is missing" + (f" in {place}" if place else "")
        return _properties(value, schema, place)
    if isinstance(value, list | tuple) and "items" in schema:
        found = (misfit(one, schema["items"], f"{place}[{at}]") for at, one in enumerate(value))
        return next((wrong for wrong in found if wrong is not None), None)
    return None


def _properties(value: dict[str, Any], schema: Mapping[str, Any], place: str) -> str | None:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, one in value.items():
        inner = known.get(key, others)
        where = f"{place}.{key}" if place else str(key)
        if inner is False:
            return f"{where} is not expected"
        wrong = misfit(one, inner, where) if isinstance(inner, dict) else None
        if wrong is not None:
            return wrong
    return None
