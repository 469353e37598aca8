"""The way through an identity provider, as the browser goes it."""

import httpx
import pytest

from muster.contracts.errors import Unavailable
from muster.contracts.oidc import FinishOidc, LinkOidc, StartOidc
from muster.kit.testing import Broker
from tests.gateway.test_pages import field
from tests.gateway.world import PASSWORD, World, world

BACK = "/login/oidc/callback?state=s1&code=c1"


def cookie(answer: httpx.Response, name: str) -> str:
    """Return what an answer says of one cookie."""
    told = answer.headers.get_list("set-cookie")
    return next((one for one in told if one.startswith(f"{name}=")), "")


async def test_the_login_page_offers_the_provider(here: World) -> None:
    """As a link with the way on; without JavaScript, and whatever the provider is called."""
    async with here.client(None) as client:
        page = await client.get("/login?next=/device%3Fcode%3Dx")
        assert "Sign in with &lt;Acme&gt;" in page.text
        assert 'href="/login/oidc?next=/device%3Fcode%3Dx"' in page.text
        away = await client.get("/login/oidc?next=/device%3Fcode%3Dx")
    assert (away.status_code, away.headers["location"]) == (303, "https://acme.example/?x=1&y")
    asked = here.authority.last(StartOidc)
    assert (asked.next, asked.origin.address) == ("/device?code=x", "127.0.0.1")
    kept = cookie(away, "muster_away").lower()
    assert kept.startswith("muster_away=b4;")
    assert "httponly" in kept
    assert "samesite=lax" in kept


async def test_over_tls_the_cookie_is_for_this_host_alone(one_broker: Broker) -> None:
    """No other host of the domain can plant one."""
    async with world(one_broker, public_url="https://muster.example") as here:
        async with here.client(None) as client:
            away = await client.get("/login/oidc")
        kept = cookie(away, "__Host-muster_away").lower()
        assert "secure" in kept
        assert "path=/" in kept
        assert "domain" not in kept


async def test_who_comes_back_is_let_in(here: World) -> None:
    """In the browser that went away; the cookie is taken, and the way on stays on this site."""
    here.secret()
    async with here.client(None) as client:
        await client.get("/login/oidc")
        done = await client.get(BACK)
        assert (done.status_code, done.headers["location"]) == (303, "/")
        assert client.cookies["muster"] == "secret-by-acme"
        assert "muster_away" not in client.cookies
        assert here.authority.last(FinishOidc).code == "c1"
        assert (await client.get("/login?next=/factor")).headers["location"] == "/factor"


async def test_another_browser_is_not_let_in(here: World) -> None:
    """Somebody else's link logs nobody in; a second time, neither, and the page says what to do."""
    async with here.client(None) as client:
        late = await client.get(BACK)
        assert late.status_code == 410
        assert "Please begin again" in late.text
        assert "muster" not in client.cookies
        late = await client.get(BACK, headers={"accept-language": "zh"})
        assert "请重新开始" in late.text
        refused = await client.get("/login/oidc/callback?state=s1&error=<b>access_denied")
        assert refused.status_code == 403
        assert "&lt;b&gt;access_denied" in refused.text
        assert (await client.get(f"/login/oidc/callback?code={'x' * 9000}")).status_code == 410


async def test_somebody_links_themselves(here: World) -> None:
    """With their password, and by a link that they see before they go."""
    async with here.client(None) as client:
        assert (await client.get("/identity")).headers["location"] == "/login?next=/identity"
        assert (await client.post("/identity")).headers["location"] == "/login?next=/identity"
    async with here.browser() as client:
        page = await client.get("/identity")
        assert "&lt;Acme&gt;" in page.text
        assert (await client.post("/identity", data={"password": "x"})).status_code == 403
        assert here.authority.count(LinkOidc) == 0
        form = {"csrf": field(page, "csrf"), "password": PASSWORD}
        foreign = {"origin": "https://evil.example"}
        assert (await client.post("/identity", data=form, headers=foreign)).status_code == 403
        shown = await client.post("/identity", data=form)
        assert 'href="https://acme.example/?x=1&amp;y"' in shown.text
        assert "muster_away=b5" in cookie(shown, "muster_away")
        assert here.authority.last(LinkOidc).password == PASSWORD


async def test_a_provider_that_is_away_is_told(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what it is, with another way to come in; the rest of the page works."""

    def away(ask: object, caller: object) -> None:
        raise Unavailable("Acme does not answer as it should: 10.0.0.9")

    monkeypatch.setattr(here.authority, "note", away)
    async with here.client(None) as client:
        answer = await client.get("/login/oidc?next=/factor")
    assert answer.status_code == 503
    assert "That way is closed at the moment" in answer.text
    assert "10.0.0.9" not in answer.text
    assert 'name="password"' in answer.text


async def test_a_flood_of_logins_is_slowed_down(one_broker: Broker) -> None:
    """One address cannot send the authority to the provider again and again."""
    async with world(one_broker, logins_per_minute=2) as here, here.client(None) as client:
        codes = [(await client.get("/login/oidc")).status_code for _ in range(4)]
        assert codes == [303, 303, 429, 429]
        assert (await client.get(BACK)).status_code == 429
