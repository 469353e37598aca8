"""Errors as people and programs see them: RFC 9457 documents, or a page for a browser.

Every error that leaves the gateway has a code of the closed set in the contracts. Details of
internal errors stay in the log.
"""

import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException

from muster.contracts.base import Message
from muster.contracts.errors import (
    BY_CODE,
    Malformed,
    MusterError,
    TooMany,
    Unauthenticated,
    Unavailable,
)
from muster.gateway.pages import error_page
from muster.kit.text import clean
from muster.kit.wire import places

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_INTERNAL: Final = "something went wrong in the server; its log says what"
_BY_STATUS: Final = {kind.status: kind for kind in reversed(list(BY_CODE.values()))}
"""Of several kinds with one status the most general, which comes first among them."""
_WAIT: Final = {TooMany.status: "5", Unavailable.status: "2"}


class Wrong(Message):
    """One field that does not fit."""

    field: str
    message: str


class Problem(Message):
    """An error, RFC 9457; `code` is for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[Wrong] = Field(default_factory=list)


def problem(
    kind: type[MusterError],
    detail: str,
    *,
    status: int = 0,
    wrong: Sequence[Wrong] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """Return the problem document of an error of *kind*."""
    status = status or kind.status
    document = Problem(
        type=f"urn:muster:error:{kind.code}",
        title=_title(kind),
        status=status,
        detail=_INTERNAL if kind is MusterError else clean(detail, keep="\n"),
        code=kind.code,
        errors=list(wrong),
    )
    extra = {"Retry-After": _WAIT[status]} if status in _WAIT else {}
    if issubclass(kind, Unauthenticated):
        extra["WWW-Authenticate"] = "Bearer"
    body = document.model_dump_json(exclude={"errors"} if not wrong else None)
    return Response(body, status, headers=extra | (headers or {}), media_type=MEDIA_TYPE)


def _title(kind: type[MusterError]) -> str:
    if kind is MusterError:
        return "Something went wrong in the server"
    return (kind.__doc__ or kind.code).rstrip(".")


def answer(request: Request, kind: type[MusterError], detail: str, *, status: int = 0) -> Response:
    """Return the error as the one who asked wants it: a page, or a problem document."""
    if wants_page(request):
        return error_page(request, kind.code, status or kind.status)
    return problem(kind, detail, status=status)


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks for a page."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get(
        "accept", ""
    )


def install(app: FastAPI) -> None:  # noqa: C901  # one handler after another
    """Let *app* answer every error in our way."""

    @app.exception_handler(MusterError)
    async def refused(request: Request, error: MusterError) -> Response:
        if type(error) is MusterError:
            log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(request, type(error), str(error))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        del request
        wrong = [Wrong(field=_place(one["loc"]), message=one["msg"]) for one in error.errors()[:50]]
        detail = "; ".join(f"{one.field}: {one.message}" for one in wrong[:5])
        return problem(Malformed, detail, wrong=wrong)

    @app.exception_handler(ValidationError)
    async def misfit(request: Request, error: ValidationError) -> Response:
        """Refuse what fits the route, but not the contract that is made of it."""
        del request
        return problem(Malformed, places(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        kind = _kind(error.status_code)
        if wants_page(request):
            return error_page(request, kind.code, error.status_code)
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods(request)) or headers.get("Allow", "")
        return problem(kind, str(error.detail), status=error.status_code, headers=headers)

    @app.exception_handler(Exception)
    async def internal(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(request, MusterError, "")


def _methods(request: Request) -> list[str]:
    """Return what may be done at a path: several routes may share it, each with its methods."""
    paths: dict[str, dict[str, object]] = request.app.openapi()["paths"]
    here = request.url.path
    if here in paths:
        return sorted(map(str.upper, paths[here]))
    return sorted(
        method.upper()
        for path, methods in paths.items()
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)), here)
        for method in methods
    )


def _place(location: Sequence[int | str]) -> str:
    """Name a place in a request, without saying whether it was in the body or the query."""
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _kind(status: int) -> type[MusterError]:
    """Return the error of the closed set that is nearest to an HTTP status."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable if status == Unavailable.status else MusterError
    return _BY_STATUS.get(status, Malformed)
