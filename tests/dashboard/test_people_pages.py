"""People, roles and service accounts: what is shown, and what is sent when something is pressed."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from streamlit.testing.v1 import AppTest

from muster.contracts.policy import ROLES
from tests.dashboard.gateway import FakeGateway
from tests.dashboard.test_pages import _staged, markdown, opened

__all__ = ["_staged"]

SLOW = 30_000
ROW = 32


def button(test: AppTest, label: str) -> Any:
    """Return the button with a label."""
    return next(one for one in test.button if one.label == label)


def texts(test: AppTest) -> list[str]:
    """Return everything that is shown as plain text."""
    return [one.value for one in test.text]


def test_words_of_people_are_never_markdown(fake: FakeGateway) -> None:
    """Names, notes and the agents of browsers are shown as they are, made visible."""
    tests = [opened("users"), opened("users", user="li"), opened("roles"), opened("accounts")]
    tests[-1].selectbox(key="account_chosen").set_value("old-sensor").run()
    for test in [*tests, opened("users", user="mallory")]:
        assert not test.exception
        assert "javascript" not in markdown(test)
        assert "evil" not in markdown(test)
    assert any("\\u202eevil" in one for one in texts(tests[-1]))


def test_somebody_is_invited_by_a_link_that_is_shown_once(fake: FakeGateway) -> None:
    """With the roles that were chosen; the link is nowhere after the next press."""
    test = opened("users")
    test.text_input[1].set_value(" zhao ")
    test.multiselect[0].set_value(["viewer"])
    button(test, "Make the link").click().run()
    sent = {"name": "zhao", "full_name": "", "roles": ["viewer"], "groups": [], "ttl": 3 * 86400}
    assert fake.team.sent == [("POST", "/users", sent)]
    assert [one.value for one in test.code] == ["/invitation?code=minv_s3cret"]
    assert not test.run().code


def test_a_person_is_changed(fake: FakeGateway) -> None:
    """Name, roles and groups; what nobody can give any more can still be taken."""
    fake.team.users["li"] = fake.team.users["li"].model_copy(update={"groups": ["gone"]})
    test = opened("users", user="li")
    test.multiselect[0].set_value(["viewer", "dba"])
    test.multiselect[1].set_value([])
    button(test, "Save").click().run()
    sent = {"full_name": "李华", "roles": ["viewer", "dba"], "groups": []}
    assert fake.team.sent == [("PATCH", "/users/li", sent)]


def test_a_person_is_shut_out_and_let_in_again(fake: FakeGateway) -> None:
    """Out after a question that names them; in again at once."""
    test = opened("users", user="li")
    test.button(key="disable").click().run()
    assert fake.team.sent == []
    assert "li" in texts(test)
    test.button(key="disable_now").click().run()
    test = opened("users", user="li")
    test.button(key="enable").click().run()
    assert [body for _, _, body in fake.team.sent] == [{"disabled": True}, {"disabled": False}]


@pytest.mark.parametrize("name", ["admin", "li"])
def test_a_password_is_reset_by_a_link(fake: FakeGateway, name: str) -> None:
    """The second factor goes only if it is asked for, of who has one."""
    test = opened("users", user=name)
    test.button(key="reset").click().run()
    has = fake.team.users[name].second_factor
    assert bool(test.checkbox) == has
    if has:
        test.checkbox(key="reset_factor").check()
    test.button(key="reset_now").click().run()
    assert fake.team.sent == [("POST", f"/users/{name}/reset", {"factor": has})]
    assert [one.value for one in test.code] == ["/invitation?code=minv_s3cret"]


def test_ways_in_are_ended_by_their_id(fake: FakeGateway) -> None:
    """Sessions, tokens and app passwords: the one that was chosen; another list, another choice."""
    test = opened("users", user="li")
    assert len(test.dataframe[0].value) == 3
    drive = fake.team.ways[-1]
    test.selectbox[0].set_value(drive.id).run()
    assert not button(test, "End").disabled
    fake.team.ways.insert(0, drive.model_copy(update={"id": drive.id[::-1]}))
    test.run()
    assert button(test, "End").disabled
    test.selectbox[0].set_value(drive.id).run()
    button(test, "End").click().run()
    assert fake.team.sent == [("DELETE", f"/credentials/{drive.id}", None)]


def test_who_may_only_look_changes_nothing(fake: FakeGateway) -> None:
    """No form and no button; the gateway would refuse them too."""
    fake.permissions = ["user.read"]
    for test in (opened("users"), opened("users", user="li"), opened("roles"), opened("accounts")):
        assert not test.exception
        assert not test.error
        assert {one.label for one in test.button} <= {"All people"}
        assert not test.multiselect
    assert "Roles: operator" in texts(opened("users", user="li"))


def test_every_grant_is_shown_with_its_conditions() -> None:
    """Actions, nodes, users, hours, number and approval; what comes with Muster stays as it is."""
    test = opened("roles")
    shown = "\n".join(texts(test))
    for words in ("on: @db", "also as: postgres", "mon-fri 08:00-18:00 Asia/Shanghai",
                  "at most 5 nodes at once", "another person approves"):  # fmt: skip
        assert words in shown
    assert not [one for one in test.button if (one.key or "").removeprefix("edit-") in ROLES]


def test_a_role_is_changed_if_nobody_was_faster(fake: FakeGateway) -> None:
    """The version that was read goes with it; if it is another one by now, nothing is kept."""
    test = opened("roles")
    test.button(key="edit-dba").click().run()
    test.multiselect[1].set_value(["node.*"])
    test.toggle[3].set_value(True)
    fake.team.roles["dba"] = fake.team.roles["dba"].model_copy(update={"version": 4})
    test.button(key="role_keep").click().run()
    assert "does not fit" in markdown(test)
    assert any("changed meanwhile" in one for one in texts(test))
    assert test.multiselect[1].value == ["node.*"]
    fake.team.roles["dba"] = fake.team.roles["dba"].model_copy(update={"version": 3})
    test.button(key="role_keep").click().run()
    method, path, body = fake.team.sent[-1]
    assert (method, path, body["version"]) == ("PUT", "/roles/dba", 3)
    first, second = body["grants"]
    assert (second["actions"], second["fresh"], second["approval"]) == (["node.*"], True, False)
    assert first["during"][0]["zone"] == "Asia/Shanghai"
    assert (first["run_as"], first["most"], first["approval"]) == (["postgres"], 5, True)
    assert not test.multiselect


def test_a_role_is_made_of_whole_grants(fake: FakeGateway) -> None:
    """A name, actions and nodes; hours as they are written; what is taken out is not sent."""
    test = opened("roles")
    test.button(key="role_new").click().run()
    test.button(key="role_keep").click().run()
    assert "has a name" in markdown(test)
    test.text_input(key="role_name").set_value("night")
    test.multiselect[0].set_value(["run.*"])
    test.text_area[0].set_value("after dinner")
    test.button(key="role_keep").click().run()
    assert "A time is written" in markdown(test)
    test.text_area[0].set_value("sat-sun 20:00-06:00 UTC\nfri 22:00-24:00")
    test.button(key="grant_add").click().run()
    [*_, drop] = [one for one in test.button if one.label == "Take this grant out"]
    drop.click().run()
    assert fake.team.sent == []
    test.button(key="role_keep").click().run()
    _, path, body = fake.team.sent[0]
    assert (path, body["version"], len(body["grants"])) == ("/roles/night", 0, 1)
    assert [one["days"] for one in body["grants"][0]["during"]] == [["sat", "sun"], ["fri"]]


def test_a_draft_can_be_left_and_a_role_deleted(fake: FakeGateway) -> None:
    """Left: nothing is sent. Deleted: after a question that names it."""
    test = opened("roles")
    test.button(key="edit-dba").click().run()
    test.button(key="role_leave").click().run()
    assert not test.multiselect
    test.button(key="rm-dba").click().run()
    assert fake.team.sent == []
    test.button(key="delete_now").click().run()
    assert fake.team.sent == [("DELETE", "/roles/dba", None)]


def test_a_service_account_is_revoked_only_by_its_name(fake: FakeGateway) -> None:
    """What it may publish is shown; a wrong name does nothing."""
    test = opened("accounts")
    test.selectbox(key="account_chosen").set_value("ci").run()
    assert "muster.in.ci.>" in test.code[0].value
    test.button(key="revoke").click().run()
    test.text_input(key="revoke_typed").set_value("sensors").run()
    test.button(key="revoke_now").click().run()
    assert "nothing was done" in markdown(test)
    assert fake.team.sent == []
    test.text_input(key="revoke_typed").set_value("ci").run()
    test.button(key="revoke_now").click().run()
    assert fake.team.sent == [("DELETE", "/accounts/ci", None)]


def test_a_service_account_is_shut_out_as_a_user(fake: FakeGateway) -> None:
    """And let in again."""
    test = opened("accounts")
    test.selectbox(key="account_chosen").set_value("ci").run()
    test.button(key="disable").click().run()
    test.button(key="disable_now").click().run()
    test = opened("accounts")
    test.selectbox(key="account_chosen").set_value("ci").run()
    test.button(key="enable").click().run()
    assert [(path, body["disabled"]) for _, path, body in fake.team.sent] == [
        ("/users/ci", True), ("/users/ci", False),
    ]  # fmt: skip


def phone(browser: Browser, dashboard: str) -> Page:
    """Open a browser of somebody who is logged in, as wide as a telephone."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN")
    context.add_cookies([{"name": "muster", "value": "x", "url": dashboard}])
    return context.new_page()


