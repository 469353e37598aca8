"""What every answer has in common, and that nothing a stranger sends does harm."""

import asyncio
import logging
import re
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI

from muster.contracts.errors import TooMany
from muster.gateway.edge import HEADERS
from muster.gateway.limiter import Limiter
from muster.kit.testing import Broker
from tests.gateway.world import NODE, RUN, World, world

OPEN = (
    "login",
    "ca",
    "ca/news",
    "join",
    "join/challenge",
    "join/certificate",
    "invitations/accept",
    "device",
    "device/token",
)
PUBLIC = {f"/api/v1/{path}" for path in OPEN} | {
    "/health",
    "/healthz",
    "/readyz",
}
VALUES = {"node": NODE, "run": RUN, "stream": "stdout", "token": RUN, "name": "dba"} | {
    "credential": RUN,
    "passkey": RUN,
}


async def described(here: World) -> dict[str, Any]:
    """Return the OpenAPI document."""
    async with here.client(None) as client:
        document: dict[str, Any] = (await client.get("/api/v1/openapi.json")).json()
        return document


def filled(path: str) -> str:
    """Return *path* with values for its parameters."""
    return re.sub(r"\{(\w+)\}", lambda match: VALUES[match[1]], path)


def places(value: Any) -> list[str]:
    """Return every reference in a document."""
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [place for part in value.values() for place in places(part)]
    if isinstance(value, list):
        return [place for part in value for place in places(part)]
    return []


async def test_every_answer_has_the_headers(here: World) -> None:
    """Pages, JSON, errors, redirects: none may be framed, sniffed or cached."""
    async with here.client() as client:
        for path in ("/login", "/api/v1/me", "/api/v1/nothing", "/", "/health", "/logout"):
            answer = await client.get(path)
            assert set(HEADERS) <= set(answer.headers), path
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert "server" not in answer.headers


async def test_the_openapi_document_is_valid_and_complete(here: World) -> None:
    """Every operation has an id, a tag, a summary, its permission and its errors."""
    document = await described(here)
    OpenAPI.model_validate(document)
    operations = [
        (path, operation)
        for path, methods in document["paths"].items()
        for operation in methods.values()
    ]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids)) > 30
    tags = {tag["name"] for tag in document["tags"]}
    for path, operation in operations:
        assert set(operation["tags"]) <= tags
        assert operation["summary"]
        assert operation["description"]
        public = operation["x-permission"] == "public"
        assert public == (path in PUBLIC), path
        assert ("security" in operation) == (not public)
        assert "422" not in operation["responses"]
        assert "application/problem+json" in operation["responses"]["default"]["content"]
    schemas = document["components"]["schemas"]
    for place in places(document):
        assert place.removeprefix("#/components/schemas/") in schemas
    assert "HTTPValidationError" not in schemas


async def test_the_docs_need_no_network_and_no_script(here: World) -> None:
    """Every operation is on the page."""
    document = await described(here)
    async with here.client(None) as client:
        page = await client.get("/api/v1/docs")
    assert page.status_code == 200
    assert all(f"<code>{path}</code>" in page.text for path in document["paths"])


async def test_reading_changes_nothing(here: World) -> None:
    """A crawler that follows every GET with every right has no effect."""
    document = await described(here)
    paths = [filled(path) for path, methods in document["paths"].items() if "get" in methods]
    paths += ["/", "/login", "/password", "/logout", "/static/muster.css", "/api/v1/docs"]
    async with here.browser() as client:
        before = dict(here.authority.sessions)
        for path in paths:
            answer = await client.get(path, params={"path": "x"})
            assert answer.status_code < 500, path
        assert here.authority.sessions == before
    changing = re.compile(r"Create|Revoke|Rename|Tag|Group|Change|Cancel|Join$|Login")
    peers = (here.authority, here.registry, here.scheduler)
    asked = {type(ask).__name__ for peer in peers for ask, _ in peer.asked}
    assert {name for name in asked if changing.search(name)} == {"Login"}


BODIES: list[tuple[str, bytes]] = [
    ("application/json", b""),
    ("application/json", b"{"),
    ("application/json", b"\xff\xfe"),
    ("application/json", b"null"),
    ("application/json", b'{"a":' * 5000),
    ("application/json", b"[" * 100_000),
    ("application/json", b'{"command": {"argv": ["\\ud800"]}, "targets": {"all": true}}'),
    ("application/json", b'{"name": NaN, "ttl": Infinity}'),
    ("application/json", b'{"ttl": 1e999}'),
    ("text/plain", b'{"name": "ada", "password": "x"}'),
    ("multipart/form-data", b"--x"),
    ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"; '),
    ("application/x-www-form-urlencoded", b"%ff%fe=%00&&&=&a"),
    ("", b"{}"),
]


async def test_malformed_bodies_are_refused(here: World) -> None:
    """Whatever is sent wherever: never an error of the server."""
    document = await described(here)
    targets = [
        (method.upper(), filled(path))
        for path, methods in document["paths"].items()
        for method in methods
        if method != "get" and path != "/api/v1/logout"
    ]
    targets += [("POST", path) for path in ("/login", "/password", "/language")]
    async with here.client() as client:
        for method, path in targets:
            for kind, body in BODIES:
                answer = await client.request(
                    method, path, content=body, headers={"Content-Type": kind}
                )
                assert answer.status_code < 500, (method, path, body[:60], answer.text)


