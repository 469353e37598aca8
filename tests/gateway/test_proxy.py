"""The dashboard behind the gateway: only for people who have logged in, and passed on whole."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from muster.contracts.authority import Exchange
from muster.gateway import pipe
from muster.kit.testing import Broker, free_port
from tests.gateway.upstream import dashboard
from tests.gateway.world import World, csrf, world

PAGE = {"Accept": "text/html,*/*"}


@pytest.fixture(params=["unix", "tcp"])
async def board(
    request: pytest.FixtureRequest, one_broker: Broker, tmp_path: Path
) -> AsyncGenerator[World]:
    """Return a gateway with a dashboard behind it."""
    port = free_port()
    path = tmp_path / "d" if request.param == "unix" else None
    target = f"unix:{path}" if path else f"http://127.0.0.1:{port}"
    async with dashboard(path, port), world(one_broker, dashboard=target) as opened:
        yield opened


def opened(here: World, cookie: str, origin: str | None, path: str = "_stcore/stream") -> connect:
    """Open the dashboard's WebSocket as a browser does."""
    headers = {"Cookie": cookie}
    if origin:
        headers["Origin"] = origin
    url = f"{here.url.replace('http', 'ws')}/dashboard/{path}"
    protocols: Any = ["streamlit", "xsrf-token", "session-id"]
    return connect(
        url, additional_headers=headers, subprotocols=protocols, proxy=None, max_size=8 << 20
    )


async def test_a_request_is_passed_on_with_the_persons_cookie(board: World) -> None:
    """Method, path, query, headers and body; never a header that says who somebody is."""
    async with board.browser() as client:
        lies = {"X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4", "X-Mine": "kept"}
        answer = await client.get("/dashboard/a%20b/c?x=1&y=%2F", headers=lies)
        told = answer.json()
        assert (told["path"], told["query"]) == ("/dashboard/a%20b/c", "x=1&y=%2F")
        headers = told["headers"]
        assert client.cookies["muster"] in headers["cookie"]
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "http"
        assert headers["host"] == board.url.removeprefix("http://")
        assert headers["x-mine"] == "kept"
        assert "forwarded" not in headers
        assert answer.headers["x-own"] == "kept"
        assert len(answer.headers.get_list("set-cookie")) == 2


async def test_the_dashboards_pages_get_the_policy_that_they_need(board: World) -> None:
    """Looser than ours, and still no other site's frames, forms or objects."""
    async with board.browser() as client:
        answer = await client.get("/dashboard/")
    policy = answer.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert "'unsafe-eval'" in policy[0]
    assert "frame-ancestors 'none'" in policy[0]
    assert "object-src 'none'" in policy[0]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_body_is_passed_on_and_an_answer_streams(board: World) -> None:
    """Neither is held back until it is whole."""
    async with board.browser() as client:
        sent = await client.put("/dashboard/upload", content=b"x" * 500_000)
        assert (sent.json()["method"], sent.json()["size"]) == ("PUT", 500_000)
        async with client.stream("GET", "/dashboard/stream") as answer:
            parts = answer.aiter_raw()
            assert await anext(parts) == b"first"
            assert await anext(parts) == b"second"


async def test_the_way_to_the_dashboard_ends_with_a_slash(board: World) -> None:
    """Streamlit's own links are relative."""
    async with board.browser() as client:
        assert (await client.get("/")).headers["location"] == "/dashboard/"
        assert (await client.get("/dashboard")).headers["location"] == "/dashboard/"


async def test_who_has_not_logged_in_is_led_to_the_login(board: World) -> None:
    """And back again afterwards; programs get a problem document."""
    async with board.client(None) as client:
        page = await client.get("/dashboard/run?node=web1&x=2", headers=PAGE)
        assert page.status_code == 303
        assert page.headers["location"] == "/login?next=%2Fdashboard%2Frun%3Fnode%3Dweb1%26x%3D2"
        asset = await client.get("/dashboard/static/x.js")
        assert (asset.status_code, asset.json()["code"]) == (401, "unauthenticated")
    async with board.client() as program:
        bearer = await program.get("/dashboard/")
        assert bearer.status_code == 401


async def test_who_has_a_one_time_password_is_led_to_change_it(board: World) -> None:
    """The dashboard has nothing for them yet, neither a page nor a WebSocket."""
    async with board.browser(must_change_password=True) as client:
        page = await client.get("/dashboard/", headers=PAGE)
        assert page.headers["location"] == "/password"
        with pytest.raises(InvalidStatus):
            async with opened(board, f"muster={client.cookies['muster']}", board.url):
                pass


