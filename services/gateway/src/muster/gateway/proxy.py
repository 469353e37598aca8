"""The dashboard, behind the gateway's login: pages and WebSockets are passed on.

The session is checked before anything is passed on, and again while a WebSocket is open. The
dashboard gets the person's cookie and asks the API with it.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final
from urllib.parse import quote

import httpx
from fastapi import APIRouter, Request, WebSocket
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from starlette.requests import HTTPConnection
from websockets.exceptions import WebSocketException

from muster.contracts.errors import MusterError, NotFound, Unauthenticated, Unavailable
from muster.gateway.gate import Gate, gate_of
from muster.gateway.origins import SAFE, address_of, refuse_foreign
from muster.gateway.pages import waiting_page
from muster.gateway.people import Visitor
from muster.gateway.pipe import Pipe
from muster.gateway.problems import problem, wants_page
from muster.gateway.routes.events import admit
from muster.gateway.upstream import Upstream

log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)

PREFIX: Final = "/dashboard"
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

CSP: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Streamlit's page has inline scripts and styles, and Vega compiles its expressions."""

_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_PASSED: Final = _HOP | {"authorization", "forwarded", "x-real-ip"}
_NOT_RETURNED: Final = _HOP | {"server", "date", "content-security-policy", "x-frame-options"}


@router.get(PREFIX)
async def dashboard() -> Response:
    """Lead to the dashboard's own path."""
    return RedirectResponse(f"{PREFIX}/", 308)


@router.api_route(f"{PREFIX}/{{path:path}}", methods=_METHODS)
async def pages(request: Request) -> Response:
    """Pass a request on, and the answer back, without holding either in memory."""
    gate = gate_of(request)
    upstream = _upstream(gate)
    try:
        visitor = await _cookie_visitor(gate, request)
    except Unauthenticated:
        if wants_page(request) and request.method in SAFE:
            return RedirectResponse(f"/login?next={quote(_target(request), safe='')}", 303)
        raise
    if visitor.person.must_change_password:
        return RedirectResponse("/password", 303)
    if request.method not in SAFE:
        refuse_foreign(request, gate.settings.public_url)
    return await _passed(request, upstream)


@router.websocket(f"{PREFIX}/{{path:path}}")
async def sockets(websocket: WebSocket) -> None:
    """Pass a WebSocket on, for as long as the session lives."""
    gate = gate_of(websocket)
    visitor = await admit(websocket)
    if visitor is None:
        return
    try:
        upstream = _upstream(gate)
        protocols = list(websocket.scope.get("subprotocols", []))
        host = websocket.headers.get("host", "dashboard")
        # the library sets the host; the origin stays, the dashboard compares the two
        headers = dict(pair for pair in _passing(websocket) if pair[0] != "host")
        async with upstream.socket(_target(websocket), host, headers, protocols) as far:
            await websocket.accept(far.subprotocol)
            await Pipe(gate, visitor, websocket, far).hold()
    except (MusterError, OSError, TimeoutError, WebSocketException) as error:
        log.warning("the dashboard's WebSocket could not be opened: %s", error)
        with suppress(RuntimeError):
            await websocket.send_denial_response(
                problem(Unavailable, "the dashboard does not answer: try again", status=502)
            )


def _upstream(gate: Gate) -> Upstream:
    if gate.dashboard is None:
        raise NotFound("there is no dashboard here")
    return gate.dashboard


async def _cookie_visitor(gate: Gate, request: Request) -> Visitor:
    if not gate.cookies.secret(request):
        raise Unauthenticated("log in first")
    return await gate.people.visitor(request)


def _target(conn: HTTPConnection) -> str:
    """Return path and query as they came, or raise `NotFound` if they lead upwards."""
    raw: bytes = conn.scope.get("raw_path") or conn.scope["path"].encode()
    if any(part in {".", ".."} for part in conn.scope["path"].split("/")):
        raise NotFound("there is no such page")
    query = conn.scope.get("query_string", b"")
    return raw.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")


def _passing(conn: HTTPConnection) -> list[tuple[str, str]]:
    """Return the headers that the dashboard gets; where they come from, only we say."""
    headers = [
        (name, value)
        for name, value in conn.headers.items()
        if name not in _NOT_PASSED and not name.startswith(("x-forwarded-", "sec-websocket-"))
    ]
    scheme = {"ws": "http", "wss": "https"}.get(conn.url.scheme, conn.url.scheme)
    return [
        *headers,
        ("x-forwarded-for", address_of(conn)),
        ("x-forwarded-proto", scheme),
        ("x-forwarded-host", conn.headers.get("host", "")),
    ]


async def _passed(request: Request, upstream: Upstream) -> Response:
    has_body = not {"content-length", "transfer-encoding"}.isdisjoint(request.headers)
    asked = upstream.http.build_request(
        request.method,
        _target(request),
        headers=_passing(request),
        content=request.stream() if has_body else None,
    )
    try:
        answer = await upstream.http.send(asked, stream=True)
    except httpx.TransportError as error:
        log.warning("the dashboard does not answer: %r", error)
        if wants_page(request):
            return waiting_page(request)
        return problem(Unavailable, "the dashboard does not answer: try again", status=502)
    response = StreamingResponse(_body(answer), answer.status_code)
    kept = [pair for pair in answer.headers.multi_items() if pair[0] not in _NOT_RETURNED]
    response.raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in kept]
    response.headers["content-security-policy"] = CSP
    return response


async def _body(answer: httpx.Response) -> AsyncGenerator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()
