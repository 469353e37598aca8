"""The pages that work without JavaScript, in two languages."""

import html
import json
import re
from importlib import resources
from string import Formatter

import httpx
import pytest

from muster.contracts.authority import ChangePassword, Exchange
from muster.contracts.devices import ApproveDevice
from muster.contracts.people import Accept
from muster.gateway.languages import LANGUAGES
from muster.kit.testing import Broker
from tests.gateway.world import PASSWORD, World, world

TEXTS = resources.files("muster.gateway") / "texts"


def field(page: httpx.Response, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found is not None
    return html.unescape(found[1])


async def sign_in(client: httpx.AsyncClient, **more: str) -> httpx.Response:
    """Fill in the login form and send it."""
    page = await client.get("/login", params=more)
    form = {"name": "ada", "password": PASSWORD, "csrf": field(page, "csrf")}
    return await client.post("/login", data=form | {"next": field(page, "next")} | more)


def catalogue(language: str) -> dict[str, str]:
    """Return the texts of a language."""
    texts: dict[str, str] = json.loads((TEXTS / f"{language}.json").read_text("utf-8"))
    return texts


def test_every_text_is_there_in_every_language() -> None:
    """The same keys, the same placeholders, nothing empty, nothing left in English."""
    english = catalogue("en")
    for language in LANGUAGES:
        texts = catalogue(language)
        assert list(texts) == list(english)
        for key, text in texts.items():
            assert text.strip(), key
            names = [
                sorted(name for _, name, *_ in Formatter().parse(one) if name)
                for one in (text, english[key])
            ]
            assert names[0] == names[1], key
    same = {key for key, text in catalogue("zh").items() if text == english[key]}
    assert same == {"home.title", "home.api", "api.title"}


def test_every_text_is_used_and_every_used_text_is_there() -> None:
    """A key that no template and no module names is left over."""
    folder = resources.files("muster.gateway")
    sources = [one.read_text("utf-8") for one in (folder / "templates").iterdir()]
    modules = [one for one in folder.iterdir() if one.name.endswith("pages.py")]
    sources += [one.read_text("utf-8") for one in modules]
    named = set(re.findall(r"""["']([a-z]+\.[a-z_.]+[a-z])["']""", "\n".join(sources)))
    keys = set(catalogue("en"))
    free = {key for key in keys if key.startswith("error.") and key != "error.home"}
    assert keys - named - free == set()
    assert {
        name for name in named if name.split(".")[0] in {k.split(".")[0] for k in keys}
    } - keys <= {
        "error.html",
        "login.html",
        "logout.html",
        "password.html",
        "home.html",
        "invitation.html",
        "code.html",
        "factor.html",
        "device.html",
        "identity.html",
        "passkey.html",
        "passkey.js",
        "passkeys.html",
        "waiting.html",
        "api.html",
    }


async def test_a_person_signs_in_with_a_second_factor(here: World) -> None:
    """The password leads to the code, a wrong code to another try, and the API asks as well."""
    here.secret(name="two")
    here.authority.two_steps.add("two")
    async with here.client(None) as client:
        page = await client.get("/login?next=/factor")
        form = {"name": "two", "password": PASSWORD, "csrf": field(page, "csrf"), "next": "/factor"}
        asked = await client.post("/login", data=form)
        assert (asked.status_code, field(asked, "half")) == (200, "half-a-secret")
        assert PASSWORD not in asked.text
        code = {name: field(asked, name) for name in ("csrf", "half", "next")}
        wrong = await client.post("/login/code", data={**code, "code": "000000"})
        assert wrong.status_code == 401
        assert field(wrong, "half") == "half-a-secret"
        foreign = await client.post("/login/code", data={**code, "csrf": "x", "code": "123456"})
        assert foreign.status_code == 403
        done = await client.post("/login/code", data={**code, "code": "123456"})
        assert (done.status_code, done.headers["location"]) == (303, "/factor")
        api = await client.post("/api/v1/login", json={"name": "two", "password": PASSWORD})
        assert (api.status_code, api.json()["code"]) == (401, "second_factor")


async def test_a_second_factor_is_set_up_on_a_page(here: World) -> None:
    """Password, QR code, first code, recovery codes; with forms alone."""
    async with here.client(None) as client:
        assert (await client.get("/factor")).headers["location"].startswith("/login")
    async with here.browser() as client:
        page = await client.get("/factor")
        start = {"csrf": field(page, "csrf"), "password": PASSWORD}
        shown = await client.post("/factor", data=start)
        assert "<svg" in shown.text
        assert "ABC" in shown.text
        code = {"csrf": field(shown, "csrf"), "secret": "ABC", "code": "123456"}
        done = await client.post("/factor/confirm", data=code)
        assert "ab-cd" in done.text
        assert (await client.post("/factor", data={"password": "x"})).status_code == 403


async def test_a_command_line_is_let_in_on_a_page(here: World) -> None:
    """Code, who it is, yes; a link alone does nothing, and a foreign form is refused."""
    async with here.client(None) as client:
        away = await client.get("/device?code=BCDF-GHJK")
        assert away.headers["location"] == "/login?next=/device%3Fcode%3DBCDFGHJK"
        started = await client.post("/api/v1/device", json={"name": "laptop"})
        assert started.json()["code"] == "BCDF-GHJK"
        waits = await client.post("/api/v1/device/token", json={"secret": "s3"})
        assert waits.json() == {"token": ""}
    async with here.browser() as client:
        assert 'name="code"' in (await client.get("/device")).text
        page = await client.get("/device?code=bcdf-ghjk")
        assert "&lt;laptop&gt;" in page.text
        assert here.authority.count(ApproveDevice) == 0
        form = {"csrf": field(page, "csrf"), "code": field(page, "code"), "yes": "yes"}
        assert (await client.post("/device", data={**form, "csrf": "x"})).status_code == 403
        done = await client.post("/device", data=form)
        assert done.status_code == 200
        assert here.authority.last(ApproveDevice).code == "bcdfghjk"


async def test_an_invited_person_comes_in_by_the_link(here: World) -> None:
    """With forms alone; a wrong password, a wrong code and a foreign form are told on the page."""
    async with here.client(None) as client:
        page = await client.get("/invitation?code=s3cret")
        assert 'name="code" value="s3cret"' in page.text
        assert "s3cret" not in page.headers.get("location", "")
        assert 'id="code"' in (await client.get("/invitation")).text
        token = field(page, "csrf")
        form = {"csrf": token, "code": "s3cret", "new": "a good password", "again": "other"}
        assert (await client.post("/invitation", data=form)).status_code == 400
        form["again"] = form["new"]
        foreign = await client.post("/invitation", data={**form, "csrf": "x"})
        assert foreign.status_code == 403
        done = await client.post("/invitation", data=form)
        assert (done.status_code, done.headers["location"]) == (303, "/")
        assert here.authority.count(Accept) == 1
        assert (await client.get("/")).status_code in {200, 303}


async def test_a_person_signs_in_and_comes_where_they_wanted(here: World) -> None:
    """With forms alone."""
    here.secret()
    async with here.client(None) as client:
        answer = await sign_in(client, next="/dashboard/run?x=1")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/dashboard/run?x=1"
        assert (await client.get("/api/v1/me")).json()["name"] == "ada"
        again = await client.get("/login", params={"next": "/password"})
        assert (again.status_code, again.headers["location"]) == (303, "/password")


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "/\t/evil", "evil"],
)
async def test_signing_in_never_leads_to_another_site(here: World, target: str) -> None:
    """What a link says after `next` is a path here, or ignored."""
    here.secret()
    async with here.client(None) as client:
        answer = await sign_in(client, next=target)
        assert answer.headers["location"] == "/"
        spoken = await client.post("/language", data={"to": "zh", "next": target})
        assert spoken.headers["location"] == "/"