async def test_another_sites_page_sends_nothing_to_the_dashboard(board: World) -> None:
    """A forged upload or deletion stops at the gateway."""
    async with board.browser() as client:
        for origin in ("https://evil.example", "null"):
            answer = await client.put("/dashboard/upload", headers={"Origin": origin})
            assert answer.status_code == 403


async def test_paths_that_lead_upwards_lead_nowhere(board: World) -> None:
    """What is behind the prefix stays behind it."""
    async with board.browser() as client:
        for path in ("/dashboard/%2e%2e/secret", "/dashboard/a/..%2f..%2fsecret"):
            assert (await client.get(path)).status_code == 404


async def test_a_websocket_is_passed_on_both_ways(board: World) -> None:
    """Texts, bytes larger than a buffer, the chosen protocol, the closing code."""
    async with (
        board.browser() as client,
        opened(board, f"muster={client.cookies['muster']}", board.url) as socket,
    ):
        assert socket.subprotocol == "streamlit"
        headers = json.loads(await socket.recv())
        assert headers["sec-websocket-protocol"].replace(" ", "") == (
            "streamlit,xsrf-token,session-id"
        )
        assert headers["host"] == board.url.removeprefix("http://")
        assert headers["origin"] == board.url
        assert client.cookies["muster"] in headers["cookie"]
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await socket.send("bytes")
        assert await socket.recv() == bytes(range(256)) * 8192
        await socket.send("bye")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (4321, "bye")


async def test_a_websocket_needs_a_session_and_our_own_page(board: World) -> None:
    """Refused before it is accepted, and the dashboard hears nothing of it."""
    known = f"muster={board.secret()}"
    refusals = [
        ("muster=unknown", board.url, 401),
        (known, None, 403),
        (known, "https://evil.example", 403),
        (known, "null", 403),
    ]
    for cookie, origin, status in refusals:
        with pytest.raises(InvalidStatus) as refused:
            async with opened(board, cookie, origin):
                pass
        assert refused.value.response.status_code == status


async def test_the_dashboards_websocket_ends_with_the_session(
    board: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By logging out at once; if it was revoked elsewhere, at the next look."""
    async with board.browser() as client:
        cookie = f"muster={client.cookies['muster']}"
        async with opened(board, cookie, board.url) as socket:
            await socket.recv()
            await client.post("/api/v1/logout", headers=csrf(client))
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1008
    monkeypatch.setattr(pipe, "BEAT", 0.2)
    secret = board.secret()
    async with opened(board, f"muster={secret}", board.url) as socket:
        await socket.recv()
        del board.authority.sessions[secret]
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1008
    assert board.authority.last(Exchange).secret == secret


async def test_a_dashboard_that_is_away_has_a_page_that_waits(
    one_broker: Broker, tmp_path: Path
) -> None:
    """It tries again by itself; programs get a problem document; afterwards all is well."""
    path = tmp_path / "d"
    async with world(one_broker, dashboard=f"unix:{path}") as here, here.browser() as client:
        page = await client.get("/dashboard/", headers=PAGE)
        assert page.status_code == 502
        assert 'http-equiv="refresh"' in page.text
        program = await client.get("/dashboard/_stcore/health")
        assert (program.status_code, program.json()["code"]) == (502, "unavailable")
        with pytest.raises(InvalidStatus) as refused:
            async with opened(here, f"muster={client.cookies['muster']}", here.url):
                pass
        assert refused.value.response.status_code == 502
        async with dashboard(path):
            assert (await client.get("/dashboard/", headers=PAGE)).status_code == 200


async def test_a_dashboard_that_ends_takes_its_websockets_with_it(
    one_broker: Broker, tmp_path: Path
) -> None:
    """The browser notices at once, and reconnects by itself."""
    path = tmp_path / "d"
    async with world(one_broker, dashboard=f"unix:{path}") as here:
        async with dashboard(path):
            socket = await opened(here, f"muster={here.secret()}", here.url)
            await socket.recv()
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionClosed):
                await socket.recv()


async def test_without_a_dashboard_there_is_none(here: World) -> None:
    """404, and the start page shows what there is."""
    async with here.browser() as client:
        assert (await client.get("/dashboard/")).status_code == 404
        assert "/api/v1/docs" in (await client.get("/")).text
        with pytest.raises(InvalidStatus):
            async with opened(here, f"muster={client.cookies['muster']}", here.url):
                pass
