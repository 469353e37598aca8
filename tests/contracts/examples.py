"""One fixed example for any message: the same on every machine, for the golden files."""

from collections.abc import Callable
from typing import Any, Final

from muster.contracts.base import Message
from tests.contracts.schemas import Schema, kind_of, mapping_parts, resolved, schema_of

ONE_OF: Final = {"Command": {"shell"}}
"""Fields that exclude others, and are left out of a full example."""

_ALWAYS: Final = {"Command": {"argv"}}
"""Fields of which one is needed although none is required."""

_BY_PATTERN: Final = {
    r"^[a-z0-9][a-z0-9_-]{0,62}$": "led-1",
    r"^n[a-z2-7]{16}$": "nabcdefgh234567ab",
    r"^[0-9a-hjkmnp-tv-z]{26}$": "01kdvs2f00000000000000000a",
    r"^[0-9a-hjkmnp-tv-z]{4,26}$": "01kdvs2f",
    r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,62}$": "site:mac",
    r"^[a-z0-9][a-z0-9._-]{0,62}$": "ann",
    r"^U[A-Z2-7]{55}$": "U" + "A" * 55,
    r"^(\*|[a-z]+\.(\*|[a-z]+))$": "run.*",
    r"^[a-z]+\.[a-z]+$": "run.create",
    r"^[0-9a-f]{64}$": "ab" * 32,
    r"^[A-Za-z_][A-Za-z0-9_]{0,254}$": "LANG",
}
"""An example for each pattern of the contracts; a new pattern needs one."""

_BY_FORMAT: Final = {
    "date-time": "2026-01-01T12:00:00Z",
    "time": "08:00:00",
    "base64url": "AP_-_w==",
}


def full(message: type[Message]) -> Schema:
    """Return a JSON object for *message* that holds all its fields."""
    schema, defs = schema_of(message)
    return _fields(schema, defs, set(schema.get("properties", {})))


def other(message: type[Message]) -> Schema:
    """Return an example with the fields that `full` leaves out, or nothing if there are none."""
    left_out = ONE_OF.get(message.__name__, set())
    schema, defs = schema_of(message)
    return {field: _value(schema["properties"][field], defs, field) for field in left_out}


def least(message: type[Message]) -> Schema:
    """Return a JSON object for *message* that holds only what it must."""
    schema, defs = schema_of(message)
    return _fields(schema, defs, set(schema.get("required", [])))


def _fields(schema: Schema, defs: Schema, chosen: set[str]) -> Schema:
    name = schema["title"]
    wanted = (chosen | _ALWAYS.get(name, set())) - ONE_OF.get(name, set())
    return {
        field: _value(part, defs, field)
        for field, part in schema.get("properties", {}).items()
        if field in wanted
    }


def _value(schema: Schema, defs: Schema, field: str) -> Any:
    target = resolved(schema, defs)
    return _MAKERS[kind_of(target)](target, defs, field)


def _something(schema: Schema, defs: Schema, field: str) -> Any:
    parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
    return _value(parts[0], defs, field)


def _mapping(schema: Schema, defs: Schema, field: str) -> Any:
    key, value = mapping_parts(schema)
    return {_value(key, defs, field): _value(value, defs, field)}


_MAKERS: Final[dict[str, Callable[[Schema, Schema, str], Any]]] = {
    "anyOf": _something,
    "enum": lambda schema, _defs, _field: schema["enum"][-1],
    "prefixItems": lambda s, defs, f: [_value(part, defs, f) for part in s["prefixItems"]],
    "pattern": lambda schema, _defs, _field: _BY_PATTERN[schema["pattern"]],
    "format": lambda schema, _defs, _field: _BY_FORMAT[schema["format"]],
    "mapping": _mapping,
    "object": lambda schema, defs, _field: _fields(schema, defs, set(schema["properties"])),
    "array": lambda schema, defs, field: [_value(schema["items"], defs, field)],
    "boolean": lambda _schema, _defs, _field: True,
    "integer": lambda _schema, _defs, _field: 7,
    "number": lambda _schema, _defs, _field: 7.5,
    "string": lambda schema, _defs, field: f"{field} Ä".ljust(schema.get("minLength", 0), "."),
}
