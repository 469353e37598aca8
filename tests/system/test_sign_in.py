"""Signing in as people do it: a real server, a real identity provider, a real browser."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from muster.kit.files import write_private
from muster.kit.testing import free_port
from tests.dashboard.conftest import CHROMIUM, FLAGS
from tests.system.conftest import ENV, Server, until
from tests.system.test_people import PASSWORD, accept

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run Debian's chromium."""
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a page of a browser that knows nobody yet."""
    context = browser.new_context(locale="en-US")
    yield context.new_page()
    context.close()


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[str]:
    """Run an identity provider that knows li, an operator, and wu, who is in no group."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        (tmp_path / "provider.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce"],
            stdout=log, stderr=log, env=ENV,
        ) as process,
    ):  # fmt: skip
        try:
            until(lambda: _answers(url), 30, "the identity provider")
            for sub, groups in (("li-7", ["ops"]), ("wu-8", [])):
                claims = {"preferred_username": sub[:2], "groups": groups}
                httpx.put(f"{url}/users/{sub}", json=claims).raise_for_status()
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/.well-known/openid-configuration").is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def site(make_server: Callable[..., Server], provider: str) -> Server:
    """Run a server that knows the provider."""
    made = make_server()
    made.data_dir.mkdir(mode=0o700)
    write_private(made.data_dir / "oidc.secret", "secret")
    (made.data_dir / "muster.toml").write_text(
        f"""\
[authority]
oidc_issuer = "{provider}"
oidc_client_id = "muster"
oidc_client_secret_file = "{made.data_dir}/oidc.secret"
oidc_name = "Acme"

[authority.oidc_roles]
ops = "operator"
"""
    )
    made.start()
    return made


def at_acme(page: Page, sub: str) -> None:
    """Press the button, and log in at the provider."""
    page.get_by_role("link", name="Sign in with Acme").click()
    page.locator("input[name=sub]").fill(sub)
    page.get_by_role("button", name="Authorize").click()


def test_people_come_in_through_the_provider(site: Server, page: Page) -> None:
    """A stranger of the right group is in; one of no group is told why; a no is a no."""
    page.goto(f"{site.url}/identity")
    at_acme(page, "wu-8")
    expect(page.locator(".fault")).to_contain_text("none of your groups gives a role")
    page.get_by_role("link", name="Sign in with Acme").click()
    page.get_by_role("button", name="Deny").click()  # this provider forgets the state then
    expect(page.locator(".fault")).to_contain_text("Please begin again")
    page.goto(f"{site.url}/identity")
    at_acme(page, "li-7")
    expect(page.locator("main")).to_contain_text("You, li, are linked with Acme")
    li = site.api("GET", "/users/li")
    assert (li["mapped_roles"], li["subject"], li["invited"]) == (["operator"], "li-7", False)
    shown = site.muster("user", "show", "li").stdout
    assert re.search(r"roles by groups +operator\n(.*\n)*identity +li-7", shown), shown
    told = site.api("GET", "/audit?action=login&limit=5")["items"]
    seen = [(one["who"], one["result"]) for one in told]
    assert seen == [("li", "ok"), ("@stranger", "refused"), ("wu (wu-8)", "refused")]


def test_an_account_that_is_here_is_linked(site: Server, page: Page) -> None:
    """Its name alone takes nobody in; by an administrator's word the provider's person is it."""
    for name in ("li", "wu"):
        assert site.muster("user", "invite", name, "--role", "viewer").returncode == 0
    page.goto(f"{site.url}/identity")
    at_acme(page, "wu-8")
    expect(page.locator(".fault")).to_contain_text("there is an account wu already")
    assert site.muster("user", "link", "wu", "wu-8").returncode == 0
    at_acme(page, "wu-8")
    expect(page.locator("main")).to_contain_text("You are signed in as wu")
    assert site.muster("user", "unlink", "wu").returncode == 0
    assert site.api("GET", "/users/wu")["subject"] == ""