async def test_a_forged_login_is_refused(here: World) -> None:
    """Nobody is signed in as somebody else by another site's form."""
    here.secret()
    async with here.client(None) as client:
        page = await client.get("/login")
        form = {"name": "ada", "password": PASSWORD}
        for csrf in ("", "guess"):
            answer = await client.post("/login", data=form | {"csrf": csrf})
            assert answer.status_code == 403
            assert "muster" not in client.cookies
        foreign = {"Origin": "https://evil.example"}
        data = form | {"csrf": field(page, "csrf")}
        assert (await client.post("/login", data=data, headers=foreign)).status_code == 403


async def test_a_wrong_password_says_so_and_keeps_the_name(here: World) -> None:
    """In the person's language, with the name still there, escaped."""
    async with here.client(None) as client:
        page = await client.get("/login")
        form = {"name": '"><script>', "password": "x", "csrf": field(page, "csrf")}
        answer = await client.post("/login", data=form, headers={"Accept-Language": "zh-CN"})
    assert answer.status_code == 401
    assert catalogue("zh")["login.wrong"] in answer.text
    assert "<script>" not in answer.text
    assert "&#34;&gt;&lt;script&gt;" in answer.text


@pytest.mark.parametrize(
    ("header", "cookie", "language"),
    [
        ("", "", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "", "zh"),
        ("fr, en;q=0.5, zh;q=0.7", "", "zh"),
        ("en-GB,en;q=0.9", "zh", "zh"),
        ("zh", "xx", "zh"),
        ("zh;q=x, en;q=0.1", "", "en"),
        ("*, ;q=,,", "", "en"),
    ],
)
async def test_the_language_is_the_chosen_or_the_preferred_one(
    here: World, header: str, cookie: str, language: str
) -> None:
    """A choice by hand wins over the browser's wish."""
    headers = {"Accept-Language": header}
    if cookie:
        headers["Cookie"] = f"muster_lang={cookie}"
    async with here.client(None) as client:
        page = await client.get("/login", headers=headers)
    assert f'<html lang="{language}">' in page.text
    assert catalogue(language)["login.password"] in page.text


