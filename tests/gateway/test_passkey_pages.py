"""The pages for passkeys; what a browser does with them is tested in tests/system."""

import re

import pytest

from muster.contracts.passkeys import (
    AddPasskey,
    AskForPasskey,
    DropPasskey,
    LoginByPasskey,
    RenamePasskey,
    ShowPasskey,
    StartPasskey,
)
from muster.kit.testing import Broker
from tests.gateway.test_pages import field
from tests.gateway.world import PASSWORD, RUN, World, world


async def test_a_login_with_a_passkey(here: World) -> None:
    """Button, question, answer; then the way on; a forged form and a wrong answer open nothing."""
    here.secret()
    async with here.client(None) as client:
        page = await client.get("/login?next=/factor")
        assert "Use a passkey" in page.text
        form = {"csrf": field(page, "csrf"), "next": "/factor"}
        asked = await client.post("/login/passkey", data=form)
        assert 'data-kind="get"' in asked.text
        assert 'data-options="{&#34;challenge&#34;:&#34;&lt;&gt;&#34;}"' in asked.text
        assert here.authority.last(AskForPasskey).half == ""
        back = {name: field(asked, name) for name in ("csrf", "next", "half")}
        no = await client.post("/login/passkey/answer", data={**back, "response": '"no"'})
        assert no.status_code == 401
        assert "not known here" in no.text
        forged = {**back, "csrf": "x", "response": '"yes"'}
        assert (await client.post("/login/passkey/answer", data=forged)).status_code == 403
        assert (await client.post("/login/passkey", data={})).status_code == 403
        assert here.authority.count(LoginByPasskey) == 1
        yes = await client.post("/login/passkey/answer", data={**back, "response": '"yes"'})
        assert (yes.status_code, yes.headers["location"]) == (303, "/factor")
        assert client.cookies["muster"] == "secret-by-passkey"


async def test_a_passkey_as_the_second_step(here: World) -> None:
    """The page for the code offers it; what goes wrong leads back to both."""
    here.secret(name="two")
    here.secret()
    here.authority.two_steps.add("two")
    async with here.client(None) as client:
        page = await client.get("/login")
        form = {"name": "two", "password": PASSWORD, "csrf": field(page, "csrf"), "next": "/"}
        code = await client.post("/login", data=form)
        assert "Use a passkey" in code.text
        half = {name: field(code, name) for name in ("csrf", "next", "half")}
        asked = await client.post("/login/passkey", data=half)
        assert here.authority.last(AskForPasskey).half == "half-a-secret"
        assert field(asked, "half") == "half-a-secret"
        no = await client.post("/login/passkey/answer", data={**half, "response": "no"})
        assert no.status_code == 401
        assert "Use a passkey" in no.text
        assert field(no, "half") == "half-a-secret"
        wrong = await client.post("/login/code", data={**half, "passkey": "1", "code": "000000"})
        assert "Use a passkey" in wrong.text


async def test_passkeys_are_added_shown_renamed_and_removed(here: World) -> None:
    """With the token of the page each time; recovery codes are shown once."""
    async with here.client(None) as client:
        for path in ("", "/add", "/show", "/shown"):
            away = await client.post(f"/passkeys{path}")
            assert away.headers["location"] == "/login?next=/passkeys"
        assert (await client.get("/passkeys")).headers["location"] == "/login?next=/passkeys"
    async with here.browser() as client:
        page = await client.get("/passkeys")
        assert "&lt;phone&gt;" in page.text
        csrf = {"csrf": field(page, "csrf")}
        made = await client.post("/passkeys", data={**csrf, "name": "<x>", "password": PASSWORD})
        assert 'data-kind="create"' in made.text
        assert here.authority.last(StartPasskey).password == PASSWORD
        back = {**csrf, "name": field(made, "name"), "response": '"made"'}
        added = await client.post("/passkeys/add", data=back)
        assert "ab-cd" in added.text
        assert here.authority.last(AddPasskey) == AddPasskey(name="<x>", response='"made"')
        assert "/passkeys/shown" in (await client.post("/passkeys/show", data=csrf)).text
        shown = await client.post("/passkeys/shown", data={**csrf, "response": '"me"'})
        assert shown.headers["location"] == "/passkeys?fresh=1"
        assert here.authority.last(ShowPasskey).response == '"me"'
        await client.post("/passkeys/rename", data={**csrf, "id": RUN, "name": "key"})
        assert here.authority.last(RenamePasskey).name == "key"
        await client.post("/passkeys/remove", data={**csrf, "id": RUN, "password": PASSWORD})
        assert here.authority.last(DropPasskey).password == PASSWORD


@pytest.mark.parametrize("path", ["", "/add", "/show", "/shown", "/rename", "/remove"])
async def test_no_other_page_changes_passkeys(here: World, path: str) -> None:
    """Neither a form without the token, nor one that another site sends."""
    async with here.browser() as client:
        page = await client.get("/passkeys")
        here.forget()
        form = {"id": RUN, "name": "x", "password": PASSWORD, "response": '"x"'}
        assert (await client.post(f"/passkeys{path}", data=form)).status_code == 403
        foreign = {"origin": "https://evil.example"}
        form["csrf"] = field(page, "csrf")
        answer = await client.post(f"/passkeys{path}", data=form, headers=foreign)
        assert answer.status_code == 403
        kinds = (StartPasskey, AddPasskey, ShowPasskey, RenamePasskey, DropPasskey)
        assert [here.authority.count(kind) for kind in kinds] == [0] * 5


async def test_one_page_has_one_script(here: World) -> None:
    """Our own file alone: nothing inline, nothing from elsewhere; other pages have none."""
    async with here.browser() as client:
        page = await client.get("/passkeys")
        assert "script-src" not in page.headers["content-security-policy"]
        made = await client.post("/passkeys", data={"csrf": field(page, "csrf"), "password": "x"})
        policy = made.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert policy.endswith("; script-src 'self'")
        assert "unsafe" not in policy
        assert re.findall(r"<script[^>]*>", made.text) == [
            '<script src="/static/passkey.js" defer>'
        ]
        script = await client.get("/static/passkey.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert not re.search(r"https?://|eval|innerHTML|fetch|XMLHttp", script.text)


async def test_a_flood_of_questions_is_slowed_down(one_broker: Broker) -> None:
    """One address cannot make the authority keep question after question."""
    async with world(one_broker, logins_per_minute=2) as here, here.client(None) as client:
        form = {"csrf": field(await client.get("/login"), "csrf")}
        codes = [(await client.post("/login/passkey", data=form)).status_code for _ in range(4)]
        assert codes == [200, 200, 429, 429]
