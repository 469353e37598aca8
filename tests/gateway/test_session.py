"""Who is asking: logging in, tickets, cookies, forged requests."""

import asyncio

import pytest

from muster.contracts.authority import Exchange, Login
from muster.contracts.nodes import FleetStats
from muster.gateway.cookies import csrf_token
from muster.kit.testing import Broker
from tests.gateway.world import PASSWORD, World, csrf, world


async def test_logging_in_gives_a_hidden_cookie_and_a_readable_token(here: World) -> None:
    """Scripts cannot read the session; they can read what proves that a request is ours."""
    async with here.browser() as client:
        answer = await client.post("/api/v1/login", json={"name": "ada", "password": PASSWORD})
        assert answer.json()["name"] == "ada"
        session, token = answer.headers.get_list("set-cookie")
        assert session.startswith("muster=")
        assert "HttpOnly" in session
        assert "SameSite=lax" in session
        assert "Path=/" in session
        assert "Secure" not in session
        assert "HttpOnly" not in token
        assert (await client.get("/api/v1/me")).json()["permissions"] == ["*"]
    assert here.authority.last(Login).origin.address == "127.0.0.1"


async def test_cookies_are_secure_where_people_use_tls(one_broker: Broker) -> None:
    """The `__Host-` prefix and Secure keep the session away from other hosts and plain HTTP."""
    async with world(one_broker, public_url="https://muster.example") as here:
        here.secret()
        async with here.client(None) as client:
            answer = await client.post("/api/v1/login", json={"name": "ada", "password": PASSWORD})
        session, token = answer.headers.get_list("set-cookie")
        assert session.startswith("__Host-muster=")
        assert "Secure" in session
        assert "Secure" in token
        assert "Domain" not in session


async def test_a_wrong_password_is_refused_without_saying_which(here: World) -> None:
    """Nobody learns from the answer whether a name exists."""
    here.secret()
    async with here.client(None) as client:
        body = {"name": "ada", "password": "wrong"}
        known = await client.post("/api/v1/login", json=body)
        unknown = await client.post("/api/v1/login", json=body | {"name": "eve"})
    assert known.status_code == unknown.status_code == 401
    assert known.json() == unknown.json()


