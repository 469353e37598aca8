"""Every page, without a browser: what it shows, in both languages, and what it says of trouble."""

from datetime import UTC, datetime
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from muster.contracts.runs import Command, RunView, State, TargetView
from muster.dashboard import session
from muster.dashboard.views import dialogs
from tests.dashboard.gateway import NASTY, FakeGateway, node_id

PAGES = (
    "fleet", "node", "run", "history", "approvals", "join", "users", "roles", "accounts", "audit",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _staged(pool: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be logged in; a dialog stays on the page, since here each run is a run of everything."""
    monkeypatch.setattr(session, "cookies", lambda: {"muster": "x", "muster_csrf": "c"})

    def stay() -> None:
        if "dialog_asked" in st.session_state:
            st.session_state["dialog_asked"][1]()

    monkeypatch.setattr(dialogs, "open_asked", stay)


def opened(page: str, language: str = "en", **query: str) -> AppTest:
    """Open a page."""
    test = AppTest.from_function(_script, kwargs={"page": page, "names": PAGES}, default_timeout=30)
    test.session_state["language"] = language
    for key, value in query.items():
        test.query_params[key] = value
    return test.run()


def _script(page: str, names: tuple[str, ...]) -> None:
    """Draw one page as the script does, without the navigation that needs a browser."""
    import importlib  # noqa: PLC0415  # this function runs as a script of its own

    import streamlit as st  # noqa: PLC0415

    from muster.dashboard.views import dialogs, heading  # noqa: PLC0415

    modules = {name: importlib.import_module(f"muster.dashboard.views.{name}") for name in names}
    st.session_state.pages = {
        name: st.Page(module.page, title=name, url_path=name) for name, module in modules.items()
    }
    heading.ask()
    if heading.show(page):
        modules[page].page()
        dialogs.open_asked()


def markdown(test: AppTest) -> str:
    """Return everything that is rendered as Markdown."""
    kinds: tuple[Any, ...] = (test.markdown, test.caption, test.warning, test.error, test.info)
    return "\n".join(one.value for kind in kinds for one in kind)


def a_run(fake: FakeGateway, *states: State) -> RunView:
    """Make a run whose targets are in *states*."""
    now = datetime.now(UTC)
    targets = [
        TargetView(
            node=node_id(i), name=fake.names[node_id(i)], state=state, started=now,
            reason=NASTY, stdout=len(fake.lines.get(node_id(i), b"")), exit=0,
        )
        for i, state in enumerate(states)
    ]  # fmt: skip
    return fake.add_run(Command(shell="echo *hello*"), targets, note=NASTY)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens(page: str, language: str, fake: FakeGateway) -> None:
    """In both languages, without an exception and without an error."""
    a_run(fake, State.DONE, State.QUEUED)
    test = opened(page, language)
    assert not test.exception
    assert not test.error


def test_words_of_a_node_are_never_markdown(fake: FakeGateway) -> None:
    """Trouble, reasons, notes and output are shown as they are, made visible, and not rendered."""
    fake.lines[node_id(0)] = NASTY.encode() + b"\n"
    run = a_run(fake, State.FAILED, State.REFUSED)
    for test in (opened("node", id=node_id(3)), opened("run", run=run.id), opened("history")):
        assert not test.exception
        assert "javascript" not in markdown(test)
        assert "evil" not in markdown(test)
    shown = opened("run", run=run.id)
    assert any("\\x1b[31m" in one.value for one in shown.code)
    assert any("\\u202eevil" in one.value for one in shown.text)


def test_an_empty_fleet_says_how_to_join(fake: FakeGateway) -> None:
    """No hosts yet: here is the one line."""
    fake.names.clear()
    fake.told_ids.clear()
    test = opened("fleet")
    assert [one.value for one in test.code] == ["muster node token"]


def test_a_session_that_is_over_leads_to_the_login(fake: FakeGateway) -> None:
    """Nothing else is shown, and nothing else is asked."""
    fake.sessions = set()
    test = opened("audit")
    assert "session is over" in markdown(test)
    assert not test.dataframe
    assert {line.split()[1] for line in fake.asked} == {"/api/v1/me"}


def test_a_filter_that_fits_nothing_says_so() -> None:
    """An empty table is not left unexplained."""
    test = opened("fleet")
    test.text_input(key="fleet_query").set_value("no such host").run()
    assert "No node fits" in markdown(test)


def test_a_run_is_reviewed_before_it_is_started(fake: FakeGateway) -> None:
    """The form alone starts nothing; the dialog shows what the server knows, and starts that."""
    test = opened("run")
    test.multiselect[0].set_value([node_id(0), node_id(2)])
    test.text_area[0].set_value("uname -a")
    gone = node_id(2)
    test.button[0].click()
    fake.told_ids.remove(gone)
    test.run()
    assert fake.started == []
    assert "Nodes: 1" in markdown(test)
    assert "1 of the chosen nodes are gone" in markdown(test)
    test.button(key="order_start").click().run()
    assert [body["targets"] for body in fake.started] == [{"names": [node_id(0)]}]
    assert fake.started[0]["command"] == {"shell": "uname -a"}
    assert fake.keys[0]


def test_words_are_split_as_a_shell_splits_them(fake: FakeGateway) -> None:
    """Without a shell, quotes make words; an open quote is refused before anything is sent."""
    test = opened("run")
    test.multiselect[0].set_value([node_id(0)])
    test.toggle[0].set_value(False)
    test.text_area[0].set_value("echo 'a")
    test.button[0].click().run()
    assert "quote is not closed" in markdown(test)
    test.text_area[0].set_value("echo 'a b'")
    test.button[0].click().run()
    test.button(key="order_start").click().run()
    assert fake.started[0]["command"] == {"argv": ["echo", "a b"]}


def test_a_node_is_revoked_only_by_its_name(fake: FakeGateway) -> None:
    """A wrong name does nothing; the right one shuts out the id that was shown."""
    test = opened("node", id=node_id(4))
    test.button(key=f"revoke-{node_id(4)}").click().run()
    test.text_input(key=f"typed-{node_id(4)}").set_value("web-0000").run()
    test.button(key="revoke_now").click().run()
    assert "nothing was done" in markdown(test)
    assert fake.revoked == []
    test.text_input(key=f"typed-{node_id(4)}").set_value(fake.names[node_id(4)]).run()
    test.button(key="revoke_now").click().run()
    assert fake.revoked == [node_id(4)]


def test_a_made_up_address_is_harmless(fake: FakeGateway) -> None:
    """A link with a strange run or node reaches no other route."""
    for test in (opened("run", run="../me"), opened("node", id="../../join-tokens")):
        assert not test.exception
    paths = {line.split()[1] for line in fake.asked}
    assert not any("join-tokens" in path and "nodes" not in path for path in paths)


def test_what_waits_is_decided_here(pool: FakeGateway) -> None:
    """One's own waits; that of another is approved, or refused with a reason."""
    test = opened("approvals")
    assert not test.exception
    codes = [one.value for one in test.code]
    assert codes == ["reboot", "uptime"]
    assert "Waits for another person" in markdown(test)
    buttons = {one.label: one for one in test.button if one.label in {"Approve", "Refuse"}}
    assert buttons["Refuse"].disabled
    buttons["Approve"].click().run()
    assert pool.decided == [("approve", "")]
    test.text_input[0].input("not today").run()
    next(one for one in test.button if one.label == "Refuse").click().run()
    assert pool.decided[1:] == [("refuse", "not today")]
