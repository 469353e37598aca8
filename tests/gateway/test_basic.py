"""App passwords by HTTP Basic: on routes that have declared it, and nowhere else."""

import asyncio
import base64
import re
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from muster.contracts.authority import Exchange
from muster.gateway.app import create_app
from muster.gateway.gate import Me
from muster.gateway.openapi import SELF, declared
from muster.gateway.server import listening
from muster.gateway.settings import Settings
from muster.kit.testing import Broker
from tests.gateway.test_edge import VALUES
from tests.gateway.world import ALL, PASSWORD, World, person, world

READS = {
    "getMe", "listNodes", "getNode", "getFleetStats", "getMetrics", "getLatestMetrics", "listRuns",
    "getRun", "listRunEvents", "getOutput", "listFiles", "getFile", "listAudit", "verifyAudit",
}  # fmt: skip


def app_password(here: World, permissions: list[str] = ALL, name: str = "ada") -> httpx.BasicAuth:
    """Return name and app password of somebody with *permissions*."""
    here.authority.people[name] = person(name, permissions)
    secret = f"app-{len(here.authority.sessions)}"
    here.authority.sessions[secret] = name
    return httpx.BasicAuth(name, secret)


async def described(client: httpx.AsyncClient) -> list[tuple[str, str, str, Any]]:
    """Return every route: operation, method, path, and the whole of it."""
    document = (await client.get("/api/v1/openapi.json")).json()
    return [
        (one["operationId"], method, path, one)
        for path, operations in document["paths"].items()
        for method, one in operations.items()
    ]


async def test_only_what_reads_takes_it(here: World) -> None:
    """And says so: in its declaration, in the document, and by its answer."""
    auth = app_password(here)
    async with here.client(None) as client:
        for operation, method, path, one in await described(client):
            assert one.get("x-basic", False) == (operation in READS), operation
            assert ({"basic": []} in one.get("security", [])) == (operation in READS)
            if one["x-permission"] == "public" or operation == "getFigures":
                continue
            where = re.sub(r"\{(\w+)\}", lambda match: VALUES[match[1]], path)
            query = "?path=x" if operation == "getFile" else ""
            answer = await client.request(method, where + query, auth=auth)
            assert (answer.status_code != 401) == (operation in READS), (operation, answer.text)
            assert method == "get" or operation not in READS


async def test_it_is_who_it_says_with_the_rights_of_its_scopes(here: World) -> None:
    """The service decides, as for everybody."""
    auth = app_password(here, ["node.read"])
    async with here.client(None) as client:
        assert (await client.get("/api/v1/me", auth=auth)).json()["name"] == "ada"
        assert (await client.get("/api/v1/nodes", auth=auth)).status_code == 200
        assert (await client.get("/api/v1/audit", auth=auth)).status_code == 403


async def test_a_password_or_a_token_is_no_app_password(here: World) -> None:
    """Nor is an app password a token, or good with another name, even when it is remembered."""
    auth, token = app_password(here), here.secret()
    app = list(here.authority.sessions)[-2]
    async with here.client(None) as client:
        assert (await client.get("/api/v1/me", auth=auth)).status_code == 200
        for wrong in (("ada", PASSWORD), ("ada", token), ("eve", app), ("", app), ("ada", "")):
            answer = await client.get("/api/v1/me", auth=wrong)
            assert answer.status_code == 401, wrong
            assert "basic" not in answer.headers["www-authenticate"].lower()
        for said in (app, f"ada:{app}"):
            bearer = {"Authorization": f"Bearer {said}"}
            assert (await client.get("/api/v1/me", headers=bearer)).status_code == 401
            cookie = {"Cookie": f"muster={said}"}
            assert (await client.get("/api/v1/me", headers=cookie)).status_code == 401


@pytest.mark.parametrize(
    "given", ["x", "====", "\xe4", "YQ==", "OmE=", base64.b64encode(b"\xff:\xff").decode(),
              base64.b64encode(b"a:" + b"x" * 4000).decode()]
)  # fmt: skip
async def test_a_header_that_cannot_be_read_is_nobody(here: World, given: str) -> None:
    """And the authority is not bothered with it."""
    async with here.client(None) as client:
        headers = {b"Authorization": f"Basic {given}".encode("latin-1")}
        answer = await client.get("/api/v1/me", headers=headers)
    assert answer.status_code == 401
    assert here.authority.count(Exchange) == 0


async def test_a_session_goes_before_it(here: World) -> None:
    """A proxy that has its own use for the header locks nobody out who has logged in."""
    async with here.browser() as client:
        answer = await client.get("/api/v1/me", auth=("proxy", "x"))
        assert answer.json()["name"] == "ada"


async def test_what_has_ended_is_forgotten_at_once(here: World) -> None:
    """The ticket that is kept for a moment goes with the rights."""
    auth = app_password(here)
    async with here.client(None) as client:
        assert (await client.get("/api/v1/nodes", auth=auth)).status_code == 200
        here.authority.sessions.clear()
        await here.change_rights("ada", ["*"])
        async with asyncio.timeout(2):
            while (await client.get("/api/v1/nodes", auth=auth)).status_code != 401:
                await asyncio.sleep(0.01)


async def test_guessing_is_slow(one_broker: Broker) -> None:
    """One address has few tries a minute, whatever names it uses; who is known is not counted."""
    async with world(one_broker, logins_per_minute=3) as here, here.client(None) as client:
        auth = app_password(here)
        for _ in range(10):
            assert (await client.get("/api/v1/me", auth=auth)).status_code == 200
        tries = [await client.get("/api/v1/me", auth=(f"n{i}", "guess")) for i in range(4)]
        assert [one.status_code for one in tries] == [401, 401, 429, 429]
        assert (await client.get("/api/v1/me", auth=auth)).status_code == 200


async def test_pages_of_other_sites_change_nothing_by_it(one_broker: Broker) -> None:
    """A browser that remembers an app password would send it for them."""
    router = APIRouter()

    @router.put("/thing", **declared(SELF, "putThing", basic=True))
    async def put(me: Me) -> str:
        return me.person.name

    async with world(one_broker) as here, one_broker.connect("gateway") as bus:
        auth = app_password(here)
        settings = Settings(data_dir=one_broker.data_dir, port=0)
        app: Any = create_app(bus, settings)
        app.app.include_router(router)
        async with listening(app, settings) as url, httpx.AsyncClient(auth=auth) as client:
            assert (await client.put(f"{url}/thing")).json() == "ada"
            for origin in ("https://evil.example", "null"):
                answer = await client.put(f"{url}/thing", headers={"Origin": origin})
                assert answer.status_code == 403
