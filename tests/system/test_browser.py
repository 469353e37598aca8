"""The whole system in a real browser: from the one-time password to the output of a command."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.dashboard.conftest import CHROMIUM, FLAGS
from tests.system.conftest import Server

PASSWORD = "quiet horses like rain"  # noqa: S105
SLOW = 30_000
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run Debian's chromium."""
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def site(make_server: Callable[..., Server]) -> Server:
    """Run a server with its dashboard and a node of its own."""
    made = make_server("--no-agent", "--dashboard")
    made.start()
    made.join("web1")
    return made


def _first_login(page: Page, site: Server) -> None:
    """Log in with the one-time password, and choose another, as everybody has to."""
    once = next(line for line in site.screen.splitlines() if "one-time" in line).split()[1]
    page.goto(site.url)
    page.locator("input[name=name]").fill("admin")
    page.locator("input[name=password]").fill(once)
    page.locator("button.main").click()
    page.locator("input[name=old]").fill(once)
    page.locator("input[name=new]").fill(PASSWORD)
    page.locator("input[name=again]").fill(PASSWORD)
    page.locator("button.main").click()


def _login(page: Page, site: Server) -> None:
    page.goto(site.url)
    page.locator("input[name=name]").fill("admin")
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("button.main").click()


def test_a_person_runs_a_command_and_finds_it_after_a_restart(
    browser: Browser, site: Server
) -> None:
    """One-time password, own password, node, command, output, history; all of it still there."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, locale="en-US")
    _first_login(page, site)
    expect(page.get_by_text("Online").first).to_be_visible(timeout=SLOW)
    page.goto(f"{site.url}/dashboard/run")
    page.get_by_role("combobox", name="Nodes").click(timeout=SLOW)
    page.get_by_role("option", name="web1").click()
    page.keyboard.press("Escape")
    page.get_by_role("textbox", name="Command").fill("uname -a; echo lantern-$((6*7))")
    page.get_by_role("button", name="Review").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("web1", timeout=SLOW)
    dialog.locator(".st-key-order_start button").click()
    expect(page.get_by_text("lantern-42").first).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Linux").first).to_be_visible()
    assert site.stop() == 0
    site.start()
    page.goto(f"{site.url}/dashboard/history")
    expect(page.get_by_text("Tick a run to open it.")).to_be_visible(timeout=SLOW)
    run = site.api("GET", "/runs")["items"][0]
    page.goto(f"{site.url}/dashboard/run?run={run['id']}")
    expect(page.get_by_text("lantern-42").first).to_be_visible(timeout=SLOW)
    page.close()


def test_on_a_phone_in_chinese_in_the_dark(browser: Browser, site: Server) -> None:
    """The language is the browser's; nothing is wider than the screen."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        locale="zh-CN",
        color_scheme="dark",
        has_touch=True,
        is_mobile=True,
    )
    page = context.new_page()
    _first_login(page, site)
    expect(page.get_by_text("在线").first).to_be_visible(timeout=SLOW)
    for place in ("fleet", "run", "history", "join", "users", "roles", "accounts", "audit"):
        page.goto(f"{site.url}/dashboard/{place}")
        expect(page.locator("h1, h2, h3").first).to_be_visible(timeout=SLOW)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, place
    background = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert max(map(int, background.strip("rgba()").split(",")[:3])) < 80
    context.close()


def test_who_has_logged_out_sees_nothing(browser: Browser, site: Server) -> None:
    """The page, its WebSocket and the API are closed at once, also in another tab."""
    context = browser.new_context(locale="en-US")
    page, other = context.new_page(), context.new_page()
    _first_login(page, site)
    expect(page.get_by_text("Online").first).to_be_visible(timeout=SLOW)
    other.goto(f"{site.url}/logout")
    other.locator("button.main").click()
    other.wait_for_url("**/login")
    page.goto(f"{site.url}/dashboard/")
    expect(page.locator("input[name=password]")).to_be_visible(timeout=SLOW)
    _login(page, site)
    expect(page.get_by_text("Online").first).to_be_visible(timeout=SLOW)
    context.close()
