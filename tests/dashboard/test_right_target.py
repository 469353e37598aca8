"""What is ticked is what is acted on: a real browser against a fleet that never stands still."""

from collections import Counter
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.dashboard.conftest import status_of
from tests.dashboard.gateway import FakeGateway

ROUNDS = 34
ORDERS = 3
"""New orders that the server sees between a tick and the press."""
HEAD, ROW = 32, 32
VISIBLE = 12
LOOK = """() => {
  const table = document.querySelector('[data-testid=stDataFrame] canvas');
  const rows = table ? [...table.querySelectorAll('tr')] : [];
  return rows.map(row => row.querySelector('td')?.textContent.trim()).filter(Boolean);
}"""
"""The names that the table shows (the grid keeps a table for screen readers)."""


@pytest.fixture
def page(dashboard: str, browser: Browser) -> Page:
    """Open the fleet as somebody who is logged in."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    context.add_cookies([{"name": "muster", "value": "x", "url": dashboard}])
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(dashboard + "/dashboard/")
    page.locator("[data-testid=stDataFrame] canvas").first.wait_for()
    return page


def test_nobody_gets_in_without_a_session(dashboard: str) -> None:
    """The dashboard's own lock: page and assets are refused without the gateway's cookie."""
    for path in ("/dashboard/", "/dashboard/_stcore/health", "/dashboard/_stcore/stream"):
        assert status_of(dashboard + path) == 401
        assert status_of(dashboard + path, "muster=stolen") == 401
    assert status_of(dashboard + "/dashboard/", "muster=x") == 200


@pytest.mark.timeout(280)
def test_the_ticked_node_or_none(page: Page, fake: FakeGateway) -> None:
    """A hundred times another order with other nodes between tick and press: never another node."""
    outcomes: Counter[str] = Counter()
    for number in range(ROUNDS):
        row = fake.dice.randrange(VISIBLE)
        before = settled(page, fake)
        early = number % 5 == 4
        if early:  # the new order may come before or after the click
            fake.shuffle()
        click(page, row)
        seen = {before[row]} | ({names(fake)[row]} if early else set())
        if number % 5 < 3:  # else the new order and the tick race each other
            page.get_by_text("1 ticked:").wait_for()
        for _ in range(ORDERS):
            fake.shuffle()
            look(page, fake)
        wait(page, lambda: ticked(page) is not None or shows(page, fake))
        believed = ticked(page)
        if believed is None:
            outcomes["dropped"] += 1
            continue
        assert believed in seen, f"round {number}: {believed} instead of one of {seen}"
        outcomes["kept"] += 1
        if outcomes["kept"] % 5 == 1:
            outcomes[offered(page, fake, believed)] += 1
        untick(page, row)
    assert outcomes["kept"] >= ROUNDS * 3 // 5
    assert outcomes["offered"] >= 1
    assert fake.started == []


def test_what_the_dialog_shows_is_started_once(page: Page, fake: FakeGateway) -> None:
    """Order by load, tick, another order, press, press twice: one run, on the named node alone."""
    box = canvas(page).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 330, box["y"] + HEAD / 2)  # the head of the column CPU
    busy = {node.name: node.metrics.cpu for node in fake.nodes_now() if node.metrics}
    busiest = {*sorted(busy, key=busy.__getitem__)[-5:]}
    wait(page, lambda: {*shown(page)[:5]} == busiest)
    name = shown(page)[1]
    click(page, 1)
    fake.shuffle()
    fake.told_ids = list(fake.names)
    page.get_by_text("1 ticked:").wait_for()
    assert ticked(page) == name
    page.get_by_role("button", name="Run a command").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Command").fill("reboot")
    dialog.get_by_role("textbox", name="Command").press("Enter")
    fake.shuffle()
    dialog.get_by_role("button", name="Start on 1").dblclick()
    wait(page, lambda: bool(fake.started))
    page.wait_for_url("**/run?run=*")
    assert len(set(fake.keys)) == 1
    assert "" not in fake.keys
    for body in fake.started:
        assert [fake.names[id_] for id_ in body["targets"]["names"]] == [name]


def test_nothing_is_fetched_from_elsewhere(
    dashboard: str, browser: Browser, fake: FakeGateway
) -> None:
    """No fonts, no icons, no statistics: the browser asks the dashboard alone, on every page."""
    context = browser.new_context(locale="zh-CN")
    context.add_cookies([{"name": "muster", "value": "x", "url": dashboard}])
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path, text in (("", "机群"), ("node", "主机"), ("run", "执行"), ("join", "加入")):
        page.goto(f"{dashboard}/dashboard/{path}")
        expect(page.get_by_role("heading", name=text, exact=True)).to_be_visible(timeout=20_000)
    page.wait_for_timeout(1000)
    assert [url for url in asked if not url.startswith((dashboard, "data:", "blob:"))] == []


def names(fake: FakeGateway) -> list[str]:
    """Return the names in the order that is told now."""
    return [fake.names[id_] for id_ in fake.told_ids]


def shown(page: Page) -> list[str]:
    """Return the names in the order that the page shows."""
    found: list[str] = page.evaluate(LOOK)
    return found


def canvas(page: Page) -> Locator:
    """Return the table."""
    return page.locator("[data-testid=stDataFrame] canvas").first


def settled(page: Page, fake: FakeGateway) -> list[str]:
    """Wait until the page shows what the gateway tells; return it."""
    wait(page, lambda: shows(page, fake))
    return names(fake)


def shows(page: Page, fake: FakeGateway) -> bool:
    """Whether the page shows the order that is told now."""
    there = shown(page)
    return len(there) > VISIBLE and there[:VISIBLE] == names(fake)[:VISIBLE]


def wait(page: Page, done: Callable[[], bool]) -> None:
    """Wait until *done*, with a deadline."""
    for _ in range(1000):
        if done():
            return
        page.wait_for_timeout(20)
    raise TimeoutError


def look(page: Page, fake: FakeGateway) -> None:
    """Wait until the dashboard has seen the list once more."""
    before = fake.looks
    wait(page, lambda: fake.looks > before)


def click(page: Page, row: int) -> None:
    """Click the box of a row."""
    box = canvas(page).bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 16, box["y"] + HEAD + ROW * row + ROW / 2)


def untick(page: Page, row: int) -> None:
    """Click the same box: the rows stand still while one is ticked."""
    for _ in range(10):
        click(page, row)
        for _ in range(50):
            if ticked(page) is None:
                return
            page.wait_for_timeout(30)
    raise TimeoutError("the tick does not go away")


def ticked(page: Page) -> str | None:
    """Return whom the server believes to be ticked."""
    said = page.get_by_text("1 ticked:").all_inner_texts()
    return said[0].split("ticked:")[1].strip() if said else None


def offered(page: Page, fake: FakeGateway, name: str) -> str:
    """Press the button; the dialog names the node, or says that there is none."""
    page.get_by_role("button", name="Run a command").click()
    dialog = page.get_by_role("dialog")
    nobody = dialog.get_by_text("none of the chosen")
    start = dialog.get_by_role("button", name="Start on")
    nobody.or_(start).wait_for()
    if start.count():
        wait(page, lambda: bool(dialog.locator("canvas td").count()))
        cells = dialog.locator("canvas td").all_text_contents()
        assert name in cells
        assert {cell for cell in cells if cell in fake.names.values()} == {name}
    outcome = "offered" if start.count() else "nobody"
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    return outcome
