"""Reads the JSON schema of a message, so that examples and random values can be made from it."""

from typing import Any

from muster.contracts.base import Message
from muster.contracts.names import TEXT

Schema = dict[str, Any]


def schema_of(message: type[Message]) -> tuple[Schema, Schema]:
    """Return the schema of *message* and those that it refers to."""
    schema = message.model_json_schema(mode="validation")
    return schema, schema.get("$defs", {})


def resolved(schema: Schema, defs: Schema) -> Schema:
    """Return what a reference stands for."""
    if "$ref" in schema:
        found: Schema = defs[schema["$ref"].rsplit("/", 1)[-1]]
        return found
    return schema


def kind_of(schema: Schema) -> str:
    """Return which kind of value a schema describes."""
    if schema.get("pattern") == TEXT:
        return "string"
    for mark in ("anyOf", "enum", "prefixItems", "pattern", "format"):
        if mark in schema:
            return mark
    if schema["type"] == "object":
        of_names = "additionalProperties" in schema or "patternProperties" in schema
        return "mapping" if of_names else "object"
    return str(schema["type"])


def mapping_parts(schema: Schema) -> tuple[Schema, Schema]:
    """Return the schemas of the keys and of the values of a mapping."""
    for pattern, value in schema.get("patternProperties", {}).items():
        return {"type": "string", "pattern": pattern}, value
    return schema.get("propertyNames", {"type": "string"}), schema["additionalProperties"]