def test_a_command_line_comes_in_through_the_provider(
    site: Server, page: Page, tmp_path: Path
) -> None:
    """`muster login --web` needs nothing of its own for it."""
    env = {k: v for k, v in ENV.items() if not k.startswith("XDG_")} | {"HOME": str(tmp_path)}
    muster = [sys.executable, "-m", "muster.cli"]
    with subprocess.Popen(
        [*muster, "login", site.url, "--web"],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as waiting:  # fmt: skip
        assert waiting.stderr
        code = waiting.stderr.readline().split()[-1]
        page.goto(f"{site.url}/device?code={code}")
        at_acme(page, "li-7")
        page.get_by_role("button", name="Yes, that is me").click()
        expect(page.locator("main")).to_contain_text("It is in")
        waiting.communicate(timeout=30)
        assert waiting.returncode == 0
    who = subprocess.run(
        [*muster, "whoami"], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert who.stdout.strip() == "li"


def test_a_login_of_somebody_else_is_not_taken(site: Server, provider: str) -> None:
    """Whoever gets a victim to open their own way back logs nobody in, and uses it up."""
    with httpx.Client(timeout=20) as attacker, httpx.Client(timeout=20) as victim:
        away = attacker.get(f"{site.url}/login/oidc").headers["location"]
        assert urlsplit(away).netloc == urlsplit(provider).netloc
        back = attacker.post(away, data={"sub": "li-7"}).headers["location"]
        assert back.startswith(f"{site.url}/login/oidc/callback?")
        answer = victim.get(back)
        assert answer.status_code == 403
        assert "begun in another browser" in answer.text
        assert not victim.cookies.get("muster")
        assert attacker.get(back).status_code == 410
        again = attacker.get(f"{site.url}/login/oidc").headers["location"]
        good = attacker.post(again, data={"sub": "li-7"}).headers["location"]
        wrong = re.sub("state=[^&]+", "state=made-up", good)
        assert attacker.get(wrong).status_code == 410
        assert attacker.get(good).status_code == 303
        assert attacker.get(good).status_code == 410


class Keys:
    """Passkeys in the browser, as a phone or a stick would keep them (CDP, WebAuthn)."""

    def __init__(self, page: Page) -> None:
        """Plug an authenticator in that asks for a finger, and gets it."""
        self._cdp = page.context.new_cdp_session(page)
        self._cdp.send("WebAuthn.enable", {"enableUI": False})
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        made = self._cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self._id = {"authenticatorId": made["authenticatorId"]}

    def all(self) -> list[dict[str, Any]]:
        """Return what it keeps."""
        found: list[dict[str, Any]] = self._cdp.send("WebAuthn.getCredentials", self._id)[
            "credentials"
        ]
        return found

    def finger(self, *, right: bool) -> None:
        """Let the next finger be the right one, or not."""
        self._cdp.send("WebAuthn.setUserVerified", {**self._id, "isUserVerified": right})


@pytest.fixture
def named(make_server: Callable[..., Server]) -> Server:
    """Run a server that people reach by a name."""
    made = make_server("--no-agent", "--no-dashboard", "--address", "localhost")
    made.start()
    link = made.muster("user", "invite", "li", "--role", "operator").stdout.strip()
    accept(made, link, PASSWORD)
    return made


def by_password(page: Page, url: str) -> None:
    """Type name and password."""
    page.goto(url)
    page.locator("input[name=name]").fill("li")
    page.locator("input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def add_passkey(page: Page, name: str) -> None:
    """Add one on the page."""
    page.locator("#name").fill(name)
    page.locator("#password").fill(PASSWORD)
    page.get_by_role("button", name="Add").click()


@pytest.fixture
def keys(named: Server, page: Page) -> Keys:
    """A browser in which li has logged in and added a passkey, and looks at it."""
    made = Keys(page)
    by_password(page, f"{named.state()['url']}/passkeys")
    add_passkey(page, "My phone")
    expect(page.locator(".codes li")).to_have_count(10)
    page.get_by_role("link", name="Done").click()
    expect(page.locator("summary")).to_contain_text("My phone")
    return made


def test_a_passkey_opens_alone_and_after_a_password(named: Server, page: Page, keys: Keys) -> None:
    """Without a name; and instead of a code, where the password alone opens nothing any more."""
    url = named.state()["url"]
    assert url.startswith("http://localhost:")
    assert len(keys.all()) == 1
    add_passkey(page, "Again")
    expect(page.locator(".fault:visible")).to_contain_text("already")
    page.context.clear_cookies()
    page.goto(f"{url}/login?next=/passkeys")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator("summary")).to_contain_text("last used on")
    page.context.clear_cookies()
    by_password(page, f"{url}/login?next=/passkeys")
    expect(page.locator("input[name=code]")).to_be_visible()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator("summary")).to_contain_text("My phone")


def test_a_passkey_is_shown_anew(named: Server, page: Page, keys: Keys) -> None:
    """With the right finger; the wrong one is told, and may try again."""
    page.get_by_role("button", name="Show a passkey now").click()
    expect(page.get_by_role("status")).to_contain_text("fresh second factor")
    keys.finger(right=False)
    page.get_by_role("button", name="Show a passkey now").click()
    expect(page.locator(".fault:visible")).to_contain_text("did not work", timeout=20_000)
    keys.finger(right=True)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("status")).to_be_visible()
    listed = named.api("GET", "/audit?action=passkey.&limit=9")["items"]
    assert [one["action"] for one in listed] == ["passkey.show", "passkey.show", "passkey.add"]


def test_a_removed_passkey_opens_nothing(named: Server, page: Page, keys: Keys) -> None:
    """Renamed, removed with the password; the device still has it, and it is refused."""
    page.locator("summary").click()
    page.locator("details input[name=name]").fill("Old phone")
    page.get_by_role("button", name="Rename").click()
    expect(page.locator("summary")).to_contain_text("Old phone")
    page.locator("summary").click()
    page.locator("details input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Remove").click()
    expect(page.locator("summary")).to_have_count(0)
    page.context.clear_cookies()
    page.goto(f"{named.state()['url']}/login")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator(".fault:visible")).to_contain_text("not known here")
    assert len(keys.all()) == 1
    refused = named.api("GET", "/audit?action=login&limit=1")["items"][0]
    assert (refused["who"], refused["result"]) == ("@stranger", "refused")


def test_where_there_is_no_name_there_are_no_passkeys(
    make_server: Callable[..., Server], page: Page
) -> None:
    """The login offers none, and the page for them says what to do."""
    made = make_server()
    made.start()
    accept(made, made.muster("user", "invite", "li").stdout.strip(), PASSWORD)
    page.goto(f"{made.url}/login")
    assert page.get_by_role("button", name="Use a passkey").count() == 0
    by_password(page, f"{made.url}/passkeys")
    expect(page.locator("main")).to_contain_text("--address NAME")