async def test_the_language_is_changed_with_a_button(here: World) -> None:
    """And the person stays on the page."""
    async with here.client(None) as client:
        page = await client.get("/login", params={"next": "/x"})
        data = {"to": "zh", "next": "/login?next=/x"}
        assert ('value="/login?next=%2Fx"') in page.text
        answer = await client.post("/language", data=data)
        assert answer.headers["location"] == "/login?next=/x"
        assert '<html lang="zh">' in (await client.get("/login")).text


async def test_the_one_time_password_is_changed_on_a_page(here: World) -> None:
    """Each mistake is named; afterwards the way is free."""
    here.secret(must_change_password=True)
    async with here.client(None) as client:
        assert (await sign_in(client)).headers["location"] == "/password"
        page = await client.get("/password")
        assert catalogue("en")["password.must"] in page.text
        new = "a new password"
        good = {"old": PASSWORD, "new": new, "again": new, "csrf": field(page, "csrf")}
        mistakes = [
            ({"again": "another one"}, "password.differ", 400),
            ({"new": "short", "again": "short"}, "password.short", 400),
            ({"new": PASSWORD, "again": PASSWORD}, "password.same", 400),
            ({"old": "wrong"}, "password.wrong", 401),
            ({"csrf": "guess"}, "form.forged", 403),
        ]
        for mistake, key, status in mistakes:
            answer = await client.post("/password", data=good | mistake)
            assert answer.status_code == status
            assert catalogue("en")[key] in html.unescape(answer.text)
        answer = await client.post("/password", data=good)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert here.authority.last(ChangePassword).new == new
        assert (await client.get("/api/v1/fleet/stats")).status_code == 200


async def test_signing_out_takes_a_button(here: World) -> None:
    """A link, or a page that loads in the background, does not end a session."""
    async with here.browser() as client:
        page = await client.get("/logout")
        assert (await client.get("/api/v1/me")).status_code == 200
        assert (await client.post("/logout", data={"csrf": "guess"})).status_code == 403
        answer = await client.post("/logout", data={"csrf": field(page, "csrf")})
        assert answer.headers["location"] == "/login"
        assert "muster" not in client.cookies
    assert here.authority.sessions == {}


async def test_pages_for_people_lead_to_the_login(here: World) -> None:
    """Whoever is not signed in."""
    async with here.client(None) as client:
        for path in ("/", "/password", "/logout"):
            answer = await client.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login")


async def test_a_person_sees_a_page_for_an_error(here: World) -> None:
    """Without details, in their language, escaped; a program gets JSON."""
    page = {"Accept": "text/html", "Accept-Language": "zh"}
    async with here.client(None) as client:
        answer = await client.get("/<script>", headers=page)
        assert answer.status_code == 404
        assert catalogue("zh")["error.not_found"] in answer.text
        assert "<script>" not in answer.text
        program = await client.get("/nothing")
        assert program.json()["code"] == "not_found"


async def test_pages_bring_nothing_from_elsewhere(here: World) -> None:
    """No script at all, no inline style, no address of another host."""
    async with here.browser() as client:
        own = ("/factor", "/identity", "/passkeys", "/device")
        for path in ("/", "/login", "/password", "/logout", "/api/v1/docs", "/nothing", *own):
            page = await client.get(path, headers={"Accept": "text/html"})
            if page.status_code == 303:
                continue
            policy = page.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self'")
            assert "unsafe" not in policy
            assert "<script" not in page.text
            assert not re.search(r"\sstyle=|<style|https?://", page.text)
        style = await client.get("/static/muster.css")
        assert style.headers["content-type"] == "text/css; charset=utf-8"
        assert "url(" not in style.text
        assert (await client.get("/static/..%2fpages.py")).status_code == 404


async def test_the_login_says_when_the_server_is_in_trouble(one_broker: Broker) -> None:
    """And does not say that the password is wrong."""
    async with world(one_broker, logins_per_minute=1) as here, here.client(None) as client:
        here.secret()
        await sign_in(client)
        client.cookies.clear()
        answer = await sign_in(client)
        assert answer.status_code == 429
        assert catalogue("en")["login.too_many"] in answer.text
        assert here.authority.count(Exchange) == 0
