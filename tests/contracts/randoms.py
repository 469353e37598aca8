"""Random values for any message: everything that its schema allows."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, time
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from muster.contracts.base import Message
from tests.contracts.schemas import Schema, kind_of, mapping_parts, resolved, schema_of

_EXACT: Final = 2**53
_LETTERS: Final = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


def values(message: type[Message]) -> SearchStrategy[Schema]:
    """Return a strategy for the JSON objects that *message* allows."""
    schema, defs = schema_of(message)
    return _objects(schema, defs)


def _values(schema: Schema, defs: Schema) -> SearchStrategy[Any]:
    target = resolved(schema, defs)
    return _MAKERS[kind_of(target)](target, defs)


def _objects(schema: Schema, defs: Schema) -> SearchStrategy[Schema]:
    must = set(schema.get("required", []))
    fields = {name: _values(part, defs) for name, part in schema.get("properties", {}).items()}
    if schema["title"] == "Command":
        return _commands(fields)
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in must},
        optional={name: field for name, field in fields.items() if name not in must},
    )


def _commands(fields: dict[str, SearchStrategy[Any]]) -> SearchStrategy[Schema]:
    """Make commands that have either an argument list or a text for the shell."""
    either = {name: fields.pop(name).filter(bool) for name in ("argv", "shell")}
    return st.one_of(
        [st.fixed_dictionaries({name: field}, optional=fields) for name, field in either.items()]
    )


def _mappings(schema: Schema, defs: Schema) -> SearchStrategy[Any]:
    key, value = mapping_parts(schema)
    return st.dictionaries(_values(key, defs), _values(value, defs), max_size=3)


def _lists(schema: Schema, defs: Schema) -> SearchStrategy[Any]:
    return st.lists(_values(schema["items"], defs), min_size=schema.get("minItems", 0), max_size=3)


def _floats(schema: Schema, _defs: Schema) -> SearchStrategy[float]:
    return st.floats(
        schema.get("minimum", schema.get("exclusiveMinimum", -1e12)),
        schema.get("maximum", 1e12),
        exclude_min="exclusiveMinimum" in schema,
    )


def _formatted(schema: Schema, _defs: Schema) -> SearchStrategy[str]:
    if schema["format"] == "date-time":
        return st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
    if schema["format"] == "time":
        return st.times().map(time.isoformat)
    return st.binary(max_size=64).map(lambda data: urlsafe_b64encode(data).decode())


@cache
def _texts_like(pattern: str) -> SearchStrategy[str]:
    return st.from_regex(pattern, fullmatch=True)


_MAKERS: Final[dict[str, Callable[[Schema, Schema], SearchStrategy[Any]]]] = {
    "anyOf": lambda schema, defs: st.one_of([_values(part, defs) for part in schema["anyOf"]]),
    "enum": lambda schema, _: st.sampled_from(schema["enum"]),
    "prefixItems": lambda s, defs: st.tuples(*(_values(part, defs) for part in s["prefixItems"])),
    "pattern": lambda schema, _: _texts_like(schema["pattern"]),
    "format": _formatted,
    "mapping": _mappings,
    "object": _objects,
    "array": _lists,
    "null": lambda _schema, _defs: st.none(),
    "boolean": lambda _schema, _defs: st.booleans(),
    "integer": lambda s, _: st.integers(s.get("minimum", -_EXACT), s.get("maximum", _EXACT)),
    "number": _floats,
    "string": lambda s, _: st.text(
        _LETTERS, min_size=s.get("minLength", 0), max_size=min(s.get("maxLength", 200), 200)
    ),
}
