"""What is ticked is what is acted on: a real browser against a fleet that never stands still."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.dashboard.conftest import RestlessFleet, status_of

ROUNDS = 60
ORDERS = 100
ROW = 35


def test_nobody_gets_in_without_a_session(dashboard: str) -> None:
    """The dashboard's own lock: page and assets are refused without the gateway's cookie."""
    for path in ("/dashboard/", "/dashboard/_stcore/health", "/dashboard/_stcore/stream"):
        assert status_of(dashboard + path) == 401
    assert status_of(dashboard + "/dashboard/", "muster=x") == 200


@pytest.mark.timeout(280)
def test_the_ticked_node_or_none(dashboard: str, fleet: RestlessFleet, browser: Browser) -> None:
    """A hundred orders, nodes coming and going between tick and press: never another node."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    context.add_cookies([{"name": "muster", "value": "x", "url": dashboard}])
    page = context.new_page()
    page.goto(dashboard + "/dashboard/")
    acted = number = 0
    while number < ROUNDS or fleet.orders < ORDERS:
        number += 1
        row = number % 9
        seen = _tick(page, row)
        page.wait_for_timeout(900)  # the server tells another order meanwhile
        believed = _ticked(page)
        if believed is None:
            continue  # the order changed under the click: the tick was dropped, nothing happens
        assert believed in seen
        acted += 1
        if acted % 8 == 1:
            _start(page, believed, fleet)
        else:
            _tick(page, row)  # the rows stand still while one is ticked
            page.get_by_text("1 ticked:").wait_for(state="detached", timeout=10_000)
    context.close()
    assert acted > ROUNDS // 3
    assert fleet.orders >= ORDERS


LOOK = """row => {
  const canvas = document.querySelector('[data-testid=stDataFrame] canvas');
  if (!canvas) return null;
  const cells = canvas.querySelectorAll(`tr[aria-rowindex='${row + 2}'] td`);
  const box = canvas.getBoundingClientRect();
  return cells.length < 2 ? null : {x: box.x, y: box.y, name: cells[1].textContent.trim()};
}"""
"""Where the table is and which name a row shows (the grid keeps a table for screen readers)."""


def _tick(page: Page, row: int) -> set[str]:
    """Click a row's box; return the names that were shown there around the click."""
    before = _look(page, row)
    page.mouse.click(before["x"] + 16, before["y"] + ROW + ROW * row + ROW / 2)
    return {before["name"], _look(page, row)["name"]}


def _look(page: Page, row: int) -> dict[str, Any]:
    for _ in range(400):
        if found := page.evaluate(LOOK, row):
            return dict(found)
        page.wait_for_timeout(50)
    raise TimeoutError("there is no table")


def _ticked(page: Page) -> str | None:
    """Return whom the dashboard believes to be ticked."""
    said = page.locator("[data-testid=stMarkdownContainer]", has_text="ticked:")
    if not said.count():
        return None
    return said.first.inner_text().split("ticked:")[1].strip()


def _start(page: Page, name: str, fleet: RestlessFleet) -> None:
    """Press the button, read the names in the dialog, start, and look at what was sent."""
    page.get_by_role("button", name="Run a command").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(name).first.wait_for(timeout=20_000)
    dialog.get_by_label("Command").fill("reboot")
    dialog.get_by_label("Command").press("Enter")
    count = len(fleet.started)
    dialog.get_by_role("button", name="Start").click()
    for _ in range(100):
        if len(fleet.started) > count:
            break
        page.wait_for_timeout(100)
    assert len(fleet.started) == count + 1
    assert [fleet.names[id_] for id_ in fleet.started[-1]] == [name]
    page.goto(page.url.split("/dashboard")[0] + "/dashboard/")