async def test_attempts_to_log_in_are_limited_by_address(one_broker: Broker) -> None:
    """Hashing a password costs much: one address cannot keep the authority busy."""
    async with world(one_broker, logins_per_minute=3) as here, here.client(None) as client:
        body = {"name": "eve", "password": "guess"}
        codes = [(await client.post("/api/v1/login", json=body)).status_code for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]
    assert here.authority.count(Login) == 3


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer unknown", "Basic abc", "Bearer \xff"])
async def test_without_a_session_nothing_is_told(here: World, header: str) -> None:
    """No header, an empty one, a foreign one: 401, as a problem document."""
    async with here.client(None) as client:
        headers = [(b"authorization", header.encode("latin-1"))]
        answer = await client.get("/api/v1/fleet/stats", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_expired_ticket_is_exchanged_anew(here: World) -> None:
    """A ticket is never used longer than it lives, however short that is."""
    here.authority.life = 0.5
    async with here.client() as client:
        for _ in range(3):
            assert (await client.get("/api/v1/fleet/stats")).status_code == 200
        before = here.authority.count(Exchange)
        await asyncio.sleep(0.6)
        assert (await client.get("/api/v1/fleet/stats")).status_code == 200
        assert here.authority.count(Exchange) == before + 1


async def test_a_burst_of_requests_asks_the_authority_once(here: World) -> None:
    """Twenty requests at once of one session are one exchange."""
    async with here.client() as client:
        await asyncio.gather(*(client.get("/api/v1/me") for _ in range(20)))
    assert here.authority.count(Exchange) == 1


async def test_logging_out_ends_the_session_at_once(here: World) -> None:
    """What the gateway still remembered of the session is gone with it."""
    async with here.browser() as client:
        secret = client.cookies["muster"]
        answer = await client.post("/api/v1/logout", headers=csrf(client))
        assert answer.status_code == 204
        assert "muster" not in client.cookies
        late = await client.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"})
        assert late.status_code == 401


async def test_a_browser_must_prove_that_a_change_is_its_own(here: World) -> None:
    """A cookie alone changes nothing: a forged form could bring it."""
    async with here.browser() as client:
        for headers in ({}, {"X-Muster-CSRF": ""}, {"X-Muster-CSRF": csrf_token("other")}):
            answer = await client.post("/api/v1/join-tokens", json={}, headers=headers)
            assert answer.status_code == 403
            assert answer.json()["code"] == "denied"
        good = await client.post("/api/v1/join-tokens", json={}, headers=csrf(client))
        assert good.status_code == 201


async def test_a_planted_token_does_not_help(here: World) -> None:
    """The token belongs to the session: setting cookie and header alike is not enough."""
    async with here.browser() as client:
        client.cookies.set("muster_csrf", "planted", domain="127.0.0.1")
        answer = await client.post(
            "/api/v1/join-tokens", json={}, headers={"X-Muster-CSRF": "planted"}
        )
        assert answer.status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_another_sites_page_changes_nothing(here: World, origin: str) -> None:
    """Even with the right token, and on the login itself."""
    async with here.browser() as client:
        headers = csrf(client) | {"Origin": origin}
        assert (await client.post("/api/v1/logout", headers=headers)).status_code == 403
        body = {"name": "ada", "password": PASSWORD}
        foreign = await client.post("/api/v1/login", json=body, headers={"Origin": origin})
        assert foreign.status_code == 403
        own = csrf(client) | {"Origin": here.url}
        assert (await client.post("/api/v1/logout", headers=own)).status_code == 204


async def test_who_has_a_one_time_password_changes_it_first(here: World) -> None:
    """In a browser nothing else works; afterwards everything does."""
    async with here.browser(must_change_password=True) as client:
        assert (await client.get("/api/v1/me")).json()["must_change_password"] is True
        refused = await client.get("/api/v1/fleet/stats")
        assert refused.status_code == 403
        body = {"old": PASSWORD, "new": "ten chars or more"}
        changed = await client.post("/api/v1/me/password", json=body, headers=csrf(client))
        assert changed.status_code == 204
        stats = await client.get("/api/v1/fleet/stats")
        assert FleetStats.model_validate_json(stats.content).nodes == 1


async def test_a_short_password_is_refused_by_name_of_the_field(here: World) -> None:
    """The answer names the field and does not repeat what was typed."""
    async with here.client() as client:
        answer = await client.post("/api/v1/me/password", json={"old": "x", "new": "short"})
    assert answer.status_code == 400
    assert [wrong["field"] for wrong in answer.json()["errors"]] == ["new"]
    assert "short" not in answer.json()["detail"].replace("shorter", "")


async def test_the_address_of_a_proxy_is_believed_only_if_it_is_trusted(
    one_broker: Broker,
) -> None:
    """`X-Forwarded-For` of a stranger does not reach the audit."""
    headers = {"X-Forwarded-For": "192.0.2.7"}
    body = {"name": "eve", "password": "x"}
    async with world(one_broker) as here, here.client(None) as client:
        await client.post("/api/v1/login", json=body, headers=headers)
        assert here.authority.last(Login).origin.address == "127.0.0.1"
    async with (
        world(one_broker, trusted_proxies=["127.0.0.1"]) as here,
        here.client(None) as client,
    ):
        await client.post("/api/v1/login", json=body, headers=headers)
        assert here.authority.last(Login).origin.address == "192.0.2.7"


async def test_a_change_of_rights_is_not_seen_as_an_error(here: World) -> None:
    """A ticket of before the change is replaced, once, before anybody is answered."""
    async with here.client() as client:
        assert (await client.get("/api/v1/nodes")).status_code == 200
        await here.change_rights("ada", ["node.read"], told=False)
        assert (await client.get("/api/v1/nodes")).status_code == 200
        assert (await client.get("/api/v1/runs")).status_code == 403
        here.authority.sessions.clear()
        await here.change_rights("ada", ["*"], told=False)
        answer = await client.get("/api/v1/nodes")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_the_gateway_forgets_tickets_when_it_hears_of_a_change(here: World) -> None:
    """What it decides itself, it decides by the new rights."""
    async with here.client() as client:
        assert len((await client.get("/api/v1/me")).json()["permissions"]) == 1
        await here.change_rights("ada", ["node.read"])
        async with asyncio.timeout(2):
            while (await client.get("/api/v1/me")).json()["permissions"] != ["node.read"]:
                await asyncio.sleep(0.01)


async def test_an_invitation_is_accepted_in_a_browser(here: World) -> None:
    """It begins a session; a wrong one does not say why; another site cannot do it."""
    body = {"secret": "s3cret", "password": "a long password"}
    async with here.client(None) as client:
        answer = await client.post("/api/v1/invitations/accept", json=body)
        assert (answer.status_code, answer.json()["name"]) == (200, "li")
        assert (await client.get("/api/v1/me")).json()["name"] == "li"
    async with here.client(None) as client:
        wrong = await client.post("/api/v1/invitations/accept", json=body | {"secret": "x"})
        assert (wrong.status_code, len(client.cookies)) == (404, 0)
        foreign = await client.post(
            "/api/v1/invitations/accept", json=body, headers={"Origin": "https://evil.example"}
        )
        assert foreign.status_code == 403
