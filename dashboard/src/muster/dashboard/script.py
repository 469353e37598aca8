"""The Streamlit script: who is logged in, and the pages."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from muster.dashboard.i18n import t
from muster.dashboard.views import (
    accounts,
    approvals,
    audit,
    dialogs,
    fleet,
    heading,
    history,
    join,
    node,
    roles,
    run,
    users,
)


def main() -> None:
    """Draw the chosen page."""
    st.set_page_config(
        page_title="Muster",
        page_icon=str(Path(__file__).with_name("icon.svg")),  # the named ones come from elsewhere
        layout="wide",
        initial_sidebar_state="collapsed",
        menu_items={"About": t("about")},  # a menu at all: there the theme is chosen
    )
    heading.ask()
    pages = [_page(*one) for one in _PAGES if heading.may(*one[3].split())]
    chosen = st.navigation(pages, position="top")
    st.session_state.pages = {page.url_path or "fleet": page for page in pages}
    if heading.show(chosen.title):
        chosen.run()
        dialogs.open_asked()


_PAGES: Final[tuple[tuple[str, Callable[[], None], str, str], ...]] = (
    ("fleet", fleet.page, "dns", "self"),
    ("node", node.page, "monitoring", "node.read"),
    ("run", run.page, "terminal", "run.create run.read"),
    ("history", history.page, "history", "run.read"),
    ("approvals", approvals.page, "approval", "run.create run.approve"),
    ("join", join.page, "add_link", "node.join"),
    ("users", users.page, "group", "user.read"),
    ("roles", roles.page, "rule", "user.read role.write"),
    ("accounts", accounts.page, "smart_toy", "user.read"),
    ("audit", audit.page, "verified_user", "audit.read"),
)
"""Name, content, icon, and actions of which one has to be allowed for the page to be there."""


def _page(name: str, content: Callable[[], None], icon: str, _needs: str) -> StreamlitPage:
    return st.Page(content, title=t(f"nav.{name}"), icon=f":material/{icon}:", url_path=name)


main()