@pytest.mark.timeout(120)
def test_a_person_is_opened_by_a_tick_on_a_phone(browser: Browser, dashboard: str) -> None:
    """The one that was ticked; the way back is there; no page is wider than the screen."""
    page = phone(browser, dashboard)
    page.goto(f"{dashboard}/dashboard/users")
    table = page.locator("[data-testid=stDataFrame] canvas").first
    table.wait_for(timeout=SLOW)
    page.get_by_text("勾选一个人员以打开。").wait_for(timeout=SLOW)
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 15, box["y"] + 2 * ROW + ROW / 2)
    page.wait_for_url("**user=li", timeout=SLOW)
    expect(page.get_by_text("li · 李华")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="所有人员").click()
    page.get_by_text("勾选一个人员以打开。").wait_for(timeout=SLOW)
    for place in ("users?user=li", "roles", "accounts"):
        page.goto(f"{dashboard}/dashboard/{place}")
        expect(page.locator("h3").first).to_be_visible(timeout=SLOW)
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, place
    page.context.close()


@pytest.mark.timeout(120)
def test_pages_are_there_for_who_may_use_them(
    browser: Browser, dashboard: str, fake: FakeGateway
) -> None:
    """An operator sees neither people nor service accounts, nor opens them by their address."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-US")
    context.add_cookies([{"name": "muster", "value": "x", "url": dashboard}])
    page = context.new_page()
    fake.permissions = ["node.read", "run.create", "run.read"]
    page.goto(f"{dashboard}/dashboard/users")
    expect(page.get_by_text("Online").first).to_be_visible(timeout=SLOW)
    for name in ("People", "Roles", "Service accounts"):
        expect(page.get_by_role("link", name=name)).to_have_count(0)
    assert not [one for one in fake.asked if "/users" in one or "/accounts" in one]
    fake.permissions = ["*"]
    page.reload()
    for name in ("People", "Roles", "Service accounts"):
        expect(page.get_by_role("link", name=name)).to_have_count(1, timeout=SLOW)
    context.close()
