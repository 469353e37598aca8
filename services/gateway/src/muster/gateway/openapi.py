"""The OpenAPI document: what FastAPI makes of the routes, with errors and logins added."""

import json
from typing import Any, Final

from fastapi import FastAPI

from muster.contracts.base import Call
from muster.contracts.errors import BY_CODE

PUBLIC: Final = "public"
"""`x-permission` of a route that needs no login."""

SELF: Final = "self"
"""`x-permission` of a route for everybody who has logged in."""

_DESCRIPTION: Final = """\
Manage nodes and run commands on them. Errors are RFC 9457 problem documents whose `code` is one
of a closed set. Bytes in JSON are URL-safe base64. Lists are paged: send `next` of one answer
as the cursor of the next question. Programs send `Authorization: Bearer <token>`; browsers use
the session cookie and send the cookie `muster_csrf` in the header `X-Muster-CSRF`. Some routes that
read take HTTP Basic with an app password as well, never with the password of a person.
"""
_TAGS: Final = {
    "session": "Who is asking",
    "users": "Who there is, and what they may do",
    "nodes": "Hosts with an agent",
    "runs": "Commands on nodes",
    "joining": "How a host becomes a node",
    "audit": "Who did what",
    "health": "Whether the server works",
}
_LOGINS: Final = {
    "cookie": {"type": "apiKey", "in": "cookie", "name": "muster"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic"},
}
_BASIC: Final = "x-basic"


def declared(call: Call[Any, Any] | str, name: str, *, basic: bool = False) -> dict[str, Any]:
    """Return what every route declares: its operation id and the permission that it needs.

    With *basic* it takes app passwords too.
    """
    needs = call if isinstance(call, str) else call.needs
    extra = {"x-permission": needs} | ({_BASIC: True} if basic else {})
    return {"operation_id": name, "openapi_extra": extra}


def relayed(call: Call[Any, Any], name: str, *, basic: bool = False) -> dict[str, Any]:
    """Return what a route declares that passes the answer of *call* on as it is."""
    return {**declared(call, name, basic=basic), "response_model": call.answer}


def takes_basic(route: Any) -> bool:
    """Whether a route has declared that an app password will do."""
    return bool((getattr(route, "openapi_extra", None) or {}).get(_BASIC))


def install(app: FastAPI) -> None:
    """Let *app* describe itself in our way."""
    app.description = _DESCRIPTION
    app.openapi_tags = [{"name": name, "description": text} for name, text in _TAGS.items()]
    plain = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            plain()
            _finish(app.openapi_schema or {})
        return app.openapi_schema or {}

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation does it


def _finish(document: dict[str, Any]) -> None:
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _problem_schema()
    parts["securitySchemes"] = _LOGINS
    for operations in document["paths"].values():
        for operation in operations.values():
            _finish_operation(operation)


def _finish_operation(operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    answers["default"] = _problem("An error")
    if operation["x-permission"] != PUBLIC:
        basic = _BASIC in operation
        operation["security"] = [{name: []} for name in _LOGINS if basic or name != "basic"]
        answers["401"] = _problem("Nobody knows who is asking")
        answers["403"] = _problem("Who is asking may not do this")


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    wrong = {"type": "object", "properties": {"field": text, "message": text}}
    return {
        "type": "object",
        "description": "An error, RFC 9457",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "code": {"type": "string", "enum": sorted(BY_CODE)},
            "errors": {"type": "array", "items": wrong},
        },
        "example": {
            "type": "urn:muster:error:not_found",
            "title": "There is no such thing, or it is not for the one who asks",
            "status": 404,
            "detail": "there is no node web9",
            "code": "not_found",
        },
    }


def by_tag(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the operations as the page for people shows them."""
    tags: dict[str, list[dict[str, Any]]] = {name: [] for name in _TAGS}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            shown = {
                "summary": "",
                "description": "",
                "parameters": [],
                **operation,
                "path": path,
                "method": method,
                "body": _schema_name(body.get("schema", {})),
                "examples": {
                    name: example["value"] for name, example in body.get("examples", {}).items()
                },
                "answers": {
                    status: answer["description"]
                    for status, answer in operation["responses"].items()
                },
            }
            shown["parameters"] = [{"description": "", **one} for one in shown["parameters"]]
            tags[operation["tags"][0]].append(shown)
    return tags


def _schema_name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rsplit("/", 1)[-1] if "$ref" in schema else json.dumps(schema)