async def test_strange_queries_are_refused(here: World) -> None:
    """Control characters, broken encodings and huge values in every parameter."""
    document = await described(here)
    values = ["\x00", "\ud7ff", "9" * 400, "-1", "NaN", "1e999", "*", "a.>", "", "../..", "\u202e"]
    async with here.client() as client:
        for path, methods in document["paths"].items():
            for parameter in methods.get("get", {}).get("parameters", []):
                if parameter["in"] != "query" or parameter["name"] == "wait":
                    continue
                for value in values:
                    query = {"path": "x", parameter["name"]: value}
                    answer = await client.get(filled(path), params=query)
                    assert answer.status_code < 500, (path, query)
        for raw in ("/api/v1/nodes?query=%ff%fe", "/api/v1/nodes/%00", "/%ff", "/api/v1/runs/%2e"):
            assert (await client.get(raw)).status_code < 500


async def test_a_body_that_is_too_large_is_refused(one_broker: Broker) -> None:
    """With its length told, and without; before any of it is understood."""

    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1000

    async with world(one_broker, max_body=2048) as here, here.client() as client:
        json, form = "application/json", "application/x-www-form-urlencoded"
        for path, kind in (("/api/v1/runs", json), ("/api/v1/join", json), ("/login", form)):
            for content in (b" " * 3000, endless()):
                answer = await client.post(path, content=content, headers={"Content-Type": kind})
                assert answer.status_code == 413
                assert answer.json()["code"] == "too_large"


async def test_headers_that_are_too_large_are_refused(here: World) -> None:
    """A request's head has a limit too."""
    async with here.client(None) as client:
        answer = await client.get("/healthz", headers={"X-Large": "x" * 100_000})
        assert (answer.status_code, answer.json()["code"]) == (431, "too_large")


async def test_who_connects_and_says_nothing_is_cut(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are few; they are for those who ask."""
    monkeypatch.setattr("muster.gateway.server._HEAD_TIME", 0.3)
    host, port = here.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        async with asyncio.timeout(10):
            assert await _rest(reader) == b""
    finally:
        writer.close()


async def test_a_head_without_end_is_cut(here: World) -> None:
    """One connection cannot fill the memory, with one endless header or with many."""
    host, port = here.url.removeprefix("http://").split(":")
    for piece in (b"x" * 10_000, b"x: y\r\n" * 1000):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Large: ")
        sent = 0
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                while not reader.at_eof():
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)
                    sent += len(piece)
        assert sent < 10_000_000
        writer.close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_the_access_log_tells_no_secrets(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Path and status, never the query or a header; control characters are shown."""
    with caplog.at_level(logging.INFO, logger="muster.gateway.edge"):
        async with here.client() as client:
            await client.get("/api/v1/nodes/a%0ab?query=s3cret")
    lines = [record for record in caplog.records if record.name == "muster.gateway.edge"]
    assert [record.getMessage() for record in lines] == ["GET /api/v1/nodes/a\\nb 404"]
    assert vars(lines[0])["address"] == "127.0.0.1"
    assert "s3cret" not in str(vars(lines[0]))


async def test_the_figures_are_for_this_machine_or_for_a_right(here: World) -> None:
    """What is forwarded is not from this machine."""
    async with here.client(None) as client:
        figures = await client.get("/metrics")
        assert figures.status_code == 200
        assert (
            'muster_gateway_requests_total{method="GET",route="/metrics"'
            in (await client.get("/metrics")).text
        )
        away = {"X-Forwarded-For": "192.0.2.1"}
        assert (await client.get("/metrics", headers=away)).status_code == 401
    for permissions, status in ((["node.read"], 403), (["metrics.read"], 200)):
        async with here.client(permissions) as client:
            assert (await client.get("/metrics", headers=away)).status_code == status


async def test_health_names_every_service(here: World) -> None:
    """One document for people, two words for load balancers."""
    async with here.client(None) as client:
        health = (await client.get("/health")).json()
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ok"}
    assert health["status"] == "ok"
    assert health["services"] == {"authority": True, "registry": True, "scheduler": True}


async def test_without_the_bus_the_gateway_is_not_ready(broker: Broker) -> None:
    """It lives, says so, answers 503 in time, and recovers by itself."""
    async with world(broker) as here, here.client(timeout=None) as client:
        await asyncio.to_thread(broker.kill)
        async with asyncio.timeout(20):
            while (await client.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.05)
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/api/v1/me")).status_code in {503, 504}
        await asyncio.to_thread(broker.start)
        async with asyncio.timeout(20):
            while (await client.get("/api/v1/me")).status_code != 200:
                await asyncio.sleep(0.1)


def test_a_limiter_admits_so_many_a_minute() -> None:
    """A burst, then a steady trickle; other addresses are not concerned."""
    now = 0.0
    limiter = Limiter(6, clock=lambda: now)

    def admitted(address: str) -> bool:
        try:
            limiter.admit(address)
        except TooMany:
            return False
        return True

    assert [admitted("a") for _ in range(8)] == [True] * 6 + [False] * 2
    assert admitted("b")
    now = 10.0
    assert [admitted("a") for _ in range(2)] == [True, False]
    now = 1000.0
    assert [admitted("a") for _ in range(7)] == [True] * 6 + [False]


def test_a_limiter_forgets_the_oldest() -> None:
    """Its memory is bounded, however many addresses come."""
    limiter = Limiter(1, clock=lambda: 0.0)
    for number in range(20_000):
        limiter.admit(str(number))
    assert len(limiter._left) == 10_000  # noqa: SLF001


async def test_a_head_request_is_answered_as_an_error_or_without_a_body(here: World) -> None:
    """Monitors that only ask for the head do no harm."""
    async with httpx.AsyncClient(base_url=here.url) as client:
        for path in ("/", "/login", "/healthz", "/api/v1/me"):
            answer = await client.head(path)
            assert answer.status_code < 500
            assert answer.content == b""
